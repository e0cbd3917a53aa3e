"""Reads the input topic as a static member of a group, each partition from the offset that its owner asks for.

Callbacks never raise, because librdkafka would discard the records that the same call had fetched. So a new partition
is claimed after the call, and an error of `release` or `drop` is raised at the end of the same `poll` or `serve`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig, member_settings
from stream_worker.backends.kafka.faults import (
    LOST_OFFSET_CODES,
    Backoff,
    Complaints,
    connect,
    consumed,
    error_of,
    fatal_error,
    is_fatal,
    says,
)
from stream_worker.backends.kafka.groups import require_own_topic
from stream_worker.backends.kafka.identity import TopicIdentity
from stream_worker.backends.kafka.membership import Membership
from stream_worker.backends.kafka.positions import Positions
from stream_worker.backends.kafka.published_offsets import PublishedOffsets
from stream_worker.backends.kafka.starts import bounds, readable
from stream_worker.backends.kafka.unread_partitions import UnreadPartitions
from stream_worker.core.errors import ConfigurationError, RestartNeeded, SlotTaken, Unavailable
from stream_worker.core.events import Record
from stream_worker.core.interfaces import PartitionOwner
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Standing
from stream_worker.logs import get_logger

_log = get_logger(__name__)

# Longest wait in one call of consume(), which ignores signals meanwhile. Not tuned.
_SLICE_SECONDS = 0.1
# Most messages, and seconds, of one `serve`. Not tuned.
_SERVED_AT_ONCE = 1_000
_SERVE_SECONDS = 0.02
# Seconds between two looks at the topic's id and number of partitions. Not tuned.
_LOOK_SECONDS = 10.0
# Errors that come when the topic was deleted, and perhaps made again.
_TOPIC_CODES = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError.INCONSISTENT_TOPIC_ID}
)
# Seconds to wait beyond the session timeout: with the protocol of KIP-848 a killed member's successor is refused until
# that member's session has ended. Not tuned.
_SESSION_MARGIN_SECONDS = 5.0


class KafkaSource:
    """Reads records of `input_topic` for one worker slot.

    A partition that the group has given to this member is *unclaimed* until the owner has taken it over, then
    *waiting* until the consumer reads it. `poll` claims and starts partitions, `serve` does not. If a broker does not
    answer, the source logs it and tries again later.

    `poll` and `serve` raise SlotTaken, RestartNeeded, OffsetLost, ConfigurationError, and what the owner raises. The
    `poll` after a failed claim claims again.

    slot: name of the worker slot; with the group's name it is the static member's id.
    monotonic: seconds of a clock that never goes back.
    owns: whether this process still owns the slot, by the memory store. May raise Unavailable.
    """

    def __init__(
        self,
        config: KafkaConfig,
        slot: str,
        monotonic: Callable[[], float] = time.monotonic,
        owns: Callable[[], bool] = lambda: False,
    ) -> None:
        self._owns = owns
        self._config, self._slot, self._monotonic = config, slot, monotonic
        self._owner: PartitionOwner | None = None
        self._positions = Positions()
        self._look_again_at = 0.0
        self._stash: deque[Record] = deque()
        self._failures: list[BaseException] = []
        self._fatal: SlotTaken | RestartNeeded | ConfigurationError | None = None
        self._refused = False
        self._patient_until = 0.0
        self._paused = False
        self._backoff = Backoff(monotonic=monotonic)
        self._complaints = Complaints(monotonic)
        self._identity = TopicIdentity(config, monotonic)
        self._published = PublishedOffsets(config, self._identity)
        self._membership = Membership(config, slot)
        self._unread = UnreadPartitions(config, self._membership)
        self._consumer = self._connect()

    def _connect(self) -> Consumer:
        return connect(Consumer, member_settings(self._config, self._slot), error_cb=self._on_error)

    @property
    def name(self) -> str:
        return self._config.input_topic

    def identity(self) -> SourceId:
        return self._identity.learn(self._consumer)

    def subscribe(self, owner: PartitionOwner) -> None:
        self._owner = owner
        self._be_patient()
        self._join()

    def _be_patient(self) -> None:
        """Accept refusals until the session of the slot's former member must have ended."""
        self._patient_until = self._monotonic() + self._config.session_timeout_ms / 1000 + _SESSION_MARGIN_SECONDS

    def _join(self) -> None:
        self._consumer.subscribe(
            [self.name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        self._resume()
        self._wait(self._monotonic() + timeout_seconds)
        # `_wait` waits for one record; the others are taken without waiting, since consume(n, t) would wait for n.
        self._consume(max(1, max_records - len(self._stash)), 0)
        self._look_again()
        if self._stash:
            self._identity.ask_ahead()
        if self._backoff.ready():
            self._claim()
            self._start()
        return [self._stash.popleft() for _ in range(min(max_records, len(self._stash)))]

    def reclaim(self, partitions: Collection[int]) -> None:
        again = set(partitions) & self._positions.claimed
        self._consumer.incremental_unassign(self._named(again & self._positions.assigned))
        self._forget(again)
        self._positions.unclaimed |= again
        # Wait a moment: if the partitions belong to another member by now, the group can say so.
        self._backoff.fail()

    def moved_from(self) -> Collection[int]:
        return self._published.moved_from()

    def partitions(self) -> Collection[int]:
        return self._published.partitions()

    def serve(self) -> None:
        """Handle rebalances for a moment. Partitions are paused until the next `poll`, so that no records pile up."""
        if not self._paused:
            self._consumer.pause(self._assigned())
            self._paused = True
        self._consume(_SERVED_AT_ONCE, _SERVE_SECONDS)

    def exhausted(self) -> bool:
        return False

    def standing(self) -> Standing:
        return self._membership.standing(claiming=bool(self._positions.unclaimed))

    def trouble(self) -> str:
        return self._membership.trouble

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        stood = self._positions.stood(next_offsets)
        return {p: max(0, self._end(p) - at) for p, at in stood.items() if p in self._positions.ends}

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return self._positions.stood(next_offsets)

    def membership(self) -> Any:
        """Return the group metadata for a commit. Raises RestartNeeded if the topic was deleted and made again."""
        self._identity.answer()
        return self._membership.metadata or self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Stop reading without telling the owner. A static member stays in the group until its session times out."""
        self._owner = None
        self._close()

    def _close(self) -> None:
        self._membership.closes = True
        self._consumer.close()

    def _wait(self, end: float) -> None:
        at = self._positions
        while not self._stash and not (at.unasked | at.waiting and self._backoff.ready()):
            left = end - self._monotonic()
            self._consume(1, max(0.0, min(left, _SLICE_SECONDS)))
            if left <= 0:
                return

    def _consume(self, size: int, timeout_seconds: float) -> None:
        if self._refused and self._backoff.ready():
            self._join_again()
        now, named = self._consumer.consumer_group_metadata(), self._membership.metadata
        messages = consumed(self._consumer, size, timeout_seconds, self._on_error)
        if len(messages) < size and self._membership.metadata is named:
            self._membership.metadata = now  # the queue is empty: what the group had said by then was served
        self._keep(messages)
        if self._fatal is not None:
            self._fenced_by_itself(self._fatal)
        if self._failures:
            raise self._failures.pop(0)

    def _fenced_by_itself(self, fault: SlotTaken | RestartNeeded | ConfigurationError) -> None:
        """Join the group again after being fenced, if this process still owns the slot; raise `fault` if it does not.

        librdkafka forgets its member id when a session times out but continues with heartbeats until the application
        has handled the loss; a new coordinator then fences it (librdkafka #3437). While the memory store does not
        answer whose the slot is, return after a short wait.
        """
        try:
            if not (isinstance(fault, SlotTaken) and self._owns()):
                raise fault
        except Unavailable as away:
            _log.warning("kafka source: fenced, and the store does not answer whose the slot is", reason=str(away))
            return time.sleep(_SLICE_SECONDS)
        _log.warning("kafka source: joining again after being fenced", reason=str(fault))
        self._fatal = None
        self._be_patient()
        self._on_lost(self._consumer, self._named(self._positions.claimed | self._positions.unclaimed))
        self._join_again()

    def _join_again(self) -> None:
        self._refused = False
        self._backoff.fail()
        self._close()
        self._consumer = self._connect()
        self._membership.closes = False
        self._join()

    def _keep(self, messages: Iterable[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_message_error(message.partition(), message.offset(), error)
                continue
            record = record_of(message)
            self._membership.reads()
            if self._positions.take(record.partition, record.offset):
                self._stash.append(record)

    def _on_message_error(self, partition: int | None, offset: int | None, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._positions.found_end(partition, offset)
        elif error.code() in LOST_OFFSET_CODES and partition is not None and partition in self._positions.claimed:
            # The topic may have been made again: check its id before reading on.
            self._look_again_at = 0.0
            self._consumer.incremental_unassign(self._named({partition} & self._positions.assigned))
            self._positions.waiting.add(partition)
        else:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        unreleased = says(error, KafkaError.UNRELEASED_INSTANCE_ID)
        if unreleased and not self._positions.claimed and self._monotonic() < self._patient_until:
            self._refused = True
            self._complain("kafka source: waiting for the slot's last session to end", error)
        elif error.code() in _TOPIC_CODES:
            self._look_again_at = 0.0
            self._complain("kafka source", error)
        elif is_fatal(error):
            self._fatal = self._fatal or fatal_error(error)
        else:
            self._complain("kafka source", error)

    def _complain(self, event: str, error: KafkaError) -> None:
        self._complaints.say(event, error)
        self._membership.wrong(event, error)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._membership.heard(consumer)
        try:
            require_own_topic(self._config, self._slot, {at.topic for at in partitions})
        except ConfigurationError as fault:
            self._failures.append(fault)
        else:
            self._positions.unclaimed.update(at.partition for at in partitions)
        consumer.incremental_assign([])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._membership.heard(consumer)
        self._leave(partitions, self._owner.release if self._owner else None)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._membership.lost()
        self._leave(partitions, self._owner.drop if self._owner else None)

    def _leave(self, partitions: list[TopicPartition], tell: Callable[[Collection[int]], None] | None) -> None:
        gone = {at.partition for at in partitions}
        claimed = sorted(gone & self._positions.claimed)
        try:
            if tell is not None and claimed:
                tell(claimed)
        except BaseException as fault:
            self._failures.append(fault)
        finally:
            self._consumer.incremental_unassign(self._named(gone & self._positions.assigned))
            self._forget(gone)

    def _forget(self, gone: set[int]) -> None:
        self._positions.forget(gone)
        self._stash = deque(record for record in self._stash if record.partition not in gone)

    def _claim(self) -> None:
        """Let the owner take over the unclaimed partitions; those that it leaves out keep their Y until it does."""
        at = self._positions
        if not at.unclaimed or self._owner is None:
            return
        try:
            if at.unasked:
                published, stood = self._published.ask(self._consumer, self._owner, at.unasked)
                at.answers |= published
                at.stood_before |= stood
        except KafkaException as fault:
            self._later(error_of(fault))
            return
        at.claim(self._owner.claim(dict(at.answers)))

    def _look_again(self) -> None:
        """Check every few seconds whether the topic was made again, whether it has grown (then users may have moved to
        partitions that are read already), and whether all of it is read. Without records this also shows that the
        brokers answer."""
        if self._monotonic() < self._look_again_at:
            return
        self._look_again_at = self._monotonic() + _LOOK_SECONDS
        if not self._membership.joined():
            return
        try:
            self._identity.confirm(self._consumer)
            partitions = self._published.look_for_more(self._consumer)
        except KafkaException as fault:
            self._complain("kafka source: the topic can't be described", error_of(fault))
        else:
            self._membership.answered()
            self._share_out(partitions)

    def _share_out(self, partitions: int) -> None:
        """Leave the group and join it again if partitions of the topic stay unread, so that all are shared out."""
        if late := self._unread.overdue(partitions, self._monotonic()):
            _log.warning("kafka source: joining again, since the group has given partitions to nobody", partitions=late)
            self._consumer.unsubscribe()
            self._join()

    def _start(self) -> None:
        """Read the waiting partitions from their next offsets."""
        at = self._positions
        if not at.waiting:
            self._backoff.reset()
            return
        try:
            for partition in sorted(at.waiting):
                low, high = bounds(self._consumer, self.name, partition)
                needed, stood = at.needed(partition), at.stood_at(partition)
                offset = readable(self._config, partition, at.next_offset(partition), needed, low, high, stood)
                self._consumer.incremental_assign([TopicPartition(self.name, partition, offset)])
                # A partition that was taken away while it was paused is still paused when it comes back.
                self._consumer.resume(self._named([partition]))
                at.start(partition, offset, high)
        except KafkaException as fault:
            self._later(error_of(fault))
        else:
            self._backoff.reset()
            self._membership.answered()

    def _later(self, error: KafkaError) -> None:
        if is_fatal(error):
            raise fatal_error(error)
        self._backoff.fail()
        self._complain("kafka source: new partitions have to wait", error)

    def _resume(self) -> None:
        if self._paused:
            self._consumer.resume(self._assigned())
            self._paused = False

    def _end(self, partition: int) -> int:
        cached = self._consumer.get_watermark_offsets(TopicPartition(self.name, partition), cached=True)
        return max(self._positions.ends[partition], cached[1] if cached else 0)

    def _assigned(self) -> list[TopicPartition]:
        return self._named(self._positions.assigned)

    def _named(self, partitions: Collection[int]) -> list[TopicPartition]:
        return [TopicPartition(self.name, partition) for partition in sorted(partitions)]


def record_of(message: Message) -> Record:
    """Return a message without an error as a record."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    given: Any = message.headers()
    headers = tuple((name, value or b"") for name, value in given) if given else ()
    return Record(partition, offset, message.timestamp()[1], message.key(), message.value(), headers=headers)
