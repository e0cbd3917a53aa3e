"""Says for `check` how long the topic of lists keeps them, and what that means for who reads it."""

from __future__ import annotations

from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.retention import Retention, retention_of
from stream_worker.backends.kafka.topics import LIST_LAG_MS, LISTS_POLICY
from stream_worker.core.amounts import amount

_DAY_MS = 86_400_000


def lists_line(kafka: KafkaConfig) -> str:
    """Return a line about the topic of lists. Raises Unavailable."""
    topic, found = kafka.output_topic, retention_of(kafka, kafka.output_topic)
    if found is None:
        return f"{topic}, whose settings can't be read"
    if found.compact and found.ms < 0 and found.bytes < 0:
        return f"{topic} is compacted: it has everybody's newest list, {_lag(kafka, found)}"
    if not found.compact and found.ms < 0 and found.bytes < 0:
        return f"{topic} is not compacted and keeps every list for ever"
    return f"{topic} {_deletes(found)}: a consumer that starts later has not everybody's list; {_remedy(kafka)}"


def _lag(kafka: KafkaConfig, found: Retention) -> str:
    """Return for how long sums of `events` hold."""
    lag = amount(found.lag_ms / _DAY_MS, "day", form=".3g")
    if found.lag_ms >= LIST_LAG_MS:
        return f"and every list for {lag}"
    return f"and every list for {lag} only, in which sums of `events` hold; {_remedy(kafka)}"


def _deletes(found: Retention) -> str:
    """Return what deletes lists, by Kafka's names."""
    if found.ms >= 0:
        policy = "compact,delete" if found.compact else "delete"
        return f"deletes lists after {amount(found.ms / _DAY_MS, 'day', form='.3g')} (cleanup.policy={policy})"
    return f"deletes the oldest lists beyond {found.bytes:,} bytes a partition (retention.bytes)"


def _remedy(kafka: KafkaConfig) -> str:
    wanted = ",".join(f"{name}={value}" for name, value in LISTS_POLICY.items())
    return (
        "an administrator changes it: kafka-configs.sh --alter --entity-type topics --entity-name "
        f"{kafka.output_topic} --add-config {wanted}"
    )
