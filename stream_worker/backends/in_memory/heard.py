"""Reads records of an `InMemoryTopic` without being a member of its group."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream_worker.backends.in_memory.topic import InMemoryTopic
from stream_worker.core.events import Record


class InMemoryHeard:
    """Reads the partitions that it is told to. `poll` never waits: it returns the records that are there."""

    def __init__(self, topic: InMemoryTopic) -> None:
        self._topic = topic
        self._next: dict[int, int] = {}
        self._topic_ids: dict[int, str] = {}
        self._held: set[int] = set()

    @property
    def name(self) -> str:
        return self._topic.name

    def partitions(self) -> Collection[int]:
        return range(len(self._topic.partitions))

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        return {p: (low, len(self._topic.partitions[p])) for p, low in enumerate(self._topic.lows)}

    def listen(self, starts: Mapping[int, int]) -> Mapping[int, int]:
        raised = {p: max(start, self._topic.lows[p]) for p, start in starts.items()}
        self._next |= raised
        self._topic_ids |= dict.fromkeys(starts, self._topic.topic_id)
        return raised

    def leave(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._next.pop(partition, None)
            self._held.discard(partition)

    def hold(self, partitions: Collection[int]) -> None:
        self._held = set(partitions)

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        records: list[Record] = []
        for partition in sorted(self._next.keys() - self._held - self._gone()):
            start = self._next[partition]
            taken = self._topic.partitions[partition][start : start + max_records - len(records)]
            self._next[partition] = start + len(taken)
            records += [record for record in taken if (partition, record.offset) not in self._topic.markers]
        return records

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return {p: self._topic.past_markers(p, offset) for p, offset in next_offsets.items()}

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        stood = self.stood(next_offsets)
        return {p: max(0, len(self._topic.partitions[p]) - stood[p]) for p in next_offsets if p in self._next}

    def begun_anew(self) -> Collection[int]:
        gone = self._gone()
        self.leave(gone)
        return gone

    def _gone(self) -> set[int]:
        """Return the partitions of an earlier topic, and those whose next offset is gone."""
        topic = self._topic
        return {p for p, at in self._next.items() if self._topic_ids[p] != topic.topic_id or at < topic.lows[p]}

    def alone(self) -> bool:
        return not self._topic.has_members()

    def is_awaited(self) -> bool:
        return False

    def trouble(self) -> str:
        return ""

    def close(self) -> None:
        self._next.clear()
