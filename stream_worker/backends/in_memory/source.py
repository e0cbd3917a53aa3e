"""Reads records of an `InMemoryTopic` as a member of its group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from stream_worker.backends.in_memory.topic import InMemoryTopic
from stream_worker.core.errors import OffsetLost, SlotTaken
from stream_worker.core.events import Record
from stream_worker.core.interfaces import PartitionOwner
from stream_worker.core.missing_offsets import begin, first_partitions, most_partitions, of_this_topic
from stream_worker.core.offsets import Committed, Kept, Mark
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Standing

_UNKNOWN = Kept()


class InMemorySource:
    """A member of the topic's group. `poll` never waits: it returns the records that are there.

    slot: the worker slot; a newer source of the same slot takes its place.
    start: where a first start begins, "earliest" or "latest" (`kafka.start`).
    """

    def __init__(self, topic: InMemoryTopic, slot: str = "0", start: str = "earliest") -> None:
        self._topic, self._slot, self._start = topic, slot, start
        self._owner: PartitionOwner | None = None
        self._next: dict[int, int] = {}
        self._kept: dict[int, Kept] = {}
        self._first = self._most = topic.first_partitions
        self._generation = -1
        self._lost = False

    @property
    def name(self) -> str:
        return self._topic.name

    def identity(self) -> SourceId:
        return SourceId(self.name, self._topic.topic_id, self._topic.cluster_id, "group")

    def subscribe(self, owner: PartitionOwner) -> None:
        self._owner = owner
        self._topic.join(self._slot, self)

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        self.serve()
        self._claim()
        records: list[Record] = []
        for partition in sorted(self._next):
            start = self._readable(partition, self._next[partition], self._next[partition])
            taken = self._topic.partitions[partition][start : start + max_records - len(records)]
            self._next[partition] = start + len(taken)
            records += [record for record in taken if (partition, record.offset) not in self._topic.markers]
        return records

    def serve(self) -> None:
        if self._owner is None or not self._topic.has(self._slot, self):
            raise SlotTaken(f"another source uses slot {self._slot!r} of {self.name}")
        if self._generation != self._topic.generation:
            self._generation, self._lost = self._topic.generation, False
        lost = [p for p in self._next if self._topic.held.get(p) is not self]
        revoked = [p for p in self._next if p not in lost and self._topic.wanted.get(p) is not self]
        self._lost = self._lost or bool(lost)
        self._leave(lost, self._owner.drop)
        self._leave(revoked, self._owner.release)

    def _leave(self, partitions: list[int], tell: Callable[[list[int]], None]) -> None:
        try:
            if partitions:
                tell(sorted(partitions))
        finally:
            for partition in partitions:
                del self._next[partition]
                if self._topic.held.get(partition) is self:
                    del self._topic.held[partition]

    def _claim(self) -> None:
        topic = self._topic
        free = [p for p, owner in sorted(topic.wanted.items()) if owner is self and p not in topic.held]
        if not free or self._owner is None:
            return
        published = self._published(self._owner, free)
        starts = self._owner.claim(published)
        self._next |= {p: self._readable(p, start, topic.committed[p]) for p, start in starts.items()}
        topic.held |= dict.fromkeys(starts, self)

    def _published(self, owner: PartitionOwner, free: list[int]) -> dict[int, Committed]:
        topic, count = self._topic, len(self._topic.partitions)
        there = {p: Committed(at, topic.marks.get(p, Mark())) for p, at in topic.committed.items()}
        known = of_this_topic(there, self.identity())
        kept = owner.kept(range(count))
        self._kept |= {p: kept[p] for p in free}
        first = min(topic.first_partitions, first_partitions(list(known.values()), kept, count))
        self._first, self._most = first, most_partitions(kept, count)
        for p in set(free) - known.keys():
            begun = begin(kept[p], topic.topic_id, self._start, topic.lows[p], len(topic.partitions[p]), p >= first)
            mark = Mark(partitions=first, topic_id=topic.topic_id, cluster_id=topic.cluster_id)
            known[p] = Committed(begun.next_offset, mark, begun.first)
            topic.committed[p], topic.marks[p] = begun.next_offset, known[p].mark
        return {
            p: replace(known[p], mark=replace(known[p].mark, partitions=first), partitions=self._most) for p in free
        }

    def reclaim(self, partitions: Collection[int]) -> None:
        for partition in self._next.keys() & set(partitions):
            del self._next[partition]
            if self._topic.held.get(partition) is self:
                del self._topic.held[partition]

    def moved_from(self) -> Collection[int]:
        most = self.partitions()
        return most if len(most) > self._first else ()

    def partitions(self) -> Collection[int]:
        return range(max(self._most, len(self._topic.partitions)))

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return {p: self._topic.past_markers(p, offset) for p, offset in next_offsets.items()}

    def _readable(self, partition: int, start: int, published: int) -> int:
        low, kept = self._topic.lows[partition], self._kept.get(partition, _UNKNOWN)
        stood = 0 if kept.is_of_another(self._topic.topic_id) else kept.stood
        if max(start, published, stood, self._topic.marks.get(partition, Mark()).stood) < low:
            raise OffsetLost(f"{self.name} [{partition}]: next offset {published} is gone, the topic begins at {low}")
        return max(start, low)

    def exhausted(self) -> bool:
        mine = [p for p, owner in self._topic.wanted.items() if owner is self]
        return (
            self._topic.ended and bool(mine) and all(self._next.get(p) == len(self._topic.partitions[p]) for p in mine)
        )

    def standing(self) -> Standing:
        if self._lost:
            return Standing(False, "lost its partitions, and has to claim again")
        mine = any(owner is self for owner in self._topic.wanted.values())
        return Standing(self._generation >= 0 and not mine, "claiming its partitions" if mine else "standing by")

    def trouble(self) -> str:
        return ""

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return {p: max(0, len(self._topic.partitions[p]) - offset) for p, offset in next_offsets.items()}

    def membership(self) -> Any:
        return self._generation

    def close(self) -> None:
        self._topic.leave(self._slot, self)
        self._next.clear()
