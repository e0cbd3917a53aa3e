"""The rule of the four next offsets, against a world in which everything dies at every step."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_worker.core.offsets import Offsets

_PARTITIONS, _SLOTS, _USERS, _CHUNK, _KEPT = 2, 2, 3, 1, 3
Key = tuple[int, int]


@dataclass
class Record:
    """A user's memory: n, and the offsets that were remembered in it, in order."""

    n: int = 0
    events: list[int] = field(default_factory=list)


@dataclass
class Line:
    """What a checkpoint holds: L, and the offsets that were learned, a partition."""

    learned_to: dict[int, int] = field(default_factory=dict)
    learned: dict[int, list[int]] = field(default_factory=lambda: {p: [] for p in range(_PARTITIONS)})


@dataclass
class Write:
    """A write in the background: what was snapshot, and the steps that are left."""

    line: Line
    records: list[tuple[Key, Record]]
    floors: dict[int, int]
    checkpoint_written: bool = False


@dataclass
class Process:
    """A living worker: all of this is gone when it dies."""

    offsets: Offsets
    line: Line
    records: dict[Key, Record] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)
    outbox: dict[int, list[int]] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    claimed_at: dict[int, int] = field(default_factory=dict)
    gap: dict[int, int] = field(default_factory=dict)
    write: Write | None = None


