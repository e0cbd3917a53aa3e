"""Writes and reads the weights topic: all of its partitions, in no group and no transaction, from the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_worker.backends.kafka.config import KafkaConfig, weights_reader_settings, weights_writer_settings
from stream_worker.backends.kafka.faults import connect, error_of, lacks_right
from stream_worker.backends.kafka.rights import how_to_allow
from stream_worker.backends.kafka.source import record_of
from stream_worker.core.events import Record

# Seconds between two looks at the topic's partitions, and after a look without an answer. Not tuned.
_LOOK_SECONDS, _SOON_SECONDS = 30.0, 2.0
_ANSWER_SECONDS = 2.0  # to wait for an answer: a step of the weights waits for it; not tuned


class KafkaWeights:
    """Reads and writes `kafka.weights_topic` for one worker slot. Nothing is written to a topic that is not there."""

    def __init__(self, config: KafkaConfig, slot: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.slot, self._name = slot, config.weights_topic
        self._config, self._monotonic = config, monotonic
        self._trouble = ""
        self._partitions = 0
        self._look_at = 0.0
        self._consumer = connect(Consumer, weights_reader_settings(config), error_cb=self._on_error)
        self._producer = connect(Producer, weights_writer_settings(config, slot), error_cb=self._on_error)

    def begin(self) -> None:
        self._partitions = 0
        self._look()

    def poll(self, max_records: int) -> list[Record]:
        self._producer.poll(0)
        if self._monotonic() >= self._look_at:
            self._look()
        if not self._partitions:
            return []
        try:
            messages = self._consumer.consume(max_records, 0)
        except KafkaException as fault:
            self._on_error(error_of(fault))
            return []
        return [record_of(message) for message in messages if self._is_record(message)]

    def write(self, values: Sequence[bytes]) -> bool:
        if not self._partitions:
            return False
        try:
            for value in values:
                self._producer.produce(self._name, value, self.slot.encode(), on_delivery=self._delivered)
        except BufferError:
            return False
        except KafkaException as fault:
            self._on_error(error_of(fault))
            return False
        return True

    def trouble(self) -> str:
        return self._trouble

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(_ANSWER_SECONDS)
        self._consumer.close()

    # -- which partitions --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Read all partitions that the topic has now; new ones from their end as it is now."""
        self._look_at = self._monotonic() + _LOOK_SECONDS
        try:
            known = self._consumer.list_topics(self._name, timeout=_ANSWER_SECONDS).topics[self._name]
        except KafkaException as fault:
            self._look_at = self._monotonic() + _SOON_SECONDS
            self._on_error(error_of(fault))
            return
        if known.error is not None:
            self._partitions = 0
            self._on_error(known.error)
            return
        self._trouble = ""
        if len(known.partitions) != self._partitions:
            self._partitions = len(known.partitions)
            self._consumer.assign([TopicPartition(self._name, number, OFFSET_END) for number in known.partitions])

    # -- faults ------------------------------------------------------------------------------------------------

    def _is_record(self, message: Message) -> bool:
        if (error := message.error()) is None:
            return True
        self._on_error(error)
        return False

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._trouble = ""
        elif error.code() != KafkaError._PURGE_QUEUE:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = self._sentence(error)

    def _sentence(self, error: KafkaError) -> str:
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return f"there is no topic {self._name}; `stream-worker topics create` makes it"
        if lacks_right(error):
            user = self._config.extra.get("sasl.username", "NAME")
            allow = "; ".join(how_to_allow(right, "topic", self._name, user) for right in ("Read", "Write"))
            return f"this user may not read and write the topic {self._name}. {allow}"
        return f"kafka: weights topic {self._name}: {error.str()}"
