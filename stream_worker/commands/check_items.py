"""Tries the items and the decisions topic for `check`: that they keep all, and that their newest records are read."""

from __future__ import annotations

from contextlib import closing

from stream_worker.assembly import documents_of, item_rules
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.retention import Retention, retention_of
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.config import Settings
from stream_worker.core.amounts import amount
from stream_worker.core.decisions import decode_decisions
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.item_codec import ItemDecoder

_NEWEST = 100  # records that are looked at


def items_line(settings: Settings) -> str:
    """Return a line about the items topic. Raises ConfigurationError if it deletes what it was told, or if no record is
    understood; Unavailable and RightMissing as `SpanReader` does."""
    kafka = settings.kafka
    kept = _kept(kafka, retention_of(kafka, kafka.items_topic))
    with closing(SpanReader(kafka, kafka.items_topic)) as reader:
        records = reader.newest(_NEWEST)
    decoder = ItemDecoder(settings.items, documents_of(settings), item_rules(settings))
    changes, unreadable = decoder.decode(records)
    found = [f"{amount(len(changes), 'item')} ({int(changes.gone_M.sum())} gone)"]
    if unreadable:
        found.append(
            f"{len(unreadable)} can't be read, the first in {unreadable[0].record.place}: {unreadable[0].reason}"
        )
    if decoder.dropped:
        first = decoder.dropped[0]
        found.append(f"{amount(len(decoder.dropped), 'part')} left out, the first in {first.place}: {first.reason}")
    for key, count in decoder.rules.failures.items():
        found.append(f"{key} fails on {count}, say because of: {decoder.rules.reasons[key]}")
    if unreadable and not len(changes):
        raise ConfigurationError(f"{kafka.items_topic}: none of the newest {found[-1]}")
    return f"{kafka.items_topic}, {kept}; its newest {amount(len(records), 'record')}: {', '.join(found)}"


def decisions_line(kafka: KafkaConfig) -> str:
    """Return a line about the decisions topic. Raises as `items_line` does, also if the topic is compacted."""
    topic, found = kafka.decisions_topic, retention_of(kafka, kafka.decisions_topic)
    if found is not None and (found.compact or found.ms >= 0 or found.bytes >= 0):
        how = "is compacted" if found.compact else "deletes records with time"
        raise ConfigurationError(
            f"{topic} {how}, and decisions must stay for ever. An administrator changes it: kafka-configs.sh --alter "
            f"--entity-type topics --entity-name {topic} --add-config "
            "cleanup.policy=delete,retention.ms=-1,retention.bytes=-1"
        )
    with closing(SpanReader(kafka, topic)) as reader:
        records = reader.newest(_NEWEST)
    decisions, unreadable = decode_decisions(records)
    kept = "whose settings can't be read" if found is None else "which keeps all"
    said = f"{topic}, {kept}; its newest {amount(len(records), 'record')}: {amount(len(decisions), 'decision')}"
    if unreadable:
        first = unreadable[0]
        said += f", {len(unreadable)} can't be read, the first in {first.record.place}: {first.reason}"
    return said


def _kept(kafka: KafkaConfig, found: Retention | None) -> str:
    if found is None:
        return "whose settings can't be read"
    if not found.compact and (found.ms >= 0 or found.bytes >= 0):
        raise ConfigurationError(
            f"{kafka.items_topic} forgets items with time: its cleanup.policy is delete. An administrator changes it: "
            f"kafka-configs.sh --alter --entity-type topics --entity-name {kafka.items_topic} --add-config "
            "cleanup.policy=compact"
        )
    return "compacted" if found.compact else "not compacted: it keeps all that it was ever told"
