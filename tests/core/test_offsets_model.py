"""The rule of the four next offsets, against a world in which everything dies at every step."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stream_worker.core.missing_offsets import begin
from stream_worker.core.offsets import Kept, Offsets

_PARTITIONS, _SLOTS, _USERS, _CHUNK, _KEPT = 2, 2, 3, 1, 3
Key = tuple[int, int]
Event = tuple[int, int]  # offset of the record, and its place in the record
slots, partitions = st.integers(0, _SLOTS - 1), st.integers(0, _PARTITIONS - 1)
# The users of a record's events: several of one record take effect together.
sent_users = st.lists(st.integers(0, _USERS - 1), min_size=1, max_size=3).map(tuple)
sizes, steps = st.integers(1, 5), st.integers(0, 9)


@dataclass
class Record:
    """A user's memory: n, and the events that were remembered in it, in order; and the topic that both are of."""

    n: int = 0
    events: list[Event] = field(default_factory=list)
    generation: int = 0


@dataclass
class Store:
    """Redis: records with their n, M of each partition (None: never written), its token, and the topic that M is of."""

    records: dict[Key, Record] = field(default_factory=dict)
    floors: list[int | None] = field(default_factory=lambda: [None] * _PARTITIONS)
    tokens: list[int] = field(default_factory=lambda: [0] * _PARTITIONS)
    topics: list[int] = field(default_factory=lambda: [0] * _PARTITIONS)


@dataclass
class Line:
    """What a checkpoint holds: L, and the events that were learned, a partition; and the topic that they are of.

    first: where it began; gap: the events from there to L that it never learns.
    heard: the partitions to whose L it came by hearing; excused: those of which a gap is no fault.
    """

    learned_to: dict[int, int] = field(default_factory=dict)
    learned: dict[int, list[Event]] = field(default_factory=lambda: {p: [] for p in range(_PARTITIONS)})
    topics: list[int] = field(default_factory=lambda: [0] * _PARTITIONS)
    first: dict[int, int] = field(default_factory=dict)
    gap: dict[int, list[Event]] = field(default_factory=lambda: {p: [] for p in range(_PARTITIONS)})
    heard: set[int] = field(default_factory=set)
    excused: set[int] = field(default_factory=set)

    def forget(self, partition: int) -> None:
        self.learned_to.pop(partition, None)
        self.first.pop(partition, None)
        self.learned[partition], self.gap[partition] = [], []
        self.heard.discard(partition)
        self.excused.discard(partition)


@dataclass
class Write:
    """A write in the background: what was snapshot, and the steps that are left."""

    line: Line
    records: list[tuple[Key, Record]]
    floors: dict[int, int]
    checkpoint_written: bool = False


@dataclass
class Process:
    """A living worker: all of this is gone when it dies.

    unknown: Y of a transaction that may be committed or not.
    reading, rows: the next offset of each partition that it hears, and what it remembers of the users there.
    """

    offsets: Offsets
    line: Line
    tokens: dict[int, int] = field(default_factory=dict)
    records: dict[Key, Record] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)
    outbox: dict[int, list[Event]] = field(default_factory=dict)
    claimed_at: dict[int, int] = field(default_factory=dict)
    unknown: dict[int, int] = field(default_factory=dict)
    reading: dict[int, int] = field(default_factory=dict)
    rows: dict[Key, Record] = field(default_factory=dict)
    write: Write | None = None


