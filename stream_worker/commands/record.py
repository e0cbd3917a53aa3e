"""`stream-worker record`: writes the records of a topic to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import click
import orjson

from stream_worker.backends.files.recording import write_records
from stream_worker.backends.kafka.spans import Span, SpanReader
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings
from stream_worker.core.amounts import amount
from stream_worker.core.errors import InvalidEvent, NoEvents
from stream_worker.core.events import Record
from stream_worker.core.moments import Moment, moment
from stream_worker.exit_codes import ExitCode
from stream_worker.signals import stopped_by_signals

_SAID_SECONDS = 3.0  # between two lines about progress (not tuned)


def command(topic: str, file: Path, begin: str | None, end: str | None, config_path: Path | None) -> int:
    first, last = _moment(begin, "--from"), _moment(end, "--to")
    settings = settings_from(config_path)
    document = _documents(settings)
    stop = _Stop()
    with stopped_by_signals(stop), closing(SpanReader(settings.kafka, topic, lambda: stop.asked)) as reader:
        span = reader.span(first, last)
        start = time.monotonic()
        count = write_records(file, _told(reader.read(span), span), document)
    if stop.asked:
        print(f"stopped: {file} holds the first {amount(count, 'record')} of {topic}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if not count:
        raise NoEvents(f"{topic} has no record there: nothing was written")
    print(f"{amount(count, 'record')} of {topic} to {file} in {time.monotonic() - start:.1f} s")
    return ExitCode.DONE


def _documents(settings: Settings) -> Callable[[bytes], bytes]:
    """Return what makes JSON of values that name a schema; what can't be read, and any other value, stays as it is."""
    if not settings.registry.url:
        return lambda value: value
    from stream_worker.assembly import documents_of  # large

    read = documents_of(settings)

    def document(value: bytes) -> bytes:
        if read is None or not value or value[0]:
            return value
        try:
            return orjson.dumps(read(value), default=str)
        except (InvalidEvent, TypeError):
            return value

    return document


def _moment(text: str | None, option: str) -> Moment | None:
    try:
        return None if text is None else moment(text, time.time())
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint=option) from None


class _Stop:
    """The signal handler: what is read so far is written, and the file is complete up to there."""

    asked = False

    def __call__(self) -> None:
        self.asked = True


def _told(records: Iterator[Record], span: Span) -> Iterator[Record]:
    """Yield the records, and tell every few seconds how many there were."""
    offsets = sum(end - start for start, end in span.values())
    said = time.monotonic()
    for number, record in enumerate(records):
        if number % 1_000 == 0 and time.monotonic() - said > _SAID_SECONDS:
            said = time.monotonic()
            print(f"record: {number:,} of at most {amount(offsets, 'record')}", file=sys.stderr, flush=True)
        yield record
