"""A broker in one object: records, members, writers, and what they published."""

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
    """A broker in one object: partitions of records, their readers and writers, Y (`committed`) and all `outputs` that
    were ever published from them.

    `rebalance` moves partitions among the sources; each hears of it in its next `poll` or `serve`, and a partition is
    claimed only once its former owner has let go. `ended` makes sources `exhausted` when all is read. `trim` does
    what retention does.
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
        """Add a record; without a partition, its key decides."""
        number = zlib.crc32(key or b"") % len(self.partitions) if partition is None else partition
        record = Record(number, len(self.partitions[number]), timestamp_ms, key, value)
        self.partitions[number].append(record)
        return record

    def make_again(self, partitions: int = 1) -> None:
        """Delete the topic, and Y with it, and make an empty one of the same name; its members claim it anew."""
        self.topic_id = f"topic-{1 + int(self.topic_id.removeprefix('topic-'))}"
        self.partitions, self.lows = [[] for _ in range(partitions)], [0] * partitions
        self.first_partitions = partitions
        self.committed, self.marks, self.held, self.markers = {}, {}, {}, set()
        self.rebalance()

    def append_marker(self, partition: int) -> None:
        """An offset that holds no record, as the end of a transaction does."""
        self.markers.add((partition, len(self.partitions[partition])))
        self.append(None, None, -1, partition)

    def past_markers(self, partition: int, offset: int) -> int:
        while (partition, offset) in self.markers:
            offset += 1
        return offset

    def grow(self, partitions: int) -> None:
        """More partitions, which are given to the members in turn; keys are spread anew."""
        more = partitions - len(self.partitions)
        self.partitions += [[] for _ in range(more)]
        self.lows += [0] * more
        self.rebalance()

    def trim(self, partition: int, before: int) -> None:
        self.lows[partition] = before

    def rebalance(self, wanted: Mapping[int, InMemorySource] | None = None) -> None:
        """Give each partition to the source named in `wanted`; without it, to all in turn."""
        self.generation += 1
        members = list(self._members.values())
        turns = {p: members[p % len(members)] for p in range(len(self.partitions))} if members else {}
        self.wanted = turns if wanted is None else dict(wanted)

    def join(self, slot: str, source: InMemorySource) -> None:
        """A second source of a slot takes the place of the first, which is fenced."""
        if former := self._members.get(slot):
            self._free(former)
        self._members[slot] = source
        self.rebalance()

    def leave(self, slot: str, source: InMemorySource) -> None:
        if self.has(slot, source):
            del self._members[slot]
            self._free(source)
            self.rebalance()

    def has(self, slot: str, source: InMemorySource) -> bool:
        return self._members.get(slot) is source

    def lose(self, source: InMemorySource, to: InMemorySource) -> None:
        """As after a stall past the session timeout: all partitions of `source` are `to`'s before it hears of it."""
        moved = {p: to if owner is source else owner for p, owner in self.wanted.items()}
        self._free(source)
        self.rebalance(moved)

    def _free(self, source: InMemorySource) -> None:
        self.held = {p: owner for p, owner in self.held.items() if owner is not source}
