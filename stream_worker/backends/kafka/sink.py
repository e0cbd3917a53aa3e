"""Publishes lists, of users and shared ones, dead letters and Y in one Kafka transaction.

If no broker answers to a commit, its outcome is unknown. The sink then reads Y, which was part of the transaction: it
tells whether the transaction was committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig, reader_settings, transaction_settings
from stream_worker.backends.kafka.faults import connect
from stream_worker.backends.kafka.fitting import Fitting, fitting_letter, fitting_list, fitting_shared_list
from stream_worker.backends.kafka.producer import OutcomeUnknown, TransactionalProducer
from stream_worker.backends.kafka.room import CLIENT_BYTES, Room
from stream_worker.backends.kafka.starts import committed_offsets
from stream_worker.core.codec import encode_recommendation
from stream_worker.core.errors import RestartNeeded, RightMissing, SlotTaken, TransactionAborted, Unavailable
from stream_worker.core.events import Outputs, Recommendation, SharedList
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.offsets import Mark
from stream_worker.logs import get_logger

_log = get_logger(__name__)
_Made = TypeVar("_Made", Recommendation, SharedList)


class KafkaSink:
    """The transactional producer of one worker slot. Create it before the source: it ends the transaction that a dead
    predecessor left open, and the source would wait for that.

    `commit` raises TransactionAborted (nothing was published), Unavailable (the brokers do not answer and the outcome
    is unknown), SlotTaken and RestartNeeded. After the first two, serve the source and commit the same outputs again,
    without those of partitions that were lost; what was published after all is not published again. A list or dead
    letter that is too large for its topic is shortened; `shortened` counts such lists. ConfigurationError is raised if
    even the smallest form is too large.

    slot: name of the worker slot; with the group's name it is the transactional id.
    monotonic: seconds of a clock that never goes back.
    reached: called at each fault point.
    owns: whether this process still owns the slot, by the memory store.
    """

    def __init__(
        self,
        config: KafkaConfig,
        slot: str,
        monotonic: Callable[[], float] = time.monotonic,
        reached: Reached = no_fault,
        owns: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config, self._slot, self._monotonic, self._reached = config, slot, monotonic, reached
        self._owns = owns
        self._topic_ids: dict[int, str] = {}
        self._unknown: dict[int, int] = {}
        # True if an init_transactions had no answer: a broker that executes it late fences the next producer (seen).
        self._unanswered = False
        self.shortened = 0
        self._producer: TransactionalProducer | None = self._connect(patient=True)
        client_bytes = int(config.extra.get("message.max.bytes", CLIENT_BYTES))
        self._rooms = {topic: Room(topic, client_bytes, monotonic) for topic in config.written}

    def _connect(self, patient: bool) -> TransactionalProducer:
        return TransactionalProducer(transaction_settings(self._config, self._slot), self._monotonic, patient)

    def commit(
        self,
        outputs: Outputs,
        next_offsets: Mapping[int, int],
        membership: Any,
        marks: Mapping[int, Mark] | None = None,
    ) -> None:
        outputs.require_offsets(next_offsets)
        if not next_offsets or self._was_published(next_offsets):
            return
        marks = marks or {}
        try:
            offsets = self._with_marks(next_offsets, marks)
            self._topic_ids = {partition: mark.topic_id for partition, mark in marks.items()}
            self._publish(self._ready(), outputs, offsets, membership)
        except TransactionAborted as fault:
            refused = [topic for topic, room in self._rooms.items() if room.learn()]
            if refused:
                too_large = f"{' and '.join(refused)}: a record is larger than its max.message.bytes allows"
                raise TransactionAborted(f"{too_large}: {fault}") from fault
            raise
        except (OutcomeUnknown, SlotTaken) as fault:
            if isinstance(fault, SlotTaken) and not self._unanswered:
                raise
            self._doubt(next_offsets, fault)
            if not self._was_published(next_offsets):
                raise TransactionAborted(str(fault)) from fault
        self._unanswered = False

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: Kafka keeps the state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: Kafka keeps the state."""

    def close(self) -> None:
        """Release the producer. Between two commits no transaction is open and no record is queued."""
        self._let_go()

    def _let_go(self) -> None:
        if self._producer is not None:
            self._producer.discard()
            self._producer = None

    def _with_marks(self, next_offsets: Mapping[int, int], marks: Mapping[int, Mark]) -> list[TopicPartition]:
        notes = {partition: mark.encode() for partition, mark in marks.items()}
        return [
            TopicPartition(self._config.input_topic, partition, offset, notes.get(partition, ""))
            for partition, offset in next_offsets.items()
        ]

    def _publish(
        self, producer: TransactionalProducer, outputs: Outputs, offsets: list[TopicPartition], membership: Any
    ) -> None:
        """Run one transaction: 1. begin  2. lists and dead letters  3. Y  4. commit."""
        config, topic = self._config, self._config.input_topic
        lists = [(r, encode_recommendation(r, topic)) for r in map(self._of_topic, outputs.recommendations)]
        self._reached("transaction.before")
        # 1.
        for room in self._rooms.values():
            room.begin()
        producer.begin()
        self._reached("transaction.begun")
        # 2.
        shortened = 0
        for recommendation, value in lists:
            fitting = fitting_list(recommendation, value, topic, self._most_bytes(config.output_topic))
            self._produce(producer, config.output_topic, fitting)
            shortened += fitting.shortened
        shortened += self._produce_shared(producer, config.similar_topic, "item", outputs.similar)
        shortened += self._produce_shared(producer, config.popular_topic, "category", outputs.popular)
        for letter in outputs.dead_letters:
            most_bytes = self._most_bytes(config.dead_letter_topic)
            self._produce(producer, config.dead_letter_topic, fitting_letter(letter, topic, most_bytes))
        self._reached("transaction.produced")
        # 3.
        producer.send_offsets(offsets, membership)
        self._reached("transaction.offsets_sent")
        # 4.
        producer.commit()
        self.shortened += shortened
        self._reached("transaction.after")

    def _produce_shared(
        self, producer: TransactionalProducer, topic: str, by: Literal["item", "category"], made: Sequence[SharedList]
    ) -> int:
        """Produce shared lists, if they have a topic; return how many were shortened."""
        shortened = 0
        for one in map(self._of_topic, made if topic else ()):
            fitting = fitting_shared_list(one, by, self._config.input_topic, self._most_bytes(topic))
            self._produce(producer, topic, fitting)
            shortened += fitting.shortened
        return shortened

    def _of_topic(self, made: _Made) -> _Made:
        """Return a list that names the topic that its events are of."""
        return replace(made, topic_id=self._topic_ids.get(made.partition, ""))

    def _most_bytes(self, topic: str) -> int:
        return self._rooms[topic].most_bytes

    def _produce(self, producer: TransactionalProducer, topic: str, record: Fitting) -> None:
        room, size_bytes = self._rooms[topic], record.size_bytes
        if room.is_full(size_bytes):
            producer.flush()
        noting = room.on_delivery(size_bytes)
        producer.produce(topic, record.key, record.value, headers=record.headers, on_delivery=noting)

    def _doubt(self, next_offsets: Mapping[int, int], fault: Exception) -> None:
        _log.warning("the outcome of a transaction is unknown", reason=str(fault), next_offsets=dict(next_offsets))
        self._unknown = dict(next_offsets)
        self._let_go()

    def _ready(self) -> TransactionalProducer:
        if self._producer is None:
            self._producer = self._connect_again()
        return self._producer

    def _connect_again(self) -> TransactionalProducer:
        """Create a producer after the last one was given up. Raises SlotTaken, before it would fence the producer of
        another process that has taken the slot. It is not patient, because the source must be served meanwhile: the
        loop calls `commit` again."""
        if not self._owns():
            raise SlotTaken(f"another process uses the worker slot {self._slot!r}")
        try:
            return self._connect(patient=False)
        except RightMissing as fault:
            raise Unavailable(str(fault)) from fault
        except Unavailable:
            self._unanswered = True
            raise

    def _was_published(self, next_offsets: Mapping[int, int]) -> bool:
        """Return True if the transaction of unknown outcome contained these offsets and was committed.

        The slot's new producer must have ended it first, by commit or abort. Only partitions that are still owned are
        compared: in others another worker may have published more. Raises Unavailable; RestartNeeded if the committed
        transaction contained other offsets than these.
        """
        if not self._unknown:
            return False
        self._ready()
        owned = {partition: offset for partition, offset in self._unknown.items() if partition in next_offsets}
        committed = self._committed(owned) if owned else {}
        self._unknown = {}
        if not owned or any(committed.get(partition, 0) < offset for partition, offset in owned.items()):
            return False
        if any(offset > owned.get(partition, -1) for partition, offset in next_offsets.items()):
            raise RestartNeeded(f"published up to {owned} after all, but asked to publish up to {dict(next_offsets)}")
        return True

    def _committed(self, partitions: Mapping[int, int]) -> dict[int, int]:
        reader = connect(Consumer, reader_settings(self._config))
        try:
            return committed_offsets(reader, self._config.input_topic, partitions)
        except KafkaException as fault:
            raise Unavailable(f"kafka: no answer about committed offsets: {fault}") from fault
        finally:
            reader.close()