class EverythingDies(RuleBasedStateMachine):
    """Durable: `log`, `published` with Y, `checkpoints` with L, `store` with n and M. The rest is processes.

    `owner`: of each partition by the group's word, which a stalled former owner has not heard.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[list[tuple[int, ...]]] = [[] for _ in range(_PARTITIONS)]
        self.published: list[list[Event]] = [[] for _ in range(_PARTITIONS)]
        self.y = [0] * _PARTITIONS
        self.furthest = [0] * _PARTITIONS
        self.topic = [0] * _PARTITIONS
        self.store, self.copy_of_store = Store(), Store()
        self.turn = 0
        self.checkpoints: list[list[Line]] = [[] for _ in range(_SLOTS)]
        self.processes: list[Process | None] = [None] * _SLOTS
        self.owner = [0] * _PARTITIONS
        self.intact = [True] * _SLOTS
        self.moved = [False] * _PARTITIONS

    # -- the world ---------------------------------------------------------------------------------------------

    @initialize(sent=st.lists(sent_users, min_size=10, max_size=30))
    def begin(self, sent: list[tuple[int, ...]]) -> None:
        self.produce(0, sent)
        self.produce(1, sent[::-1])
        self.start(0, 0)

    @rule(partition=partitions, sent=st.lists(sent_users, max_size=6))
    def produce(self, partition: int, sent: list[tuple[int, ...]]) -> None:
        self.log[partition] += sent

    @rule(slot=slots)
    def die(self, slot: int) -> None:
        """At any step: between poll and commit, commit and L, L and the records, in the records, before M."""
        self.processes[slot] = None

    @rule(slot=slots, torn=st.integers(0, _KEPT))
    def start(self, slot: int, torn: int) -> None:
        """A new process of a slot; `torn` of its newest checkpoints can't be read. Without one it starts from
        another's."""
        if self.processes[slot] is not None:
            return
        if torn:
            del self.checkpoints[slot][-torn:]
            self.intact[slot] = False
        found = [*(kept[-1] for kept in self.checkpoints if kept), *self.checkpoints[slot][-1:]]
        self.processes[slot] = Process(Offsets(), copy.deepcopy(found[-1]) if found else Line())
        for partition in range(_PARTITIONS):
            if self.owner[partition] == slot:
                self.claim(slot, partition)

    @rule(partition=partitions, stalled=st.booleans())
    def take_over(self, partition: int, stalled: bool) -> None:
        """The other slot gets the partition. A former owner that is not stalled hears of it at once."""
        former, self.owner[partition] = self.owner[partition], (self.owner[partition] + 1) % _SLOTS
        self.moved[partition] = True
        if not stalled:
            self.drop(former, partition)
        if self.processes[self.owner[partition]] is not None:
            self.claim(self.owner[partition], partition)

    @rule()
    def copy_the_store(self) -> None:
        self.copy_of_store = copy.deepcopy(self.store)

    @rule(wiped=st.booleans())
    def lose_the_store(self, wiped: bool) -> None:
        """It is empty, or what it was at the last copy. All who live notice, drop their rows and claim again."""
        self.store = Store() if wiped else copy.deepcopy(self.copy_of_store)
        for slot, process in enumerate(self.processes):
            for partition in process.offsets.owned() if process is not None else ():
                self.drop(slot, partition)
                if self.owner[partition] == slot:
                    self.claim(slot, partition)

    @rule(partition=partitions)
    def expire(self, partition: int) -> None:
        """The group was away for so long that its Y is gone: it begins at M, and lists what is behind it again. Nobody
        puts back a store that is older than that."""
        if any(process is not None for process in self.processes):
            return
        kept = Kept(self.store.floors[partition], f"topic {self.store.topics[partition]}")
        begun = begin(kept, f"topic {self.topic[partition]}", "earliest", 0, len(self.log[partition]), added=False)
        self.y[partition] = begun.next_offset
        self.copy_of_store = copy.deepcopy(self.store)
        self.published[partition] = [event for event in self.published[partition] if event[0] < self.y[partition]]

    @rule(partition=partitions, sent=st.lists(sent_users, max_size=6))
    def make_again(self, partition: int, sent: list[tuple[int, ...]]) -> None:
        """All who lived end when they see it. The next owner knows by the id that M, n and L are of another topic."""
        self.processes = [None] * _SLOTS
        self.topic[partition] += 1
        self.log[partition], self.published[partition] = list(sent), []
        self.y[partition] = self.furthest[partition] = 0

    def belong(self, process: Process, partition: int) -> None:
        """What a claim does to M, and to L, where either is of another topic."""
        if self.store.topics[partition] != self.topic[partition]:
            self.store.topics[partition], self.store.floors[partition] = self.topic[partition], None
        self.recognize(process, partition)

    def recognize(self, process: Process, partition: int) -> None:
        """Forget L where it is of another topic."""
        if process.line.topics[partition] != self.topic[partition]:
            process.line.topics[partition] = self.topic[partition]
            process.line.forget(partition)

    def of_now(self, key: Key) -> Record:
        """A record as recalled: of another topic it is a state alone."""
        found, topic = self.store.records.get(key, Record()), self.topic[key[0]]
        return copy.deepcopy(found) if found.generation == topic else Record(generation=topic)

    # -- one worker's steps --------------------------------------------------------------------------------------

    def claim(self, slot: int, partition: int) -> None:
        """A new token, which no store has ever given; where there is no M, memories are rebuilt from the beginning."""
        process = self._process(slot)
        self.drop(slot, partition)
        self.turn += 1
        process.tokens[partition] = self.store.tokens[partition] = self.turn
        self.belong(process, partition)
        learned, floor = process.line.learned_to.get(partition, 0), self.store.floors[partition] or 0
        heard = partition in process.line.heard
        assert process.offsets.claim(partition, self.y[partition], learned, floor, heard=heard) == floor
        process.claimed_at[partition] = learned

    def drop(self, slot: int, partition: int) -> None:
        """Forget rows, outputs, and what is under way in the background; the line keeps what it has learned."""
        process = self.processes[slot]
        if process is None:
            return
        process.offsets.forget([partition])
        for kept in (process.outbox, process.unknown):
            kept.pop(partition, None)
        process.records = {key: r for key, r in process.records.items() if key[0] != partition}
        process.dirty = {key for key in process.dirty if key[0] != partition}
        if process.write is not None:
            process.write.records = [item for item in process.write.records if item[0][0] != partition]
            process.write.floors.pop(partition, None)

    def _process(self, slot: int) -> Process:
        process = self.processes[slot]
        assert process is not None
        return process

    def lives(self, slot: int) -> bool:
        return self.processes[slot] is not None

    @rule(slot=slots, sizes=st.lists(st.integers(0, 5), min_size=_PARTITIONS, max_size=_PARTITIONS))
    def process(self, slot: int, sizes: list[int]) -> None:
        """Poll from all owned partitions, and take the events through all effects in memory."""
        if not self.lives(slot) or self._process(slot).offsets.due():
            return
        process = self._process(slot)
        at = process.offsets.processed()
        read = [(p, o) for p in at for o in range(at[p], min(at[p] + sizes[p], len(self.log[p])))]
        events = [(p, (o, place)) for p, o in read for place in range(len(self.log[p][o]))]
        keys = [(p, self.log[p][o][place]) for p, (o, place) in events]
        missing = {p for p, user in keys if (p, user) not in process.records}
        stale = {p for p in missing if process.tokens[p] != self.store.tokens[p]}
        for partition in stale:  # the recall is refused, before anything has had an effect
            self.drop(slot, partition)
        if events and not stale:
            self._effects(process, events, keys)

    def _effects(self, process: Process, events: list[tuple[int, Event]], keys: list[Key]) -> None:
        for key in keys:
            process.records.setdefault(key, self.of_now(key))
        partition_B, offset_B = np.array([(p, offset) for p, (offset, _) in events]).T
        effects = process.offsets.effects(partition_B, offset_B, np.array([process.records[key].n for key in keys]))
        for k, (p, event) in enumerate(events):
            offset = event[0]
            if effects.remember_B[k]:
                process.records[keys[k]].events.append(event)
                process.records[keys[k]].n = offset + 1
                process.dirty.add(keys[k])
            if effects.learn_B[k]:
                process.line.learned[p].append(event)
            elif effects.past_B[k]:
                process.line.gap[p].append(event)
            if effects.publish_B[k]:
                process.outbox.setdefault(p, []).append(event)
            process.line.learned_to[p] = max(process.line.learned_to.get(p, 0), offset + 1)
        self._check_gap(process, events, effects.unlearned)
        process.offsets.process({p: offset + 1 for p, (offset, _) in events})

    def _check_gap(self, process: Process, events: list[tuple[int, Event]], gap: int) -> None:
        """Truth: events read at or past the L that was claimed with, and not in the line now."""
        past = [(p, event) for p, event in events if event[0] >= process.claimed_at[p] > 0]
        assert gap == sum(event not in process.line.learned[p] for p, event in past)

    def _events(self, partition: int, end: int, user: int | None = None) -> list[Event]:
        """The events before an offset, of one user or of all."""
        log = self.log[partition][:end]
        return [(o, k) for o, record in enumerate(log) for k, one in enumerate(record) if user in {None, one}]

    @rule(slot=slots, succeeds=st.booleans(), answered=st.booleans())
    def commit(self, slot: int, succeeds: bool, answered: bool) -> None:
        """Y and the outputs, together or not at all; not for a partition that is another's. What became of it may
        stay unknown: then the next attempt first asks for Y."""
        if not self.lives(slot):
            return
        process = self._process(slot)
        if process.unknown:
            self._resolve(process)
            return
        due = process.offsets.due()
        if lost := [partition for partition in due if self.owner[partition] != slot]:
            for partition in lost:  # aborted, and the source says why; the rest is sent again
                self.drop(slot, partition)
            return
        if succeeds:
            self._publish(process, due)
        if not answered:
            process.unknown = due
        elif succeeds:
            self._published(process, due)

    def _publish(self, process: Process, due: dict[int, int]) -> None:
        for partition, offset in due.items():
            self.published[partition] += process.outbox.get(partition, [])
            self.y[partition] = offset
            self.furthest[partition] = max(self.furthest[partition], offset)

    def _published(self, process: Process, due: dict[int, int]) -> None:
        process.offsets.publish(due)
        for partition in due:
            process.outbox.pop(partition, None)

    def _resolve(self, process: Process) -> None:
        unknown, process.unknown = process.unknown, {}
        if all(self.y[partition] >= offset for partition, offset in unknown.items()):
            self._published(process, unknown)

    @rule(slot=slots)
    def begin_write(self, slot: int) -> None:
        """A snapshot at a batch boundary whose transaction has committed."""
        process = self.processes[slot]
        if process is None or process.write is not None or process.offsets.due():
            return
        owed = [(key, copy.deepcopy(process.records[key])) for key in sorted(process.dirty)]
        process.dirty.clear()
        process.write = Write(copy.deepcopy(process.line), owed, process.offsets.processed())

    @rule(slot=slots)
    def write_step(self, slot: int) -> None:
        """L, then the records in chunks, then M: one of these steps; batches go on in between."""
        if not self.lives(slot) or self._process(slot).write is None:
            return
        process, write = self._process(slot), self._process(slot).write
        assert write is not None
        if not write.checkpoint_written:
            self.checkpoints[slot] = [*self.checkpoints[slot], copy.deepcopy(write.line)][-_KEPT:]
            write.checkpoint_written = True
        elif write.records:
            self._write_records(slot, write)
        else:
            self._write_floors(slot, write)
            process.write = None

    def _write_records(self, slot: int, write: Write) -> None:
        """Under a stale token nothing is written, and the partition is let go."""
        for key, record in write.records[:_CHUNK]:
            if self._process(slot).tokens[key[0]] != self.store.tokens[key[0]]:
                self.drop(slot, key[0])
                return
            stored = self.store.records.get(key, Record())
            if (record.generation, record.n) >= (stored.generation, stored.n):  # never lowered
                self.store.records[key] = copy.deepcopy(record)
        del write.records[:_CHUNK]

    def _write_floors(self, slot: int, write: Write) -> None:
        for partition, floor in list(write.floors.items()):
            if self._process(slot).tokens[partition] != self.store.tokens[partition]:
                self.drop(slot, partition)
                continue
            self.store.floors[partition] = max(self.store.floors[partition] or 0, floor)
            self._process(slot).offsets.set_floor(partition, floor)

    # -- far places in few steps -----------------------------------------------------------------------------------

    @rule(slot=slots, size=sizes, steps=steps, commits=st.booleans())
    def work(self, slot: int, size: int, steps: int, commits: bool = True) -> None:
        """A batch, and a part of a write; none is begun over what is not committed."""
        if self.lives(slot):
            self.process(slot, [size] * _PARTITIONS)
            if commits:
                self.commit(slot, True, True)
            self.begin_write(slot)
            for _ in range(steps):
                self.write_step(slot)

    @rule(slot=slots, size=sizes, steps=steps, torn=st.sampled_from([0, 0, 0, 1, _KEPT]))
    def die_in_a_write(self, slot: int, size: int, steps: int, torn: int) -> None:
        """And the next start reads it all again."""
        self.work(slot, size, steps)
        self.die(slot)
        self.start(slot, torn)
        self.work(slot, 2 * size, 0)

    @rule(partition=partitions, size=sizes, steps=steps)
    def stall_in_a_write(self, partition: int, size: int, steps: int) -> None:
        """The other owner goes on and writes; then the former one writes what it had."""
        former = self.owner[partition]
        self.work(former, size, steps)
        self.take_over(partition, True)
        self.work(self.owner[partition], 2 * size, 9)
        for _ in range(9):
            self.write_step(former)

    @rule(slot=slots, size=sizes, succeeds=st.booleans())
    def lose_an_answer(self, slot: int, size: int, succeeds: bool) -> None:
        """It is asked for, and what is still owed sent again."""
        self.process(slot, [size] * _PARTITIONS)
        for answered in (False, True, True):
            self.commit(slot, succeeds, answered)

    @rule(partition=partitions, size=sizes)
    def lose_for_a_moment(self, partition: int, size: int) -> None:
        """With a batch that is not committed, which the other owner publishes."""
        former = self.owner[partition]
        self.process(former, [size] * _PARTITIONS)
        self.take_over(partition, True)
        self.work(self.owner[partition], size, 0)
        self.take_over(partition, False)

    # -- what has to hold ------------------------------------------------------------------------------------------

    @invariant()
    def each_event_was_published_once_and_in_order(self) -> None:
        for partition in range(_PARTITIONS):
            assert self.published[partition] == self._events(partition, self.y[partition])

    @invariant()
    def each_record_remembers_each_event_of_its_user_once(self) -> None:
        living = [process.records for process in self.processes if process is not None]
        for records in [self.store.records, self.copy_of_store.records, *living]:
            for (partition, user), record in records.items():
                if record.generation != self.topic[partition]:
                    continue
                assert record.events == self._events(partition, record.n, user)

    @invariant()
    def every_record_holds_all_events_before_the_floor(self) -> None:
        for partition, floor in enumerate(self.store.floors):
            if self.store.topics[partition] != self.topic[partition]:
                continue
            for user in range(_USERS):
                wanted = self._events(partition, floor or 0, user)
                held = self.store.records.get((partition, user), Record()).events
                assert held[: len(wanted)] == wanted

    @invariant()
    def no_line_learns_an_event_twice(self) -> None:
        lines = [process.line for process in self.processes if process is not None]
        for line in [*lines, *(line for kept in self.checkpoints for line in kept)]:
            for learned in line.learned.values():
                assert len(set(learned)) == len(learned)

    @invariant()
    def a_line_that_lost_nothing_has_learned_everything(self) -> None:
        for slot, process in enumerate(self.processes):
            if process is not None and self.intact[slot]:
                for partition in process.offsets.owned():
                    if not self.moved[partition]:
                        end = max(process.offsets.processed()[partition], process.line.learned_to.get(partition, 0))
                        assert process.line.learned[partition] == self._events(partition, end)

    @invariant()
    def the_offsets_are_in_order(self) -> None:
        for partition in range(_PARTITIONS):
            if self.store.topics[partition] == self.topic[partition]:
                assert (self.store.floors[partition] or 0) <= self.y[partition]
            for key, record in self.store.records.items():
                if key[0] == partition and record.generation == self.topic[partition]:
                    assert record.n <= self.furthest[partition]

    def teardown(self) -> None:
        """Everybody starts again and runs to the end: all is published and remembered."""
        for slot in range(_SLOTS):
            self.start(slot, 0)
            for _ in range(3):
                self.commit(slot, True, True)
                self.process(slot, [1_000] * _PARTITIONS)
            self.commit(slot, True, True)
            for _ in range(2):
                self.begin_write(slot)
                while self._process(slot).write is not None:
                    self.write_step(slot)
        lengths = [len(log) for log in self.log]
        assert self.y == [floor or 0 for floor in self.store.floors] == lengths
        self.each_event_was_published_once_and_in_order()
        self.each_record_remembers_each_event_of_its_user_once()
        for partition, log in enumerate(self.log):
            records = [r for (p, _), r in self.store.records.items() if (p, r.generation) == (partition, self.topic[p])]
            held = [o for record in records for o in record.events]
            assert sorted(held) == self._events(partition, len(log))


TestEverythingDies = EverythingDies.TestCase
TestEverythingDies.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
