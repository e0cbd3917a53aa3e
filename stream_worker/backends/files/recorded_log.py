"""Reads what `stream-worker record` wrote: records as they were in their topic, decoded as such by `[events]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from stream_worker.backends.files.lines import BadRow, numbered_lines, open_bytes
from stream_worker.core.errors import ConfigurationError, InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.recorded import decode_record


def is_recorded(path: Path) -> bool:
    """Return True for a file that begins with a record. Raises ConfigurationError if it can't be read."""
    for record in RecordedLog([path]):
        return record.fault is None
    return True  # an empty file has no other format


class RecordedLog:
    """Yields the records of some files, one after the other; a line that is no record has a fault.

    total: None: the number of records is not known before they were read.
    left_out: 0: all lines belong to the log.
    """

    total: int | None = None
    left_out = 0

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __iter__(self) -> Iterator[Record]:
        for path in self._paths:
            try:
                yield from _records(path)
            except (OSError, pa.ArrowException) as fault:
                raise ConfigurationError(f"log {path}: {fault}") from fault


def _records(path: Path) -> Iterator[Record]:
    with open_bytes(path) as stream:
        for number, line in numbered_lines(stream):
            place = f"line {number} of {path.name}"
            if isinstance(line, BadRow):
                yield Record(0, 0, 0, None, line.value, place, (line.error, line.reason))
            elif line.strip():
                yield _record(line, place)


def _record(line: bytes, place: str) -> Record:
    try:
        return replace(decode_record(line), row=place)
    except InvalidEvent as fault:
        return Record(0, 0, 0, None, line.rstrip(b"\r\n"), place, (fault.error, fault.reason))