class EverythingDies(RuleBasedStateMachine):
    """Durable: `log`, `published` with Y, `checkpoints` with L, `records` with n, `floors` M. The rest is processes."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[list[int]] = [[] for _ in range(_PARTITIONS)]
        self.published: list[list[int]] = [[] for _ in range(_PARTITIONS)]
        self.y = [0] * _PARTITIONS
        self.records: dict[Key, Record] = {}
        self.floors = [0] * _PARTITIONS
        self.checkpoints: list[list[Line]] = [[] for _ in range(_SLOTS)]
        self.processes: list[Process | None] = [None] * _SLOTS
        self.owner = [0] * _PARTITIONS
        self.intact = [True] * _SLOTS
        self.moved = [False] * _PARTITIONS

    # -- the world ---------------------------------------------------------------------------------------------

    @initialize(users=st.lists(st.integers(0, _USERS - 1), min_size=10, max_size=30))
    def begin(self, users: list[int]) -> None:
        self.produce(0, users)
        self.produce(1, users[::-1])
        self.start(0, 0)

    @rule(partition=st.integers(0, _PARTITIONS - 1), users=st.lists(st.integers(0, _USERS - 1), max_size=6))
    def produce(self, partition: int, users: list[int]) -> None:
        self.log[partition] += users

    @rule(slot=st.integers(0, _SLOTS - 1))
    def die(self, slot: int) -> None:
        """At any step: between poll and commit, commit and L, L and the records, in the records, before M."""
        self.processes[slot] = None

    @rule(slot=st.integers(0, _SLOTS - 1), torn=st.integers(0, _KEPT))
    def start(self, slot: int, torn: int) -> None:
        """A new process of a slot; `torn` of its newest checkpoints can't be read."""
        if self.processes[slot] is not None:
            return
        if torn:
            del self.checkpoints[slot][-torn:]
            self.intact[slot] = False
        line = copy.deepcopy(self.checkpoints[slot][-1]) if self.checkpoints[slot] else Line()
        self.processes[slot] = Process(Offsets(), line)
        for partition in range(_PARTITIONS):
            if self.owner[partition] == slot:
                self.claim(slot, partition)

    @rule(partition=st.integers(0, _PARTITIONS - 1))
    def take_over(self, partition: int) -> None:
        """The other slot gets the partition; what its former owner had under way for it is lost or refused."""
        former, self.owner[partition] = self.owner[partition], (self.owner[partition] + 1) % _SLOTS
        self.moved[partition] = True
        if (process := self.processes[former]) is not None:
            process.offsets.forget([partition])
            process.outbox.pop(partition, None)
            process.records = {key: r for key, r in process.records.items() if key[0] != partition}
            process.dirty = {key for key in process.dirty if key[0] != partition}
            if process.write is not None:
                process.write.records = [item for item in process.write.records if item[0][0] != partition]
                process.write.floors.pop(partition, None)
        if self.processes[self.owner[partition]] is not None:
            self.claim(self.owner[partition], partition)

    def claim(self, slot: int, partition: int) -> None:
        process = self.processes[slot]
        assert process is not None
        learned = process.line.learned_to.get(partition, 0)
        start = process.offsets.claim(partition, self.y[partition], learned, self.floors[partition])
        assert start == self.floors[partition]
        process.starts[partition], process.claimed_at[partition] = start, learned
        process.gap[partition] = 0

    # -- one worker's steps --------------------------------------------------------------------------------------

    @precondition(lambda self: any(self.processes))
    @rule(
        slot=st.integers(0, _SLOTS - 1), sizes=st.lists(st.integers(0, 5), min_size=_PARTITIONS, max_size=_PARTITIONS)
    )
    def process(self, slot: int, sizes: list[int]) -> None:
        """Poll from all owned partitions, and take the events through all effects in memory."""
        process = self.processes[slot]
        if process is None or process.offsets.due():
            return
        at = process.offsets.processed()
        events = [
            (p, offset) for p in at for offset in range(at[p], min(at[p] + sizes[p], len(self.log[p])))
        ]  # fmt: skip
        if events:
            self._effects(process, events)

    def _effects(self, process: Process, events: list[tuple[int, int]]) -> None:
        keys = [(p, self.log[p][offset]) for p, offset in events]
        for key in keys:
            process.records.setdefault(key, copy.deepcopy(self.records.get(key, Record())))
        partition_B, offset_B = np.array(events).T
        effects = process.offsets.effects(partition_B, offset_B, np.array([process.records[key].n for key in keys]))
        for k, (p, offset) in enumerate(events):
            if effects.remember_B[k]:
                process.records[keys[k]].events.append(offset)
                process.records[keys[k]].n = offset + 1
                process.dirty.add(keys[k])
            if effects.learn_B[k]:
                process.line.learned[p].append(offset)
            if effects.publish_B[k]:
                process.outbox.setdefault(p, []).append(offset)
            process.line.learned_to[p] = max(process.line.learned_to.get(p, 0), offset + 1)
        self._count_gap(process, events, effects.gap)
        process.offsets.process({p: offset + 1 for p, offset in events})

    def _count_gap(self, process: Process, events: list[tuple[int, int]], gap: int) -> None:
        """Truth: events read at or past the L that was claimed with, and not in the line now."""
        missing = [
            (p, offset) for p, offset in events
            if offset >= process.claimed_at[p] > 0 and offset not in process.line.learned[p]
        ]  # fmt: skip
        assert gap == len(missing)

    @precondition(lambda self: any(self.processes))
    @rule(slot=st.integers(0, _SLOTS - 1))
    def commit(self, slot: int) -> None:
        """Y and the outputs, together or not at all."""
        process = self.processes[slot]
        if process is None:
            return
        due = process.offsets.due()
        for partition, offset in due.items():
            self.published[partition] += process.outbox.pop(partition, [])
            self.y[partition] = offset
        process.offsets.publish(due)

    @precondition(lambda self: any(self.processes))
    @rule(slot=st.integers(0, _SLOTS - 1))
    def begin_write(self, slot: int) -> None:
        """A snapshot at a batch boundary whose transaction has committed."""
        process = self.processes[slot]
        if process is None or process.write is not None or process.offsets.due():
            return
        owed = [(key, copy.deepcopy(process.records[key])) for key in sorted(process.dirty)]
        process.dirty.clear()
        process.write = Write(copy.deepcopy(process.line), owed, process.offsets.processed())

    @precondition(lambda self: any(p is not None and p.write is not None for p in self.processes))
    @rule(slot=st.integers(0, _SLOTS - 1))
    def write_step(self, slot: int) -> None:
        """L, then the records in chunks, then M: one of these steps; batches go on in between."""
        process = self.processes[slot]
        if process is None or process.write is None:
            return
        write = process.write
        if not write.checkpoint_written:
            self.checkpoints[slot] = [*self.checkpoints[slot], copy.deepcopy(write.line)][-_KEPT:]
            write.checkpoint_written = True
        elif write.records:
            for key, record in write.records[:_CHUNK]:
                if record.n >= self.records.get(key, Record()).n:
                    self.records[key] = copy.deepcopy(record)
            del write.records[:_CHUNK]
        else:
            for partition, floor in write.floors.items():
                self.floors[partition] = max(self.floors[partition], floor)
                process.offsets.set_floor(partition, floor)
            process.write = None

    # -- what has to hold ------------------------------------------------------------------------------------------

    @invariant()
    def each_event_was_published_once_and_in_order(self) -> None:
        for partition in range(_PARTITIONS):
            assert self.published[partition] == list(range(self.y[partition]))

    @invariant()
    def each_record_remembers_each_event_of_its_user_once(self) -> None:
        living = [process.records for process in self.processes if process is not None]
        for records in [self.records, *living]:
            for (partition, user), record in records.items():
                assert record.events == [o for o in range(record.n) if self.log[partition][o] == user]

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
                        assert process.line.learned[partition] == list(range(end))

    @invariant()
    def the_offsets_are_in_order(self) -> None:
        for partition in range(_PARTITIONS):
            assert self.floors[partition] <= self.y[partition]
            for key, record in self.records.items():
                assert key[0] != partition or record.n <= self.y[partition]

    def teardown(self) -> None:
        """Everybody starts again and runs to the end: all is published and remembered."""
        for slot in range(_SLOTS):
            self.start(slot, 0)
            for _ in range(2):
                self.commit(slot)
                self.process(slot, [1_000] * _PARTITIONS)
            self.commit(slot)
            process = self.processes[slot]
            assert process is not None
            for _ in range(2):
                self.begin_write(slot)
                while process.write is not None:
                    self.write_step(slot)
        lengths = [len(log) for log in self.log]
        assert self.y == self.floors == lengths
        self.each_event_was_published_once_and_in_order()
        self.each_record_remembers_each_event_of_its_user_once()
        for partition, log in enumerate(self.log):
            held = [o for (p, _), record in self.records.items() if p == partition for o in record.events]
            assert sorted(held) == list(range(len(log)))


