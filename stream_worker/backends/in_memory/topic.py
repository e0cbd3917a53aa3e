"""A broker in memory: one topic with its records, its group's members, its writers, and what these published."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream_worker.core.events import Outputs, Record
from stream_worker.core.offsets import Mark

if TYPE_CHECKING:
    from stream_worker.backends.in_memory.sink import InMemorySink
    from stream_worker.backends.in_memory.source import InMemorySource


class InMemoryTopic:
    """One topic with its group, for tests and replays in one process.

    A source learns of a rebalance in its next `poll` or `serve`, and claims a partition only after the former owner
    has released it.

    partitions: the records of each partition; a record's offset is its place in the list.
    committed, marks: Y of each partition, and its mark.
    markers: (partition, offset) of the offsets that hold no record, like those of transaction markers.
    outputs: everything that sinks have published.
    lows: the first offset of each partition that retention has left (see `trim`).
    ended: set it to let sources be `exhausted` once they have read everything.
    wanted: the source that should own each partition; `held`: the one that has claimed it.
    """

    def __init__(self, partitions: int = 1, name: str = "events") -> None:
        self.name = name
        self.topic_id, self.cluster_id = "topic-1", "cluster"
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self.committed: dict[int, int] = {}
        self.marks: dict[int, Mark] = {}
        self.markers: set[tuple[int, int]] = set()
        self.first_partitions = partitions
        self.outputs = Outputs()
        self.ended = False
        self.generation = 0
        self.lows = [0] * partitions
        self.wanted: dict[int, InMemorySource] = {}
        self.held: dict[int, InMemorySource] = {}
        self.writers: dict[str, InMemorySink] = {}
        self._members: dict[str, InMemorySource] = {}

    def append(self, key: bytes | None, value: bytes | None, timestamp_ms: int, partition: int | None = None) -> Record:
        """Append a record. Without `partition` a hash of the key chooses one."""
        number = zlib.crc32(key or b"") % len(self.partitions) if partition is None else partition
        record = Record(number, len(self.partitions[number]), timestamp_ms, key, value)
        self.partitions[number].append(record)
        return record

    def make_again(self, partitions: int = 1) -> None:
        """Delete the topic with its committed offsets, and create an empty one of the same name. Members claim it."""
        self.topic_id = f"topic-{1 + int(self.topic_id.removeprefix('topic-'))}"
        self.partitions, self.lows = [[] for _ in range(partitions)], [0] * partitions
        self.first_partitions = partitions
        self.committed, self.marks, self.held, self.markers = {}, {}, {}, set()
        self.rebalance()

    def append_marker(self, partition: int) -> None:
        """Append an offset that holds no record, as the end of a Kafka transaction does."""
        self.markers.add((partition, len(self.partitions[partition])))
        self.append(None, None, -1, partition)

    def past_markers(self, partition: int, offset: int) -> int:
        """Return the first offset from `offset` on that is no marker."""
        while (partition, offset) in self.markers:
            offset += 1
        return offset

    def grow(self, partitions: int) -> None:
        """Raise the number of partitions to `partitions` and rebalance. A key may now hash to another partition."""
        more = partitions - len(self.partitions)
        self.partitions += [[] for _ in range(more)]
        self.lows += [0] * more
        self.rebalance()

    def trim(self, partition: int, before: int) -> None:
        """Remove the records before an offset, as retention does."""
        self.lows[partition] = before

    def rebalance(self, wanted: Mapping[int, InMemorySource] | None = None) -> None:
        """Give each partition to the source that `wanted` names; without `wanted`, to all members in turn."""
        self.generation += 1
        members = list(self._members.values())
        turns = {p: members[p % len(members)] for p in range(len(self.partitions))} if members else {}
        self.wanted = turns if wanted is None else dict(wanted)

    def join(self, slot: str, source: InMemorySource) -> None:
        """Add a member and rebalance. It fences an earlier source of the same slot and takes its place."""
        if former := self._members.get(slot):
            self._free(former)
        self._members[slot] = source
        self.rebalance()

    def leave(self, slot: str, source: InMemorySource) -> None:
        if self.has(slot, source):
            del self._members[slot]
            self._free(source)
            self.rebalance()

    def has_members(self) -> bool:
        return bool(self._members)

    def has(self, slot: str, source: InMemorySource) -> bool:
        return self._members.get(slot) is source

    def lose(self, source: InMemorySource, to: InMemorySource) -> None:
        """Give all partitions of `source` to `to` without asking `source`, as after a session timeout."""
        moved = {p: to if owner is source else owner for p, owner in self.wanted.items()}
        self._free(source)
        self.rebalance(moved)

    def _free(self, source: InMemorySource) -> None:
        self.held = {p: owner for p, owner in self.held.items() if owner is not source}
