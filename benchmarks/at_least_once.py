"""Sink and source of a program without transactions, which writes the records first, then commits the offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from stream_worker.backends.kafka import KafkaConfig, KafkaSource, dead_letter_headers
from stream_worker.backends.kafka.config import LIBRARY_LOG, writer_settings
from stream_worker.core.codec import encode_recommendation
from stream_worker.core.events import Outputs
from stream_worker.core.fault_points import Reached

_ANSWER_SECONDS = 30.0  # longest wait for the brokers' answers


class AtLeastOnceSink:
    """Write lists and dead letters with an idempotent producer, then commit the offsets with the consumer.

    A worker that dies between the two publishes again. The sink waits for both answers, since the worker has to know Y.
    """

    shortened = 0

    def __init__(self, config: KafkaConfig, reached: Reached) -> None:
        self._config, self._reached = config, reached
        self._producer = Producer(writer_settings(config), logger=LIBRARY_LOG)

    def commit(
        self, outputs: Outputs, next_offsets: Mapping[int, int], membership: Consumer, marks: Any = None
    ) -> None:
        encoded = [(r, encode_recommendation(r, self._config.input_topic)) for r in outputs.recommendations]
        self._reached("before")
        for recommendation, value in encoded:
            self._producer.produce(self._config.output_topic, value, recommendation.user.encode())
        for letter in outputs.dead_letters:
            headers: Any = dead_letter_headers(letter, self._config.input_topic)
            record = letter.record
            self._producer.produce(self._config.dead_letter_topic, record.value, record.key, headers=headers)
        self._reached("produced")
        if left := self._producer.flush(_ANSWER_SECONDS):
            raise TimeoutError(f"{left} records were not written within {_ANSWER_SECONDS} s")
        self._reached("flushed")
        offsets = [TopicPartition(self._config.input_topic, p, offset) for p, offset in next_offsets.items()]
        membership.commit(offsets=offsets, asynchronous=False)
        self._reached("after")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load nothing: Kafka keeps the state."""

    def close(self) -> None:
        """Do nothing: after a commit the queue is empty."""


class CommittingSource(KafkaSource):
    """A source that hands its consumer to the sink, which commits with it."""

    def membership(self) -> Consumer:
        return self._consumer
