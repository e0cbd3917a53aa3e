"""Reads a part of a topic once: committed records from one moment to another, without joining a group.

Records come by time across partitions, and by offset within each, so that a user's order is kept.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as At

from stream_worker.backends.kafka.config import ClientSettings, KafkaConfig, reader_settings
from stream_worker.backends.kafka.faults import Complaints, connect, error_of, lacks_right
from stream_worker.backends.kafka.source import record_of
from stream_worker.backends.kafka.starts import bounds, count_partitions
from stream_worker.backends.kafka.topics import may_not_read, require_topic
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Record
from stream_worker.core.moments import Moment

# First and next offset, by partition.
Span = Mapping[int, tuple[int, int]]
_ANSWER_SECONDS = 10.0  # to wait for an answer; not tuned
_SLICE_SECONDS = 0.2  # longest wait in one consume(), which ignores signals meanwhile; not tuned
_AT_ONCE = 1_000  # messages of one consume(); not tuned
# Records that wait for those of slower partitions: a partition with more is paused until it has fewer. Not tuned.
_MOST_WAITING, _FEW_WAITING = 10_000, 1_000
_WIDER = 10  # times more offsets are looked at where too few of them hold a record; not tuned


def never() -> bool:
    return False


class SpanReader:
    """A consumer of one topic. `stopping`: asked several times a second; True ends all reading.

    Raises Unavailable if the topic does not exist or brokers don't answer, RightMissing if this user may not read it.
    """

    def __init__(self, config: KafkaConfig, topic: str, stopping: Callable[[], bool] = never) -> None:
        require_topic(config, topic)
        self._config, self._topic, self._stopping = config, topic, stopping
        more: ClientSettings = {"fetch.min.bytes": 1, "auto.offset.reset": "earliest", "enable.partition.eof": True}
        self._consumer = connect(Consumer, {**reader_settings(config), **more})
        self._complaints = Complaints()

    def close(self) -> None:
        self._consumer.close()

    def span(self, begin: Moment | None = None, end: Moment | None = None) -> dict[int, tuple[int, int]]:
        """Return what lies between two moments now. `begin` None: the oldest records, `end` None: the newest, too."""
        until = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                return self._span(begin, end)
            except KafkaException as fault:
                error = error_of(fault)
                if lacks_right(error) or time.monotonic() > until or self._stopping():
                    raise self._fault(error) from fault
                time.sleep(_SLICE_SECONDS)  # the partitions of a young topic have no leader yet

    def _span(self, begin: Moment | None, end: Moment | None) -> dict[int, tuple[int, int]]:
        whole = self._whole()
        begins = {p: low for p, (low, _) in whole.items()} if begin is None else self._offsets(begin, whole)
        ends = {p: high for p, (_, high) in whole.items()} if end is None else self._offsets(end, whole)
        return {p: (begins[p], max(begins[p], ends[p])) for p in whole}

    def _whole(self) -> dict[int, tuple[int, int]]:
        partitions = range(count_partitions(self._consumer, self._topic))
        return {partition: bounds(self._consumer, self._topic, partition) for partition in partitions}

    def _offsets(self, moment: Moment, whole: Span) -> dict[int, int]:
        """Return each partition's offset of a moment, within its bounds."""
        if moment.offset is not None:
            return {p: min(max(moment.offset, low), high) for p, (low, high) in whole.items()}
        asked = [At(self._topic, partition, moment.timestamp_ms or 0) for partition in whole]
        found = {at.partition: at.offset for at in self._consumer.offsets_for_times(asked, timeout=_ANSWER_SECONDS)}
        return {p: found[p] if found[p] >= 0 else high for p, (_, high) in whole.items()}  # below 0: after the newest

    def newest(self, count: int) -> list[Record]:
        """Return the newest `count` records of all partitions, or all if there are fewer, by time."""
        whole, width = self.span(), count
        while True:
            span = {p: (max(low, high - width), high) for p, (low, high) in whole.items()}
            found = list(self.read(span))
            if len(found) >= count or span == whole or self._stopping():
                return found[-count:]
            width *= _WIDER  # marks of transactions take offsets, too

    def read(self, span: Span) -> Iterator[Record]:
        """Yield the records of a span."""
        merge = _Merge(self._topic, span)
        try:
            merge.begin(self._consumer)
            heads = [(head.timestamp_ms, p) for p in merge.waiting if (head := self._head(merge, p))]
            heapq.heapify(heads)
            while heads and not self._stopping():
                _, partition = heapq.heappop(heads)
                yield merge.waiting[partition].popleft()
                if (head := self._head(merge, partition)) is not None:
                    heapq.heappush(heads, (head.timestamp_ms, partition))
        except KafkaException as fault:
            raise self._fault(error_of(fault)) from fault
        finally:
            self._consumer.unassign()

    def _head(self, merge: _Merge, partition: int) -> Record | None:
        """Return the partition's next record; None if there is none left."""
        waiting = merge.waiting[partition]
        while not waiting and partition in merge.left and not self._stopping():
            merge.make_room(self._consumer)
            for message in self._consumer.consume(_AT_ONCE, _SLICE_SECONDS):
                self._take(merge, message)
        return waiting[0] if waiting else None

    def _take(self, merge: _Merge, message: Message) -> None:
        error, partition = message.error(), message.partition()
        if error is None:
            merge.take(record_of(message))
        elif error.code() == KafkaError._PARTITION_EOF and partition is not None:
            merge.left.pop(partition, None)
        elif lacks_right(error):
            raise may_not_read(self._config, self._topic)
        else:
            self._complaints.say("kafka reader", error)

    def _fault(self, error: KafkaError) -> Exception:
        if lacks_right(error):
            return may_not_read(self._config, self._topic)
        return Unavailable(f"kafka: {self._topic}: {error.str()}")


class _Merge:
    """Records that were fetched and not yielded yet, by partition.

    left: next offset and end of the partitions that are not read to their end.
    """

    def __init__(self, topic: str, span: Span) -> None:
        self._topic = topic
        self.left = {p: (start, end) for p, (start, end) in span.items() if start < end}
        self.waiting: dict[int, deque[Record]] = {p: deque() for p in self.left}
        self._paused: set[int] = set()

    def begin(self, consumer: Consumer) -> None:
        consumer.assign([At(self._topic, p, start) for p, (start, _) in self.left.items()])

    def take(self, record: Record) -> None:
        """Keep a record of the span; after the last one its partition is done."""
        if (span := self.left.get(record.partition)) is None:
            return
        if span[0] <= record.offset < span[1]:
            self.waiting[record.partition].append(record)
            self.left[record.partition] = record.offset + 1, span[1]
        if record.offset + 1 >= span[1]:
            del self.left[record.partition]

    def make_room(self, consumer: Consumer) -> None:
        """Pause partitions that are done or have many records waiting, and resume those that have few."""
        full = {p for p, records in self.waiting.items() if p not in self.left or len(records) > _MOST_WAITING}
        few = {p for p in self._paused & self.left.keys() if len(self.waiting[p]) < _FEW_WAITING}
        if added := full - self._paused:
            consumer.pause([At(self._topic, p) for p in added])
        if few:
            consumer.resume([At(self._topic, p) for p in few])
        self._paused = self._paused - few | full
