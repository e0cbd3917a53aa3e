"""Reads the items or the decisions topic: all partitions, in no group, from the offsets that a checkpoint names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig, outsider_settings
from stream_worker.backends.kafka.faults import LOST_OFFSET_CODES, Complaints, connect, consumed, error_of
from stream_worker.backends.kafka.identity import TopicIdentity
from stream_worker.backends.kafka.source import record_of
from stream_worker.backends.kafka.starts import bounds, count_partitions
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Record
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger

_log = get_logger(__name__)

# Seconds between two looks at the topic's id and number of partitions. Not tuned.
_LOOK_SECONDS = 10.0
_SOON_SECONDS = 1.0  # the same after an error; not tuned


class KafkaItems:
    """Reads `items_topic`, or another topic of the kind, for one worker.

    A partition that is added to the topic is read from its beginning. If the topic was made again, all of it is read
    from the beginning. If retention has removed records that were not read, the worker reads on after them and says so.
    """

    def __init__(
        self,
        config: KafkaConfig,
        topic: str = "",
        what: str = "items topic",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """topic, what: the topic, and what it is to a reader of the log; empty: `items_topic`."""
        self._monotonic, self._what = monotonic, what
        self.name = topic or config.items_topic
        self.begun_anew = 0
        alone = replace(config, input_topic=self.name, items_topic="", decisions_topic="")
        self._identity = TopicIdentity(alone, monotonic)
        self._complaints = Complaints(monotonic)
        self._trouble = ""
        self._of = SourceId(self.name)
        # The next offset of each partition that is read or that a checkpoint names.
        self._next: dict[int, int] = {}
        # The end of each partition that is read, when it was last demanded; none after it was reached.
        self._ends: dict[int, int] = {}
        self._assigned: set[int] = set()
        self._look_at = 0.0
        self._consumer = connect(Consumer, outsider_settings(config), error_cb=self._on_error)

    def begin(self, state: Mapping[str, Any]) -> None:
        self._of = SourceId.of_json(state.get("source", self.name))
        self._next = {int(partition): offset for partition, offset in state.get("offsets", {}).items()}
        self._ends, self._assigned = {}, set()
        self._look_at = 0.0
        self._consumer.unassign()

    def demand(self) -> None:
        try:
            self._look()
            self._ends = {partition: self._bounds(partition)[1] for partition in self._assigned}
        except KafkaException as fault:
            self._on_error(error_of(fault))
            raise Unavailable(self._trouble) from fault

    def due(self) -> int:
        return sum(max(0, end - self._next[partition]) for partition, end in self._ends.items())

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        self._look_again()
        records = self._taken(self._consume(1, timeout_seconds))
        return records + self._taken(self._consume(max_records - 1, 0)) if records else records

    def lag(self) -> int:
        return sum(self._left(partition) for partition in self._assigned)

    def trouble(self) -> str:
        return self._trouble

    def state_dict(self) -> dict[str, Any]:
        return {"source": self._of.to_json(), "offsets": {str(p): at for p, at in sorted(self._next.items())}}

    def close(self) -> None:
        self._consumer.close()

    # -- what comes --------------------------------------------------------------------------------------------

    def _consume(self, size: int, timeout_seconds: float) -> list[Message]:
        return consumed(self._consumer, size, timeout_seconds, self._on_error)

    def _taken(self, messages: Iterable[Message]) -> list[Record]:
        records = []
        for message in messages:
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is not None:
                self._on_message_error(partition, offset, error)
            elif partition in self._assigned and offset is not None and offset >= self._next[partition]:
                self._next[partition] = offset + 1
                records.append(record_of(message))
        if records:
            self._trouble = ""
        return records

    def _on_message_error(self, partition: int | None, offset: int | None, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._found_end(partition, offset)
        elif error.code() in LOST_OFFSET_CODES and partition is not None:
            # The topic may have been made again. If not, the partition is read from its beginning.
            self._assigned.discard(partition)
            self._look_at = 0.0
        else:
            self._on_error(error)

    def _found_end(self, partition: int | None, offset: int | None) -> None:
        """Note that all records are read; what stands after the last one, at its end, are offsets without a record."""
        if partition is not None and partition in self._assigned:
            self._next[partition] = max(self._next[partition], offset or 0)
            self._trouble = ""

    def _on_error(self, error: KafkaError) -> None:
        self._look_at = min(self._look_at, self._monotonic() + _SOON_SECONDS)
        self._trouble = f"kafka: {self._what} {self.name}: {error.str()}"
        self._complaints.say(self._what, error)

    # -- which topic, which partitions -------------------------------------------------------------------------

    def _look_again(self) -> None:
        if self._monotonic() < self._look_at:
            return
        try:
            self._look()
        except KafkaException as fault:
            self._look_at = self._monotonic() + _SOON_SECONDS
            self._on_error(error_of(fault))

    def _look(self) -> None:
        """Read from the topic's partitions as they are now. Raises KafkaException."""
        self._recognize(replace(self._identity.ask(self._consumer), group=""))
        new = set(range(count_partitions(self._consumer, self.name))) - self._assigned
        if new:
            self._read_also(new)
        self._look_at, self._trouble = self._monotonic() + _LOOK_SECONDS, ""

    def _recognize(self, now: SourceId) -> None:
        if not self._of.is_same(now):
            _log.warning(
                f"the {self._what} is another one than before: it is read from its beginning",
                topic=self.name,
                topic_id=now.topic_id,
                before=self._of.topic_id or self._of.name,
            )
            self._next, self._ends, self._assigned = {}, {}, set()
            self.begun_anew += 1
        self._of = now.completed(self._of) if self._of.is_same(now) else now

    def _read_also(self, new: set[int]) -> None:
        starts = {partition: self._start(partition) for partition in sorted(new)}
        self._next |= starts
        self._assigned |= new
        self._consumer.assign([TopicPartition(self.name, p, self._next[p]) for p in sorted(self._assigned)])
        _log.info(f"reading the {self._what}", topic=self.name, start={str(p): start for p, start in starts.items()})

    def _start(self, partition: int) -> int:
        low, high = self._bounds(partition)
        wanted = self._next.get(partition, low)
        if low <= wanted <= high:
            return wanted
        reason = f"the topic holds {low} to {high}, wanted was {wanted}"
        _log.error(f"records of the {self._what} are lost", partition=partition, reason=reason, going_on_at=low)
        return low

    def _bounds(self, partition: int) -> tuple[int, int]:
        return bounds(self._consumer, self.name, partition)

    def _left(self, partition: int) -> int:
        cached = self._consumer.get_watermark_offsets(TopicPartition(self.name, partition), cached=True)
        return max(0, (cached[1] if cached else 0) - self._next[partition])
