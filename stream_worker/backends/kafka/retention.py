"""Whether a topic keeps a recorded log: records carry their own old times, by which retention deletes them within
minutes, before anybody has read them."""

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

_ANSWER_SECONDS = 10.0
_DAY_MS = 86_400_000
_KEEP_ALL = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}

_NOT_KNOWN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,
}

_log = get_logger(__name__)


@dataclass(frozen=True)
class Retention:
    """What of a topic's records is deleted: those older than `ms` or beyond `bytes` a partition (-1: none), and with
    `compact` all but the newest of each key. `by_append_time`: their age counts from when they were written."""

    ms: int = -1
    bytes: int = -1
    compact: bool = False
    by_append_time: bool = False

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Retention:
        policy = values.get("cleanup.policy", "delete").split(",")
        deletes = "delete" in policy
        return cls(
            int(values.get("retention.ms", -1)) if deletes else -1,
            int(values.get("retention.bytes", -1)) if deletes else -1,
            "compact" in policy,
            values.get("message.timestamp.type") == "LogAppendTime",
        )

    def loses(self, oldest_ms: int, size_bytes: int, now_ms: int) -> str:
        """Why a log of this size that begins at `oldest_ms` would not be kept; empty: it is."""
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
    """Let the input topic keep a log of this size that begins at `oldest_ms`. Raises ConfigurationError where it does
    not and may not be changed, Unavailable."""
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
    """None where it may not be asked, or the brokers can't tell. Raises Unavailable."""
    if is_mock(metadata(config, _ANSWER_SECONDS)):
        return None
    admin = connect(AdminClient, client_settings(config))
    try:
        answer = admin.describe_configs([_named(topic)], request_timeout=_ANSWER_SECONDS)
        entries: Mapping[str, Any] = _only(answer).result()
    except KafkaException as fault:
        if error_of(fault).code() in _NOT_KNOWN:
            _log.warning("what the topic keeps is not known", topic=topic, reason=error_of(fault).str())
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
