"""Reads the partitions of the input topic that other workers own: assigned by hand, beside the group."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig, outsider_settings
from stream_worker.backends.kafka.described_group import DescribedGroup
from stream_worker.backends.kafka.faults import LOST_OFFSET_CODES, Backoff, Complaints, connect, consumed, error_of
from stream_worker.backends.kafka.groups import member_of, others_of
from stream_worker.backends.kafka.identity import TopicIdentity
from stream_worker.backends.kafka.reach import Reach
from stream_worker.backends.kafka.source import record_of
from stream_worker.backends.kafka.starts import all_bounds, count_partitions
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Record
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger

_log = get_logger(__name__)

# Longest wait in one call of consume(), which ignores signals meanwhile. Not tuned.
_SLICE_SECONDS = 0.1
# Most records of one poll; the library refuses more than a million.
_MOST_AT_ONCE = 100_000
# Seconds between two looks at the topic's id and number of partitions. Not tuned.
_LOOK_SECONDS = 10.0
# The same after an error at first, doubled each time; not tuned.
_SOON_SECONDS = 1.0


class KafkaHeard:
    """Reads `input_topic` beside the group. While the brokers do not answer, `poll` gives out nothing.

    slot: name of the worker slot, which the group may know from an earlier start.
    monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, config: KafkaConfig, slot: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config, self._slot, self._monotonic = config, slot, monotonic
        self.name = config.input_topic
        self._identity = TopicIdentity(config, monotonic)
        self._of = SourceId(self.name, group=config.group_id)
        self._count = 0
        self._reach = Reach()
        # The end of each partition that is read, when it was last asked for.
        self._ends: dict[int, int] = {}
        self._held: set[int] = set()
        self._anew: set[int] = set()
        self._look_at = 0.0
        self._backoff = Backoff(_SOON_SECONDS, _LOOK_SECONDS, monotonic)
        self._complaints = Complaints(monotonic)
        self._trouble = ""
        self._group = DescribedGroup(config)
        self._consumer = connect(Consumer, outsider_settings(config), error_cb=self._on_error)

    def partitions(self) -> Collection[int]:
        self._look_again()
        return range(self._count)

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        try:
            self._look()
            return all_bounds(self._consumer, self.name, range(self._count))
        except KafkaException as fault:
            raise self._away(fault) from fault

    def listen(self, starts: Mapping[int, int]) -> Mapping[int, int]:
        self.leave(starts)
        try:
            there = all_bounds(self._consumer, self.name, starts)
            raised = {p: max(start, there[p][0]) for p, start in sorted(starts.items())}
            self._consumer.incremental_assign([TopicPartition(self.name, p, at) for p, at in raised.items()])
            # A partition that was left while it was paused is still paused when it comes back.
            self._consumer.resume(self._named(raised))
        except KafkaException as fault:
            raise self._away(fault) from fault
        self._reach.begin(raised)
        self._ends |= {partition: there[partition][1] for partition in raised}
        self._anew -= raised.keys()
        return raised

    def leave(self, partitions: Collection[int]) -> None:
        gone = self._reach.next_offsets.keys() & set(partitions)
        if gone:
            self._consumer.incremental_unassign(self._named(gone))
        self._reach.forget(gone)
        self._held -= gone
        for partition in gone:
            self._ends.pop(partition, None)

    def hold(self, partitions: Collection[int]) -> None:
        """See `HeardSource.hold`. What librdkafka has fetched of them is fetched again afterwards."""
        wanted = self._reach.next_offsets.keys() & set(partitions)
        if added := wanted - self._held:
            self._consumer.pause(self._named(added))
        if freed := self._held - wanted:
            self._consumer.resume(self._named(freed))
        self._held = wanted

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        self._look_again()
        end = self._monotonic() + timeout_seconds
        max_records = min(max_records, _MOST_AT_ONCE)
        records = self._taken(self._consume(max_records, 0))
        # consume(n, t) would wait for n records: wait for one, and take the others without waiting.
        while not records and (left := end - self._monotonic()) > 0:
            records = self._taken(self._consume(1, min(left, _SLICE_SECONDS)))
        room = max_records - len(records)
        return records + self._taken(self._consume(room, 0)) if records and room else records

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return self._reach.stood(next_offsets)

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        stood = self._reach.stood(next_offsets)
        return {p: max(0, self._end(p) - at) for p, at in stood.items() if p in self._ends}

    def begun_anew(self) -> Collection[int]:
        anew, self._anew = self._anew, set()
        return anew

    def alone(self) -> bool:
        return not others_of(self._config, self._slot, self._group)

    def is_awaited(self) -> bool:
        return member_of(self._config, self._slot, self._group) is not None

    def trouble(self) -> str:
        return self._trouble

    def close(self) -> None:
        self._ends = {}
        self._consumer.close()

    # -- what comes --------------------------------------------------------------------------------------------

    def _consume(self, size: int, timeout_seconds: float) -> list[Message]:
        return consumed(self._consumer, size, timeout_seconds, self._on_error)

    def _taken(self, messages: Iterable[Message]) -> list[Record]:
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_message_error(message.partition(), message.offset(), error)
                continue
            record = record_of(message)
            if self._reach.take(record.partition, record.offset):
                records.append(record)
        if records:
            self._trouble = ""
        return records

    def _on_message_error(self, partition: int | None, offset: int | None, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._reach.found_end(partition, offset)
            self._trouble = ""
        elif error.code() in LOST_OFFSET_CODES and partition is not None:
            self._begin_anew({partition}, error.str())
            self._look_at = 0.0
        else:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        """Note an error, and look soon: the topic may be another one by now."""
        self._look_at = 0.0
        if self._backoff.ready():
            self._backoff.fail()
        self._trouble = f"kafka: hearing {self.name}: {error.str()}"
        self._complaints.say("kafka: hearing other workers' partitions", error)

    def _away(self, fault: KafkaException) -> Unavailable:
        self._on_error(error_of(fault))
        return Unavailable(self._trouble)

    def _begin_anew(self, partitions: Collection[int], reason: str) -> None:
        gone = self._reach.next_offsets.keys() & set(partitions)
        if gone:
            _log.warning("partitions that others own begin anew", partitions=sorted(gone), reason=reason)
        self.leave(gone)
        self._anew |= gone

    # -- which topic, which partitions -------------------------------------------------------------------------

    def _look_again(self) -> None:
        if self._monotonic() < self._look_at or not self._backoff.ready():
            return
        try:
            self._look()
        except KafkaException as fault:
            self._on_error(error_of(fault))

    def _look(self) -> None:
        """See which topic it is, and how many partitions it has. Raises KafkaException."""
        self._recognize(self._identity.ask(self._consumer))
        self._count = count_partitions(self._consumer, self.name)
        self._look_at, self._trouble = self._monotonic() + _LOOK_SECONDS, ""
        self._backoff.reset()

    def _recognize(self, now: SourceId) -> None:
        if self._of.is_same(now):
            self._of = now.completed(self._of)
        else:
            self._begin_anew(self._reach.next_offsets.keys(), f"{self.name} is another topic, {now.topic_id}")
            self._of = now

    def _end(self, partition: int) -> int:
        cached = self._consumer.get_watermark_offsets(TopicPartition(self.name, partition), cached=True)
        return max(self._ends[partition], cached[1] if cached else 0)

    def _named(self, partitions: Collection[int]) -> list[TopicPartition]:
        return [TopicPartition(self.name, partition) for partition in sorted(partitions)]
