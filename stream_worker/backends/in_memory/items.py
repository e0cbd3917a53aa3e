"""Reads what an `InMemoryTopic` tells of items, all of its partitions, without its group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream_worker.backends.in_memory.topic import InMemoryTopic
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Record
from stream_worker.core.source_id import SourceId


class InMemoryItems:
    """The twin of `KafkaItems`. `poll` never waits.

    away: set it to let the topic not answer; the reason.
    """

    def __init__(self, topic: InMemoryTopic) -> None:
        self._topic = topic
        self._of = SourceId(topic.name)
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self.begun_anew = 0
        self.away = ""

    @property
    def name(self) -> str:
        return self._topic.name

    def begin(self, state: Mapping[str, Any]) -> None:
        self._of = SourceId.of_json(state.get("source", self.name))
        self._next = {int(partition): offset for partition, offset in state.get("offsets", {}).items()}
        self._ends = {}

    def demand(self) -> None:
        if self.away:
            raise Unavailable(self.away)
        self._recognize()
        self._ends = {partition: len(records) for partition, records in enumerate(self._topic.partitions)}

    def due(self) -> int:
        return sum(max(0, end - self._next.get(partition, 0)) for partition, end in self._ends.items())

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        if self.away:
            return []
        self._recognize()
        records: list[Record] = []
        for partition, written in enumerate(self._topic.partitions):
            start = max(self._next.get(partition, 0), self._topic.lows[partition])
            taken = written[start : start + max_records - len(records)]
            self._next[partition] = start + len(taken)
            records += [record for record in taken if (partition, record.offset) not in self._topic.markers]
        return records

    def lag(self) -> int:
        return sum(len(records) - self._next.get(p, 0) for p, records in enumerate(self._topic.partitions))

    def trouble(self) -> str:
        return self.away

    def state_dict(self) -> dict[str, Any]:
        return {"source": self._of.to_json(), "offsets": {str(p): at for p, at in sorted(self._next.items())}}

    def close(self) -> None:
        """Do nothing."""

    def _recognize(self) -> None:
        now = SourceId(self.name, self._topic.topic_id, self._topic.cluster_id)
        if not self._of.is_same(now):
            self._next, self._ends = {}, {}
            self.begun_anew += 1
        self._of = now
