"""Checks that a topic's retention keeps a recorded log.

Records of a log have old timestamps, so retention may delete them within minutes, before they are read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from stream_worker.backends.kafka.causes import metadata
from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.faults import connect, error_of
from stream_worker.backends.kafka.topics import is_mock
from stream_worker.core.amounts import amount
from stream_worker.core.errors import ConfigurationError, Unavailable
from stream_worker.logs import get_logger

_ANSWER_SECONDS = 10.0  # to wait for an answer; not tuned
_DAY_MS = 86_400_000
_KEEP_ALL = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
# Answers that mean that the settings can't be read, by this user or at all.
_NOT_KNOWN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,
}

_log = get_logger(__name__)


@dataclass(frozen=True)
class Retention:
    """The settings of a topic that delete records.

    ms: records older than so many ms are deleted; -1: none.
    bytes: the oldest records of a partition that has more bytes are deleted; -1: none.
    compact: only the newest record of each key is kept.
    lag_ms: for so many ms every record is kept where `compact`.
    by_append_time: the age of a record counts from when it was written, not from its own timestamp.
    """

    ms: int = -1
    bytes: int = -1
    compact: bool = False
    by_append_time: bool = False
    lag_ms: int = 0

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Retention:
        """Read the settings from a topic's configuration, by Kafka's names."""
        policy = values.get("cleanup.policy", "delete").split(",")
        deletes = "delete" in policy
        return cls(
            int(values.get("retention.ms", -1)) if deletes else -1,
            int(values.get("retention.bytes", -1)) if deletes else -1,
            "compact" in policy,
            values.get("message.timestamp.type") == "LogAppendTime",
            int(values.get("min.compaction.lag.ms", 0)),
        )

    def loses(self, oldest_ms: int, size_bytes: int, now_ms: int) -> str:
        """Return the reason why a log would not be kept; empty: it is kept.

        oldest_ms, now_ms: time of its first record, and now, in ms since 1970.
        size_bytes: its size.
        """
        if self.compact:
            return "cleanup.policy has compact: of each user only the newest event stays"
        if 0 <= self.bytes < size_bytes:
            return f"retention.bytes is {self.bytes:,} a partition, and the log has {size_bytes:,} bytes"
        age_ms = now_ms - oldest_ms
        if 0 <= self.ms < age_ms and not self.by_append_time:
            return (
                f"retention.ms keeps {amount(self.ms / _DAY_MS, 'day', form='.3g')}, and the log begins "
                f"{amount(age_ms / _DAY_MS, 'day', form=',.0f')} ago"
            )
        return ""


def make_sure_it_keeps(config: KafkaConfig, oldest_ms: int, size_bytes: int, may_change: bool) -> None:
    """Check that the input topic keeps a log. If it does not, change its settings or raise ConfigurationError.

    Raises Unavailable.

    oldest_ms: time of the log's first record, in ms since 1970.
    size_bytes: the log's size.
    may_change: False: raise instead of changing the topic.
    """
    topic = config.input_topic
    found = retention_of(config, topic)
    why = "" if found is None else found.loses(oldest_ms, size_bytes, int(time.time() * 1000))
    if why and not may_change:
        raise ConfigurationError(
            f"kafka: {topic} would delete this log, perhaps before it is read: {why}. With --keep-all the topic keeps "
            "everything from now on; --topic sends it to another"
        )
    if why:
        keep_all(config, topic)
        _log.warning("the topic keeps everything from now on", topic=topic, before=why)


def retention_of(config: KafkaConfig, topic: str) -> Retention | None:
    """Return a topic's retention; None if this user may not read it or the brokers can't tell. Raises Unavailable."""
    if is_mock(metadata(config, _ANSWER_SECONDS)):
        return None
    admin = connect(AdminClient, client_settings(config))
    try:
        answer = admin.describe_configs([_named(topic)], request_timeout=_ANSWER_SECONDS)
        entries: Mapping[str, Any] = _only(answer).result()
    except KafkaException as fault:
        if error_of(fault).code() in _NOT_KNOWN:
            _log.warning("the topic's retention can't be read", topic=topic, reason=error_of(fault).str())
            return None
        raise Unavailable(f"kafka: {topic}: {error_of(fault).str()}") from fault
    return Retention.of({name: str(entry.value) for name, entry in entries.items()})


def keep_all(config: KafkaConfig, topic: str) -> None:
    """Let an existing topic keep every record from now on. Raises Unavailable."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in _KEEP_ALL.items()
    ]
    admin = connect(AdminClient, client_settings(config))
    try:
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        _only(admin.incremental_alter_configs([resource], request_timeout=_ANSWER_SECONDS)).result()
    except KafkaException as fault:
        raise Unavailable(f"kafka: {topic} was not made to keep everything: {error_of(fault).str()}") from fault


def _named(topic: str) -> ConfigResource:
    return ConfigResource(ResourceType.TOPIC, topic)


def _only(answers: Mapping[Any, Future[Any]]) -> Future[Any]:
    [answer] = answers.values()
    return answer
