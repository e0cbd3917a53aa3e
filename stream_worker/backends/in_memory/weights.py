"""Writes weights to an `InMemoryTopic` and reads what others write."""

from __future__ import annotations

from collections.abc import Sequence

from stream_worker.backends.in_memory.topic import InMemoryTopic
from stream_worker.core.events import Record


class InMemoryWeights:
    """The twin of `KafkaWeights`.

    away: set it to let the topic not answer; the reason.
    """

    def __init__(self, topic: InMemoryTopic, slot: str) -> None:
        self._topic, self.slot = topic, slot
        self._next: list[int] = []
        self.away = ""

    def begin(self) -> None:
        self._next = [len(records) for records in self._topic.partitions]

    def poll(self, max_records: int) -> list[Record]:
        if self.away:
            return []
        records: list[Record] = []
        for partition, written in enumerate(self._topic.partitions):
            taken = written[self._next[partition] : self._next[partition] + max_records - len(records)]
            self._next[partition] += len(taken)
            records += taken
        return records

    def write(self, values: Sequence[bytes]) -> bool:
        for value in () if self.away else values:
            self._topic.append(self.slot.encode(), value, 1)
        return not self.away

    def trouble(self) -> str:
        return self.away

    def close(self) -> None:
        """Do nothing."""
