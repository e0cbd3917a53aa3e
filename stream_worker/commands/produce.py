"""`stream-worker produce`: sends a recorded log to the input topic."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import click

from stream_worker.backends.clock import SystemClock
from stream_worker.backends.files import load_mapping, read_log
from stream_worker.backends.files.pace import Pace, beginning
from stream_worker.backends.kafka import KafkaConfig, create_topics, produce_records, require_topic
from stream_worker.backends.kafka.retention import make_sure_it_keeps
from stream_worker.commands.options import settings_from, speed_of
from stream_worker.core.amounts import amount
from stream_worker.core.errors import NoEvents
from stream_worker.core.renaming import renamer

_Row = tuple[str, bytes, int]
_LOOKED_AT = 1_000  # first rows whose times tell when the log begins (not tuned)


def command(
    log: tuple[Path, ...],
    mapping_path: Path,
    config_path: Path | None,
    topic: str | None,
    speed: str,
    limit: int | None,
    create: bool,
    keep_all: bool,
    partitions: int,
) -> None:
    settings, pace = settings_from(config_path), speed_of(speed)
    kafka, rename = _with_topic(settings.kafka, topic), renamer(settings.events)
    if create:
        create_topics(kafka, kafka.all_topics, partitions)
    else:
        require_topic(kafka, kafka.input_topic)
    first, rows = _begun(islice(read_log(list(log), load_mapping(mapping_path)), limit))
    make_sure_it_keeps(kafka, _oldest_ms(first), sum(path.stat().st_size for path in log), keep_all)
    if pace is not None:
        rows = _paced(rows, pace)
    start = time.monotonic()
    records = ((key, rename(value), timestamp_ms) for key, value, timestamp_ms in _counted(rows))
    sent = produce_records(kafka, kafka.input_topic, records)
    seconds = time.monotonic() - start
    if not sent:
        raise NoEvents("the log has no rows: nothing was sent")
    rate = sent / max(seconds, 1e-9)
    print(f"{amount(sent, 'record')} to {kafka.input_topic} in {seconds:.1f} s ({rate:,.0f} a second)")


def _with_topic(kafka: KafkaConfig, topic: str | None) -> KafkaConfig:
    try:
        return kafka if topic is None else replace(kafka, input_topic=topic)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--topic") from fault


def _begun(rows: Iterator[_Row]) -> tuple[list[_Row], Iterator[_Row]]:
    """Return the first rows as a list, and an iterator over all rows."""
    first = list(islice(rows, _LOOKED_AT))
    return first, chain(first, rows)


def _oldest_ms(rows: list[_Row]) -> int:
    """Return the oldest time in the rows, epoch milliseconds; now if no row has one, as the brokers then use theirs."""
    return min((row[2] for row in rows if row[2] > 0), default=int(time.time() * 1000))


def _paced(rows: Iterator[_Row], speed: float) -> Iterator[_Row]:
    """Yield each row when its time has come, counted from the log's beginning (`pace.beginning`)."""
    first, rows = _begun(rows)
    pace = Pace(speed, SystemClock(), beginning([timestamp_ms for _, _, timestamp_ms in first]))
    for row in rows:
        time.sleep(max(0.0, pace.seconds_until(row[2])))
        yield row


def _counted(rows: Iterator[_Row]) -> Iterator[_Row]:
    said = time.monotonic()
    for number, row in enumerate(rows):
        if number % 1_000 == 0 and time.monotonic() - said > 3:
            said = time.monotonic()
            print(f"produce: {amount(number, 'record')}", file=sys.stderr, flush=True)
        yield row
