"""Lists, dead letters and Y, in one Kafka transaction.

Only here is it decided what a transaction whose outcome nobody knows has become: Y, which was in it, says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig, reader_settings, transaction_settings
from stream_worker.backends.kafka.faults import connect
from stream_worker.backends.kafka.fitting import Fitting, fitting_letter, fitting_list
from stream_worker.backends.kafka.producer import OutcomeUnknown, TransactionalProducer
from stream_worker.backends.kafka.room import CLIENT_BYTES, Room
from stream_worker.backends.kafka.starts import committed_offsets
from stream_worker.core.codec import encode_recommendation
from stream_worker.core.errors import RestartNeeded, RightMissing, SlotTaken, TransactionAborted, Unavailable
from stream_worker.core.events import Outputs
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.offsets import Mark
from stream_worker.logs import get_logger

_log = get_logger(__name__)


class KafkaSink:
    """The transactional producer of the worker slot `slot`. Create it before the source: creating it ends what a dead
    predecessor left open, for which the source would wait.

    `commit` raises TransactionAborted, SlotTaken, RestartNeeded, and Unavailable: the brokers do not answer and the
    outcome is open. After Unavailable as after TransactionAborted: serve the source, then commit the same again, less
    what is no longer owned; what turns out to have been published is not published again. What is larger than its topic
    takes is made smaller; `shortened` counts the lists that were. Raises ConfigurationError where the least that has to
    be written is too large.
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
        # Whether a hung broker may still hold an init of ours: answered late, it fences its own successor (seen).
        self._unanswered = False
        self.shortened = 0
        self._producer: TransactionalProducer | None = self._connect(patient=True)
        client_bytes = int(config.extra.get("message.max.bytes", CLIENT_BYTES))
        topics = (config.output_topic, config.dead_letter_topic)
        self._rooms = {topic: Room(topic, client_bytes, monotonic) for topic in topics}

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
        """Nothing: Kafka keeps it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing: Kafka keeps it."""

    def close(self) -> None:
        """Between two commits nothing is open or queued."""
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
        """1. begin  2. lists and dead letters  3. Y  4. commit."""
        topic, (lists, letters) = self._config.input_topic, self._rooms.values()
        marked = [replace(r, topic_id=self._topic_ids.get(r.partition, "")) for r in outputs.recommendations]
        encoded = [(r, encode_recommendation(r, topic)) for r in marked]
        self._reached("transaction.before")
        # 1.
        for room in self._rooms.values():
            room.begin()
        producer.begin()
        self._reached("transaction.begun")
        # 2.
        shortened = 0
        for recommendation, value in encoded:
            fitting = fitting_list(recommendation, value, topic, lists.most_bytes)
            self._produce(producer, self._config.output_topic, fitting)
            shortened += fitting.shortened
        for letter in outputs.dead_letters:
            self._produce(producer, self._config.dead_letter_topic, fitting_letter(letter, topic, letters.most_bytes))
        self._reached("transaction.produced")
        # 3.
        producer.send_offsets(offsets, membership)
        self._reached("transaction.offsets_sent")
        # 4.
        producer.commit()
        self.shortened += shortened
        self._reached("transaction.after")

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
        """Without patience: the source has to be served meanwhile, and commit comes again. A new producer would fence
        that of a process that has taken the slot meanwhile."""
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
        """Whether a transaction of unknown outcome had these offsets and was committed after all.

        Asked only once the slot's new producer has ended it one way or the other, and of what is still owned: in other
        partitions another worker may have gone on. Raises Unavailable.
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
