"""The worker's Kafka ends as a program without transactions has them: records first, then the offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from stream_worker.backends.kafka import KafkaConfig, KafkaSource, dead_letter_headers
from stream_worker.backends.kafka.config import LIBRARY_LOG, writer_settings
from stream_worker.core.codec import encode_recommendation
from stream_worker.core.events import Outputs
from stream_worker.core.fault_points import Reached

_ANSWER_SECONDS = 30.0


class AtLeastOnceSink:
    """Lists and dead letters by an idempotent producer; once they are there, the offsets by the consumer. Whoever dies
    between the two publishes again. It waits for both answers, as the worker has to know what Y is."""

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
        """Kafka keeps it."""

    def close(self) -> None:
        """After a commit nothing is queued."""


class CommittingSource(KafkaSource):
    """Hands its consumer to the sink, which commits with it."""

    def membership(self) -> Consumer:
        return self._consumer
