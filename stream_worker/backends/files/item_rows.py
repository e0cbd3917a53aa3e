"""Reads files of items, of any format, as records whose values are JSON objects with the file's own names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from stream_worker.backends.files.formats import read_rows
from stream_worker.backends.files.lines import BadRow, is_empty, numbered_lines, open_bytes
from stream_worker.backends.files.mapping import FieldNames, Mapping
from stream_worker.backends.files.parquet import digits, text_of
from stream_worker.core.errors import ConfigurationError, InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.mapping.sources import fields_read
from stream_worker.core.recorded import decode_record

# Files of items have no mapping file: formats go by the files' names, and csv has commas.
_FORMATS = Mapping(FieldNames(user="user", item="item", ts="ts"))


@dataclass(frozen=True)
class _Columns(Mapping):
    """A mapping whose columns are those that `[items]` reads; one with the item's id has to be there."""

    items: ItemsConfig = field(default_factory=ItemsConfig)

    def columns(self) -> list[list[str]]:
        needed = fields_read(self.items.places["each" if self.items.each else "item"])
        every = needed.union(*map(fields_read, [*self.items.places.values(), tuple(self.items.gone)]))
        return [sorted(names) for names in (needed, every) if names]


def item_records(paths: Sequence[Path], config: ItemsConfig) -> Iterator[Record]:
    """Yield the rows of all files as records of partition 0, numbered from 0. Raises ConfigurationError."""
    offset = 0
    for path in paths:
        for record in _records(path, config):
            yield replace(record, partition=0, offset=offset)
            offset += 1


def _records(path: Path, config: ItemsConfig) -> Iterator[Record]:
    try:
        if not is_empty(path):
            yield from _lines(path) if _FORMATS.format_of(path) == "jsonl" else _cells(path, config)
    except (OSError, UnicodeError, pa.ArrowException) as fault:
        raise ConfigurationError(f"items {path}: {fault}") from fault


def _lines(path: Path) -> Iterator[Record]:
    """Yield the objects of JSON lines, or the records in a file of `stream-worker record`."""
    recorded: bool | None = None
    with open_bytes(path) as stream:
        for number, line in numbered_lines(stream):
            place = f"line {number} of {path.name}"
            if isinstance(line, BadRow):
                yield _bad(place, line)
            elif text := line.strip():
                recorded = _is_recorded(text) if recorded is None else recorded
                yield _recorded(place, text) if recorded else _row(place, text)


def _is_recorded(line: bytes) -> bool:
    try:
        return line.startswith(b'{"partition":') and bool(decode_record(line))
    except InvalidEvent:
        return False


def _recorded(place: str, line: bytes) -> Record:
    try:
        return replace(decode_record(line), row=place)
    except InvalidEvent as fault:
        return _bad(place, BadRow(line, fault.error, fault.reason))


def _cells(path: Path, config: ItemsConfig) -> Iterator[Record]:
    word = "row" if _FORMATS.format_of(path) == "parquet" else "line"
    for number, row in read_rows(path, _Columns(_FORMATS.fields, items=config)):
        place = f"{word} {number} of {path.name}"
        yield _bad(place, row) if isinstance(row, BadRow) else _encoded(place, row.fields)


def _encoded(place: str, given: dict[str, object]) -> Record:
    try:
        return _row(place, orjson.dumps(given, default=_plain))
    except TypeError as fault:
        reason = f"expected text in UTF-8 and values that JSON can hold, got {fault}"
        return _bad(place, BadRow(repr(given).encode("utf-8", "backslashreplace"), "NotARow", reason))


def _row(place: str, value: bytes) -> Record:
    return Record(0, 0, -1, None, value, place)


def _bad(place: str, row: BadRow) -> Record:
    return Record(0, 0, -1, None, row.value, place, (row.error, row.reason))


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return digits(value)
    if isinstance(value, bytes):
        return text_of(value, False)
    raise TypeError(f"a {type(value).__name__}")
