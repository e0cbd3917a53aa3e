"""Which topic and which cluster answer under the configured names (KIP-516).

The mock cluster never answers the question and old brokers have no ids: without them a name has to do, said once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.faults import connect, error_of
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger

_log = get_logger(__name__)
_ANSWER_SECONDS = 2.0
# Of a cluster that has answered everything else so far; what has no answer then never gets one.
_MOST_QUESTIONS = 3
_MOCK = "mockCluster"
_NO_ID = str(Uuid(0, 0))
_REFUSALS = frozenset({KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION, KafkaError.INVALID_REQUEST})


class TopicIdentity:
    """The ids of the input topic and its cluster. `known` is what has been answered so far."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._admin: AdminClient | None = None
        self._unanswered = 0
        self._silent = False
        self.known = SourceId(config.input_topic, group=config.group_id)

    def learn(self, consumer: Consumer) -> SourceId:
        """What is known, asked for where it is not yet; without an answer, what a later claim will complete."""
        if not (self.known.topic_id or self._silent):
            with suppress(KafkaException):
                self.known = self.ask(consumer)
        return self.known

    def ask(self, consumer: Consumer) -> SourceId:
        """The ids now; an id is empty where there is none to know. Raises KafkaException where an answer is to be
        waited for."""
        cluster_id = self.known.cluster_id or self._cluster_id(consumer)
        topic_id = "" if self._silent else self._topic_id()
        return replace(self.known, topic_id=topic_id, cluster_id=cluster_id)

    def _cluster_id(self, consumer: Consumer) -> str:
        cluster_id = consumer.list_topics(self.known.name, timeout=_ANSWER_SECONDS).cluster_id or ""
        if cluster_id.startswith(_MOCK):
            self._go_without("librdkafka's mock cluster has none")
            return ""
        return str(cluster_id)

    def _topic_id(self) -> str:
        """Empty while the topic is not there, too."""
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
        if self._admin is None:
            self._admin = connect(AdminClient, client_settings(self._config))
        name = self.known.name
        asked = self._admin.describe_topics(TopicCollection([name]), request_timeout=_ANSWER_SECONDS)
        description: TopicDescription = asked[name].result()
        return description

    def _failed(self, error: KafkaError) -> str:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return ""
        self._unanswered += 1
        if error.code() not in _REFUSALS and (self.known.topic_id or self._unanswered < _MOST_QUESTIONS):
            raise KafkaException(error)
        self._go_without(error.str())
        return ""

    def _go_without(self, reason: str) -> None:
        if not self._silent:
            _log.warning(
                "the topic has no id that could be known: if it is deleted and made again, its first events are lost",
                topic=self.known.name,
                reason=reason,
            )
        self._silent = True
