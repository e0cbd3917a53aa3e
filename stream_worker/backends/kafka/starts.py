"""Finds the offsets to begin at, commits a first Y where there is none, and refuses or replaces a lost offset.

Functions that take a consumer ask the brokers, and raise KafkaException if these do not answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig
from stream_worker.core import missing_offsets
from stream_worker.core.errors import OffsetLost
from stream_worker.core.missing_offsets import Beginning
from stream_worker.core.offsets import Committed, Kept, Mark
from stream_worker.logs import get_logger

_log = get_logger(__name__)
# Seconds to wait for an answer. The loop waits meanwhile, and asks again later if there is none. Not tuned.
_ANSWER_SECONDS = 2.0
_BEGINS = {
    missing_offsets.MADE_AGAIN: "at the beginning, whatever kafka.start says",
    missing_offsets.EXPIRED: "where memories end (M); lists that are published again are counted, if they are known",
}


def committed(consumer: Consumer, topic: str, partitions: Collection[int]) -> dict[int, Committed]:
    """Return Y and its mark of the partitions that have a committed offset."""
    answers = _committed(consumer, topic, partitions)
    return {at.partition: Committed(at.offset, Mark.decode(at.metadata)) for at in answers if at.offset >= 0}


def committed_offsets(consumer: Consumer, topic: str, partitions: Collection[int]) -> dict[int, int]:
    """Return the committed offsets of the partitions that have one."""
    return {at.partition: at.offset for at in _committed(consumer, topic, partitions) if at.offset >= 0}


def _committed(consumer: Consumer, topic: str, partitions: Collection[int]) -> list[TopicPartition]:
    """Ask for committed offsets. With read_committed the answer waits until a dead owner's transaction has ended."""
    asked = [TopicPartition(topic, partition) for partition in sorted(partitions)]
    answers: list[TopicPartition] = consumer.committed(asked, timeout=_ANSWER_SECONDS)
    _check(answers)
    return answers


def begin(
    consumer: Consumer, config: KafkaConfig, kept: Mapping[int, Kept], mark: Mark, fresh: Collection[int]
) -> dict[int, Committed]:
    """Choose and commit a Y for partitions that have none, so that a missing offset is an error from now on.

    kept: what the memory store keeps of each partition.
    mark: the mark to commit. Partitions from number `mark.partitions` on were added after the group began, and are
        read from their beginning.
    fresh: the partitions without Y.
    """
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
    """Log where partitions begin, as a warning unless it is a first start."""
    for reason in sorted({at.reason for at in chosen.values()}):
        offsets = {str(partition): at.next_offset for partition, at in chosen.items() if at.reason == reason}
        if reason == missing_offsets.FIRST:
            _log.info(reason, topic=topic, start=start, offsets=offsets)
        else:
            _log.warning(reason, topic=topic, begins=_BEGINS[reason], offsets=offsets)


def count_partitions(consumer: Consumer, topic: str) -> int:
    """Return the number of partitions that the topic has now."""
    known = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
    if known.error is not None:
        raise KafkaException(known.error)
    return len(known.partitions)


def bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Return the first offset that is still in the partition, and the one after its last record."""
    answer = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ANSWER_SECONDS)
    if answer is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer about the topic's first and last offsets"))
    return answer


def all_bounds(consumer: Consumer, topic: str, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
    """Return of each partition the first offset that is still there, and the one after what is committed.

    Every broker is asked once for all of its partitions, for each of the two.
    """
    low, high = (_offsets(consumer, topic, partitions, at) for at in (OFFSET_BEGINNING, OFFSET_END))
    return {partition: (low[partition], high[partition]) for partition in partitions}


def _offsets(consumer: Consumer, topic: str, partitions: Collection[int], moment: int) -> dict[int, int]:
    """Ask for the offsets of a moment; Kafka's names of the first and the last offset are moments, too."""
    asked = [TopicPartition(topic, partition, moment) for partition in sorted(partitions)]
    answers = consumer.offsets_for_times(asked, timeout=_ANSWER_SECONDS) if asked else []
    _check(answers)
    return {at.partition: at.offset for at in answers}


def readable(
    config: KafkaConfig, partition: int, next_offset: int, needed: int, low: int, high: int, stood: int = 0
) -> int:
    """Return the offset to read from, which differs from `next_offset` if retention has removed that one.

    Records before `needed` are published already and only wanted for memories; without them these begin later. If
    records from `needed` on are gone, `kafka.on_lost_offset` decides; "fail" raises OffsetLost.

    next_offset: where the owner wants to read from.
    needed: the first offset that must not be missed (Y or `next_offset`, whichever is higher).
    low, high: the first offset in the partition, and the one after its last record.
    stood: a reader that had read everything before `needed` found no record up to here, so nothing is lost if
        retention has removed offsets up to here.
    """
    if low <= next_offset <= high:
        return next_offset
    where = f"{config.input_topic} [{partition}]: the topic holds {low} to {high}"
    if needed < low <= min(stood, high):
        _log.info("retention removed offsets that held no record", reason=where, next_offset=needed, stood=stood)
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