TestEverythingDies = EverythingDies.TestCase
TestEverythingDies.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


# -- the rule, case by case --------------------------------------------------------------------------------------------


def _effects(published: int, learned: int, floor: int, offset: int, n: int) -> tuple[bool, bool, bool, int]:
    offsets = Offsets()
    offsets.claim(3, published, learned, floor)
    effects = offsets.effects(np.array([3]), np.array([offset]), np.array([n]))
    return bool(effects.remember_B[0]), bool(effects.learn_B[0]), bool(effects.publish_B[0]), effects.gap


@pytest.mark.parametrize("offset", range(10, 24))
@pytest.mark.parametrize(("learned", "n"), [(15, 12), (12, 15), (15, 15), (0, 12), (0, 0), (20, 20)])
def test_each_effect_begins_at_its_own_offset(offset: int, learned: int, n: int) -> None:
    """Remember at or past n, learn at or past max(L, n), publish at or past Y; a gap is what L lacks and n has."""
    assert _effects(20, learned, 10, offset, n) == (
        offset >= n,
        offset >= max(learned, n),
        offset >= 20,
        int(0 < learned <= offset < n),
    )


def test_partitions_do_not_mix() -> None:
    """Each event is judged by the offsets of its own partition."""
    offsets = Offsets()
    offsets.claim(0, published=5, learned=5, floor=5)
    offsets.claim(7, published=9, learned=2, floor=1)
    effects = offsets.effects(np.array([7, 0, 7, 0]), np.array([4, 4, 9, 6]), np.array([3, 0, 3, 0]))
    assert effects.learn_B.tolist() == [True, False, True, True]
    assert effects.publish_B.tolist() == [False, False, True, True]


def test_only_what_the_broker_lacks_is_due() -> None:
    """Events read again between M and Y move nothing; Y and M never go back."""
    offsets = Offsets()
    assert offsets.claim(0, published=20, learned=15, floor=10) == 10
    offsets.process({0: 18})
    assert offsets.due() == {}
    offsets.process({0: 25})
    assert offsets.due() == {0: 25}
    offsets.publish({0: 25})
    offsets.publish({0: 22})
    offsets.set_floor(0, 25)
    offsets.set_floor(0, 11)
    assert offsets.due() == {}
    assert offsets.floors() == {0: 25}
    assert offsets.publishes(0, 25)
    assert not offsets.publishes(0, 24)


def test_a_partition_given_up_is_forgotten() -> None:
    """What comes back from the background for it changes nothing; claimed again, it starts from what is claimed."""
    offsets = Offsets()
    offsets.claim(0, 5, 5, 5)
    offsets.claim(1, 6, 6, 6)
    offsets.forget([0, 9])
    offsets.publish({0: 50, 1: 7})
    offsets.set_floor(0, 50)
    assert offsets.owned() == [1]
    assert 0 not in offsets
    assert offsets.processed() == {1: 6}
    assert offsets.claim(0, published=8, learned=3, floor=2) == 2
    assert offsets.processed() == {0: 2, 1: 6}
