"""The rule of the four next offsets where workers hear each other's partitions, and everything dies at every step."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from tests.core.test_offsets_model import (
    _PARTITIONS,
    _SLOTS,
    Event,
    EverythingDies,
    Key,
    Process,
    Record,
    partitions,
    sizes,
    slots,
    steps,
)  # fmt: skip

_READ_AGAIN = 2  # records before L


class EverythingHears(EverythingDies):
    """Every process hears what it does not own, and claims a partition once it has heard it up to Y.

    `lows`: where the log begins for those who hear it, by partition and topic.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lows: dict[tuple[int, int], int] = {}

    def low(self, partition: int) -> int:
        return self.lows.get((partition, self.topic[partition]), 0)

    # -- hearing -------------------------------------------------------------------------------------------------

    @rule(slot=slots, partition=partitions)
    def listen(self, slot: int, partition: int) -> None:
        """Begin to hear a partition: before L for the users' sake, else at M; what is gone is a gap."""
        process = self.processes[slot]
        if process is None or partition in process.offsets or partition in process.reading:
            return
        self.recognize(process, partition)
        line, low, end = process.line, self.low(partition), len(self.log[partition])
        if partition not in line.learned_to:
            ours = self.store.topics[partition] == self.topic[partition]
            floor = self.store.floors[partition] if ours else None
            line.learned_to[partition] = line.first[partition] = min(end, max(low, floor or 0))
        learned = line.learned_to[partition]
        if learned < low:
            line.excused.add(partition)
            self._skip(process, partition, low)
        process.reading[partition] = min(end, max(low, learned - _READ_AGAIN))
        line.heard.add(partition)

    def _skip(self, process: Process, partition: int, to: int) -> None:
        learned = process.line.learned_to[partition]
        process.line.gap[partition] += self._events(partition, to)[len(self._events(partition, learned)) :]
        process.line.learned_to[partition] = to

    @rule(slot=slots, size=sizes)
    def hear(self, slot: int, size: int) -> None:
        """A batch of all that is heard: nothing of it is published, or written but for what was learned."""
        process = self.processes[slot]
        if process is None:
            return
        read = {p: range(at, min(at + size, len(self.log[p]))) for p, at in process.reading.items()}
        events = [(p, (o, place)) for p, at in read.items() for o in at for place in range(len(self.log[p][o]))]
        if events:
            self._take_in(process, events, [(p, self.log[p][o][place]) for p, (o, place) in events])
        for partition, offsets in read.items():
            process.reading[partition] += len(offsets)

    def _take_in(self, process: Process, events: list[tuple[int, Event]], keys: list[Key]) -> None:
        line, rows = process.line, process.rows
        for key in keys:
            rows.setdefault(key, Record())
        partition_B, offset_B = np.array([(p, offset) for p, (offset, _) in events]).T
        n_B = np.array([rows[key].n for key in keys])
        learned = {p: line.learned_to[p] for p in process.reading}
        effects = process.offsets.effects(partition_B, offset_B, n_B, learned)
        assert not effects.publish_B.any()
        assert effects.unlearned == effects.again == 0
        for k, (p, event) in enumerate(events):
            if effects.remember_B[k]:
                rows[keys[k]].events.append(event)
                rows[keys[k]].n = event[0] + 1
            if effects.learn_B[k]:
                line.learned[p].append(event)
            elif effects.past_B[k]:
                line.gap[p].append(event)
            line.learned_to[p] = max(line.learned_to[p], event[0] + 1)

    @rule(partition=partitions, before=st.integers(1, 40))
    def trim(self, partition: int, before: int) -> None:
        """Retention passes those who hear the partition; they begin again."""
        low = min(before, len(self.log[partition]))
        self.lows[partition, self.topic[partition]] = max(low, self.low(partition))
        for process in self.processes:
            if process is not None and process.reading.get(partition, low) < low:
                self._leave(process, partition)

    def _leave(self, process: Process, partition: int) -> None:
        process.reading.pop(partition, None)
        process.rows = {key: row for key, row in process.rows.items() if key[0] != partition}

    # -- claims --------------------------------------------------------------------------------------------------

    def has_reached(self, process: Process, partition: int) -> bool:
        learned, published = process.line.learned_to.get(partition), self.y[partition]
        if partition in process.reading or partition in process.line.heard:
            return learned is not None and learned >= published
        ours = self.store.topics[partition] == self.topic[partition]
        floor = (self.store.floors[partition] if ours else None) or 0
        records = [record for (p, _), record in self.store.records.items() if p == partition]
        remembered = max((r.n for r in records if r.generation == self.topic[partition]), default=0)
        return (floor if learned is None else learned) >= max(floor, remembered)

    def claim(self, slot: int, partition: int) -> None:
        """As far as it was heard up to Y, or all that is remembered is learned; else it is heard on, or from now on."""
        process = self._process(slot)
        self.drop(slot, partition)
        self.recognize(process, partition)
        if self.has_reached(process, partition):
            self._claim_now(slot, partition)
        else:
            self.listen(slot, partition)

    @rule(slot=slots, partition=partitions, waited=st.booleans())
    def claim_again(self, slot: int, partition: int, waited: bool) -> None:
        """`waited`: for so long that the partition is claimed as it is."""
        process = self.processes[slot]
        if process is None or partition in process.offsets or self.owner[partition] != slot:
            return
        if waited:
            process.line.excused.add(partition)
            self._claim_now(slot, partition)
        else:
            self.claim(slot, partition)

    def _claim_now(self, slot: int, partition: int) -> None:
        process = self._process(slot)
        self._leave(process, partition)
        super().claim(slot, partition)
        line, floor = process.line, self.store.floors[partition] or 0
        if partition not in line.learned_to:
            line.first[partition] = floor
        if line.learned_to.get(partition, floor) < floor:
            self._skip(process, partition, floor)

    @rule(partition=partitions, size=sizes, steps=steps, heard=st.integers(0, 3))
    def die_in_a_write_that_another_one_hears(self, partition: int, size: int, steps: int, heard: int) -> None:
        """And the other one takes over with what it has heard by then."""
        former = self.owner[partition]
        other = (former + 1) % _SLOTS
        if not self.lives(other):
            return
        self.listen(other, partition)
        self.work(former, size, steps)
        self.hear(other, heard)
        self.work(former, size, steps)
        self.die(former)
        self.take_over(partition, True)
        self.process(other, [2 * size] * _PARTITIONS)

    @rule(slot=slots, partition=partitions, size=sizes)
    def lag_and_lose(self, slot: int, partition: int, size: int) -> None:
        """The other one hears what the owner has not published, takes over, and loses it before it has."""
        other = (slot + 1) % _SLOTS
        if self.owner[partition] != slot or self.processes[other] is None:
            return
        self.listen(other, partition)
        self.hear(other, size)
        self.take_over(partition, True)
        self.process(other, [size] * _PARTITIONS)
        self.take_over(partition, False)
        self.listen(other, partition)
        self.hear(other, size)

    def _effects(self, process: Process, events: list[tuple[int, Event]], keys: list[Key]) -> None:
        super()._effects(process, events, keys)
        for partition, end in process.offsets.processed().items():
            if end >= process.line.learned_to.get(partition, end + 1):
                process.line.heard.discard(partition)

    # -- what has to hold ------------------------------------------------------------------------------------------

    @invariant()
    def of_each_line_what_was_counted_and_the_gap_are_all_events_below_l(self) -> None:
        lines = [process.line for process in self.processes if process is not None]
        for line in [*lines, *(line for kept in self.checkpoints for line in kept)]:
            for partition, learned in line.learned_to.items():
                if line.topics[partition] != self.topic[partition]:
                    continue
                there = self._events(partition, learned)[len(self._events(partition, line.first[partition])) :]
                assert sorted([*line.learned[partition], *line.gap[partition]]) == there

    @invariant()
    def there_is_a_gap_only_where_one_has_to_be(self) -> None:
        for process in self.processes:
            for partition in process.line.learned_to if process is not None else ():
                if process is not None and partition not in process.line.excused:
                    assert not process.line.gap[partition]

    @invariant()
    def a_heard_row_has_all_events_of_its_user_since_it_began(self) -> None:
        for process in self.processes:
            for (partition, user), row in process.rows.items() if process is not None else ():
                if row.events:
                    all_of_user = self._events(partition, row.n, user)
                    assert row.events == all_of_user[all_of_user.index(row.events[0]) :]

    @invariant()
    def no_partition_is_owned_and_heard(self) -> None:
        for process in self.processes:
            assert process is None or not process.reading.keys() & set(process.offsets.owned())

    def teardown(self) -> None:
        """Everybody hears all, claims what waits, and runs to the end; then all lines have counted the same."""
        for slot in range(_SLOTS):
            self.start(slot, 0)
            for partition in range(_PARTITIONS):
                self.listen(slot, partition)
            self.hear(slot, 1_000)
            for partition in range(_PARTITIONS):
                self.claim_again(slot, partition, False)
        super().teardown()


TestEverythingHears = EverythingHears.TestCase
TestEverythingHears.settings = settings(max_examples=60, stateful_step_count=60, deadline=None, derandomize=True)
