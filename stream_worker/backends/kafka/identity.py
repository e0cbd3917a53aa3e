"""Asks for the ids of the input topic and its cluster (KIP-516): a topic that was made again has another id.

Old brokers have no topic ids, and librdkafka's mock cluster does not answer. The topic is then known by name only,
which is logged once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.faults import connect, error_of
from stream_worker.core.errors import RestartNeeded
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger

_log = get_logger(__name__)
_ANSWER_SECONDS = 2.0  # to wait for an answer; not tuned
# Questions without an answer, from brokers that answer other requests, after which no id is expected. Not tuned.
_MOST_QUESTIONS = 3
# Shortest time between two questions beside the records: each takes the broker some milliseconds. Not tuned.
_AHEAD_SECONDS = 0.25
_MOCK = "mockCluster"
_NO_ID = str(Uuid(0, 0))
_REFUSALS = frozenset({KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION, KafkaError.INVALID_REQUEST})


class TopicIdentity:
    """The ids of the input topic and its cluster. `known` has the ids that were answered so far."""

    def __init__(self, config: KafkaConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config, self._monotonic = config, monotonic
        self._asked: Future[TopicDescription] | None = None
        self._ask_again_at = 0.0
        self._admin: AdminClient | None = None
        self._unanswered = 0
        self._silent = False
        self.known = SourceId(config.input_topic, group=config.group_id)

    def learn(self, consumer: Consumer) -> SourceId:
        """Return the ids, asking for them if they are unknown. Without an answer they stay empty until `confirm`."""
        if not (self.known.topic_id or self._silent):
            with suppress(KafkaException):
                self.known = self.ask(consumer)
        return self.known

    def confirm(self, consumer: Consumer) -> None:
        """Check that the topic is still the known one. Raises RestartNeeded if it is another, and KafkaException while
        there is no answer or no such topic."""
        found = self.ask(consumer)
        self._recognize(found.topic_id)
        self.known = replace(found, topic_id=found.topic_id or self.known.topic_id)

    def ask_ahead(self) -> None:
        """Send the question without waiting. If `answer` confirms the topic, records fetched before are from it."""
        if self.known.topic_id and self._asked is None and self._monotonic() >= self._ask_again_at:
            self._ask_again_at = self._monotonic() + _AHEAD_SECONDS
            self._asked = self._describing()

    def answer(self) -> None:
        """Wait for the answer to `ask_ahead`. Raises RestartNeeded as `confirm` does; no answer means nothing."""
        asked, self._asked = self._asked, None
        if asked is not None:
            with suppress(KafkaException, TimeoutError):
                self._recognize(str(asked.result(_ANSWER_SECONDS).topic_id))

    def _recognize(self, topic_id: str) -> None:
        if topic_id and self.known.topic_id not in ("", topic_id):
            raise RestartNeeded(
                f"kafka: the topic {self.known.name} was deleted and made again while it was read: its id is "
                f"{topic_id}, it was {self.known.topic_id}; the next start begins with the new one"
            )

    def ask(self, consumer: Consumer) -> SourceId:
        """Ask for both ids; an id that can't be known is empty. Raises KafkaException as `confirm` does."""
        if self._silent:
            return self.known
        cluster_id = self.known.cluster_id or self._cluster_id(consumer)
        topic_id = "" if self._silent else self._topic_id()
        return replace(self.known, topic_id=topic_id, cluster_id=cluster_id)

    def _cluster_id(self, consumer: Consumer) -> str:
        cluster_id = consumer.list_topics(self.known.name, timeout=_ANSWER_SECONDS).cluster_id or ""
        if cluster_id.startswith(_MOCK):
            self._go_without("librdkafka's mock cluster has none", level="info")
            return ""
        return str(cluster_id)

    def _topic_id(self) -> str:
        try:
            found = str(self._describe().topic_id)
        except KafkaException as fault:
            return self._failed(error_of(fault))
        self._unanswered = 0
        if found == _NO_ID:
            self._go_without("the broker gives none")
            return ""
        return found

    def _describe(self) -> TopicDescription:
        return self._describing().result()

    def _describing(self) -> Future[TopicDescription]:
        if self._admin is None:
            self._admin = connect(AdminClient, client_settings(self._config))
        name = self.known.name
        asked = self._admin.describe_topics(TopicCollection([name]), request_timeout=_ANSWER_SECONDS)
        answer: Future[TopicDescription] = asked[name]
        return answer

    def _failed(self, error: KafkaError) -> str:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(error)
        self._unanswered += 1
        if error.code() not in _REFUSALS and (self.known.topic_id or self._unanswered < _MOST_QUESTIONS):
            raise KafkaException(error)
        self._go_without(error.str())
        return ""

    def _go_without(self, reason: str, level: str = "warning") -> None:
        if not self._silent:
            getattr(_log, level)(
                "the topic's id can't be known: if the topic is deleted and made again, its first events are lost",
                topic=self.known.name,
                reason=reason,
            )
        self._silent = True
