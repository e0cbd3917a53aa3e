"""Where to begin: the committed offset (Y), the beginning of a topic nobody has read, and offsets that are gone.

Everything here asks the broker, and raises KafkaException where it does not answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig
from stream_worker.core import missing_offsets
from stream_worker.core.errors import OffsetLost
from stream_worker.core.missing_offsets import Beginning
from stream_worker.core.offsets import Committed, Kept, Mark
from stream_worker.logs import get_logger

_log = get_logger(__name__)
# The loop stands still meanwhile; who asked in vain asks again later.
_ANSWER_SECONDS = 2.0
_BEGINS = {
    missing_offsets.MADE_AGAIN: "at the beginning, whatever kafka.start says",
    missing_offsets.EXPIRED: "where memories end (M); what is listed again is counted, as far as it is known",
}


def committed(consumer: Consumer, topic: str, partitions: Collection[int]) -> dict[int, Committed]:
    """Y of the partitions that have one, each with its mark."""
    answers = _committed(consumer, topic, partitions)
    return {at.partition: Committed(at.offset, Mark.decode(at.metadata)) for at in answers if at.offset >= 0}


def committed_offsets(consumer: Consumer, topic: str, partitions: Collection[int]) -> dict[int, int]:
    """As `committed`, without the marks."""
    return {at.partition: at.offset for at in _committed(consumer, topic, partitions) if at.offset >= 0}


def _committed(consumer: Consumer, topic: str, partitions: Collection[int]) -> list[TopicPartition]:
    """A read_committed consumer waits for a dead owner's transaction to end."""
    asked = [TopicPartition(topic, partition) for partition in sorted(partitions)]
    answers: list[TopicPartition] = consumer.committed(asked, timeout=_ANSWER_SECONDS)
    _check(answers)
    return answers


def begin(
    consumer: Consumer, config: KafkaConfig, kept: Mapping[int, Kept], mark: Mark, fresh: Collection[int]
) -> dict[int, Committed]:
    """Make a Y for partitions that have none, so that from here on a missing offset is an error. Partitions that were
    added after the group began, with `mark.partitions` of them, are read from their beginning."""
    topic = config.input_topic
    chosen = {
        partition: missing_offsets.begin(
            kept[partition],
            mark.topic_id,
            config.start,
            *bounds(consumer, topic, partition),
            added=partition >= mark.partitions,
        )
        for partition in sorted(fresh)
    }
    offsets = [TopicPartition(topic, partition, at.next_offset, mark.encode()) for partition, at in chosen.items()]
    _check(consumer.commit(offsets=offsets, asynchronous=False))
    _say(topic, config.start, chosen)
    return {partition: Committed(at.next_offset, mark, at.first) for partition, at in chosen.items()}


def _say(topic: str, start: str, chosen: Mapping[int, Beginning]) -> None:
    """Only a first start is nothing to wonder at."""
    for reason in sorted({at.reason for at in chosen.values()}):
        offsets = {str(partition): at.next_offset for partition, at in chosen.items() if at.reason == reason}
        if reason == missing_offsets.FIRST:
            _log.info(reason, topic=topic, start=start, offsets=offsets)
        else:
            _log.warning(reason, topic=topic, begins=_BEGINS[reason], offsets=offsets)


def count_partitions(consumer: Consumer, topic: str) -> int:
    """How many partitions the topic has now."""
    known = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
    if known.error is not None:
        raise KafkaException(known.error)
    return len(known.partitions)


def bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset that is still in the topic, and the one after its last record."""
    answer = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ANSWER_SECONDS)
    if answer is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer about the topic's first and last offsets"))
    return answer


def readable(
    config: KafkaConfig, partition: int, next_offset: int, needed: int, low: int, high: int, stood: int = 0
) -> int:
    """Where to read from, given that the topic holds `low` to `high`.

    Nothing is lost where a reader that had everything before `needed` found no record up to `stood`. What is before
    `needed` was published long ago and is wanted for memories only: without it they begin later. Where what is needed
    is gone, `on_lost_offset` decides; raises OffsetLost where that is to fail.
    """
    if low <= next_offset <= high:
        return next_offset
    where = f"{config.input_topic} [{partition}]: the topic holds {low} to {high}"
    if needed < low <= min(stood, high):
        _log.info("what retention removed held no record", reason=where, next_offset=needed, stood=stood)
        return low
    if low <= needed <= high:
        _log.warning("memories begin later than asked", reason=f"{where}, asked for {next_offset}", going_on_at=low)
        return low
    if config.on_lost_offset == "fail":
        raise OffsetLost(f"{where}, next offset {needed} is not there (kafka.on_lost_offset = fail)")
    chosen = low if config.on_lost_offset == "earliest" else high
    _log.error("offset lost", reason=f"{where}, next offset {needed}", going_on_at=chosen)
    return chosen


def _check(answers: Collection[TopicPartition]) -> None:
    for at in answers:
        if at.error is not None:
            raise KafkaException(at.error)
