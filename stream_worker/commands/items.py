"""`stream-worker items`: writes decisions on items, and shows what was decided of an item and what is in force."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click

from stream_worker.assembly import documents_of
from stream_worker.backends.kafka import KafkaConfig, create_topics
from stream_worker.backends.kafka.decisions import write_decisions
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings
from stream_worker.core.decisions import Decision, decode_decision, encode_decision, hidden_by
from stream_worker.core.errors import ConfigurationError, InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.core.printable import printable

_AT_ONCE = 1_000  # records of the items topic that are decoded at once; not tuned
# Column of a change, the value that keeps an item out of lists, and its words.
_REASONS = (
    ("gone_M", True, "gone"),
    ("available_M", False, "not available"),
    ("blocked_M", True, "blocked"),
    ("held_M", True, "on hold"),
)


def command(action: str, ids: Sequence[str], config_path: Path | None, reason: str | None, by: str | None) -> None:
    settings = settings_from(config_path)
    if not settings.kafka.decisions_topic:
        raise ConfigurationError(
            "kafka.decisions_topic: names no topic, so no worker reads decisions. Set it for all workers of the group, "
            'such as to "items.decisions", and start them again'
        )
    items = list(_ids(ids))
    if action == "show":
        _show(settings, items)
        return
    if reason is None:
        raise click.UsageError(f"{action} needs --reason: it is kept with the decision")
    _decide(settings.kafka, [_checked(Decision(item, action, reason, by or _user(), time.time())) for item in items])


def _ids(given: Sequence[str]) -> Iterator[str]:
    for item in given:
        yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip()) if item == "-" else [item]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise click.UsageError("this machine has no name for its user; --by says who decides") from None


def _checked(decision: Decision) -> Decision:
    """Return the decision. Raises UsageError for one that workers would skip."""
    value = encode_decision(decision)
    try:
        return decode_decision(Record(0, 0, 0, decision.item.encode("utf-8", "surrogateescape"), value))
    except InvalidEvent as fault:
        raise click.UsageError(fault.reason) from None


def _decide(kafka: KafkaConfig, decisions: Sequence[Decision]) -> None:
    topic = kafka.decisions_topic
    if create_topics(kafka, [topic], 1):
        print(f"made   {topic} (1 partition)")
    for decision, partition, offset in write_decisions(kafka, decisions):
        place = f"{topic}, partition {partition}, offset {offset}"
        print(printable(f"{decision.decision:<8} {decision.item}: {place}"))


# -- show --------------------------------------------------------------------------------------------------------


def _show(settings: Settings, items: Sequence[str]) -> None:
    for number, item in enumerate(items):
        decision, lines = _decided(settings.kafka, item)
        told, record = _told(settings, item) if settings.kafka.items_topic else ([], None)
        if settings.kafka.items_topic:
            lines.append(_record_line(settings.kafka.items_topic, record, told))
        why = hidden_by(decision, told, settings.items.hold_new)
        force = f"{decision} is in force" if decision else "no decision is in force"
        lines.append(f"{force}; {'lists leave it out: ' + ', '.join(why) if why else 'lists may name it'}")
        print("\n".join([*([""] if number else []), printable(item), *(f"  {printable(line)}" for line in lines)]))


def _decided(kafka: KafkaConfig, item: str) -> tuple[str, list[str]]:
    """Return the decision in force on an item, "" for none, and a line about each that was written."""
    decision, lines = "", []
    for record in _records(kafka, kafka.decisions_topic):
        try:
            found = decode_decision(record)
        except InvalidEvent as fault:
            if record.key == item.encode():
                lines.append(f"{_time(record.timestamp_ms / 1000)}  skipped   {fault.reason} ({record.place})")
            continue
        if found.item == item:
            decision = found.decision
            lines.append(f"{_time(found.ts)}  {decision:<8}  by {found.by}: {found.reason} ({record.place})")
    return decision, lines


def _told(settings: Settings, item: str) -> tuple[list[str], Record | None]:
    """Return what keeps an item out of lists by its newest record in the items topic, and that record."""
    decoder, told, newest = ItemDecoder(settings.items, documents_of(settings)), [], None
    records = _records(settings.kafka, settings.kafka.items_topic)
    while batch := list(islice(records, _AT_ONCE)):
        changes, _ = decoder.decode(batch)
        places = [place for place, changed in enumerate(changes.ids) if changed == item]
        if places:
            told = [words for column, bad, words in _REASONS if bool(getattr(changes, column)[places[-1]]) == bad]
            newest = next(record for record in reversed(batch) if _changes(decoder, record, item))
    return told, newest


def _changes(decoder: ItemDecoder, record: Record, item: str) -> bool:
    return item in decoder.decode([record])[0].ids


def _records(kafka: KafkaConfig, topic: str) -> Iterator[Record]:
    with closing(SpanReader(kafka, topic)) as reader:
        yield from reader.read(reader.span())


def _record_line(topic: str, record: Record | None, told: Sequence[str]) -> str:
    if record is None:
        return f"{topic}: says nothing of it"
    value = "null" if record.value is None else record.value.decode("utf-8", "backslashreplace")
    said = f" ({', '.join(told)})" if told else ""
    return f"{topic}: {record.place}, of {_time(record.timestamp_ms / 1000)}{said}: {value}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
