"""Rows of recorded logs as contract 1's JSON, one code path whatever the format.

Values go on as they are, to be judged by the decoder's rules alone; only the time is read here, too. A row that can't
be an event is passed on with its fault, so that the decoder sets it aside; none is lost without a word.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from stream_worker.backends.files.formats import read_rows, rows_known
from stream_worker.backends.files.lines import BadRow
from stream_worker.backends.files.mapping import Mapping, condition
from stream_worker.backends.files.parquet import BLOCK_ROWS, digits, text_of
from stream_worker.core.codec import OPTIONAL
from stream_worker.core.event_times import OLDEST_SECONDS, timestamp_seconds
from stream_worker.core.log_times import judged
from stream_worker.core.number_text import number_of, whole_text

_PARTS = ("user", "item", "ts", "type", "value", "session", "request_id", "category")
_IDS = ("user", "item", "session", "request_id", "category")
_END_SECONDS = 253_402_300_800.0  # the year 10000: what lies beyond is no time, and milliseconds stay an int64
_SHOWN_BYTES = 40
_FILE_SHIFT = 40  # a place is the file's number and, below it, the line's
_NUMBER_MASK = (1 << _FILE_SHIFT) - 1


class LogRow(NamedTuple):
    """A row as a record: `place` is its line for a person, `fault` class and reason where it can't be an event."""

    key: str
    value: bytes
    timestamp_ms: int
    place: str
    fault: tuple[str, str] | None


class _Read(NamedTuple):
    """A row on its way; `seconds` is its own time, NaN where that can't be read."""

    key: str
    value: bytes
    seconds: float
    place: int
    error: str | None = None
    reason: str | None = None


_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.large_string(),
    "value": pa.large_binary(),
    "seconds": pa.float64(),
    "place": pa.int64(),
    "error": pa.large_string(),
    "reason": pa.large_string(),
}
_SCHEMA = pa.schema(_COLUMNS)


def read_log(paths: Sequence[Path], mapping: Mapping) -> Iterator[tuple[str, bytes, int]]:
    """(key, value, timestamp_ms) of every row of the log, under contract 1's own field names.
    Raises ConfigurationError."""
    return ((row.key, row.value, row.timestamp_ms) for row in LogReader(paths, mapping))


class LogReader:
    """The rows of `paths`, one file after the other, or all in time order. A row's timestamp is its own time; where
    that can't be read or is too late for the rows around it, the previous row's. Without `sort` one block is in memory
    at a time; with it the whole log.

    `left_out` counts the rows that failed a `keep` condition so far; `total` is the number of rows where it is known.
    """

    def __init__(self, paths: Sequence[Path], mapping: Mapping) -> None:
        self.paths = paths
        self.mapping = mapping
        self.left_out = self._read_over = 0
        self.total: int | None = None
        self.columns = {part: name for part in _PARTS if (name := getattr(mapping.fields, part))}
        self._tests = [condition(column, text) for column, text in mapping.keep.items()]
        self._parts = list(self.columns)
        self._ids = [part for part in _IDS if part in self.columns]
        self._names = [*self.columns.values(), *mapping.keep]
        self._file_names = [path.name for path in paths]
        self._words = ["row" if mapping.format_of(path) == "parquet" else "line" for path in paths]

    def __iter__(self) -> Iterator[LogRow]:
        self.left_out = 0
        for row in self._sorted() if self.mapping.sort else self._rows():
            fault = None if row.error is None else (row.error, row.reason or "")
            yield LogRow(row.key, row.value, round(row.seconds * 1000), self._name(row.place), fault)

    def _name(self, place: int) -> str:
        file, number = place >> _FILE_SHIFT, place & _NUMBER_MASK
        return f"{self._words[file]} {number} of {self._file_names[file]}"

    def _sorted(self) -> Iterator[_Read]:
        table = _as_table(self._rows())
        self.total = table.num_rows
        order = np.argsort(table["seconds"].to_numpy(), kind="stable")
        for start in range(0, table.num_rows, BLOCK_ROWS):
            block = table.take(order[start : start + BLOCK_ROWS])
            yield from map(_Read, *(column.to_pylist() for column in block.columns))

    def _rows(self) -> Iterator[_Read]:
        """With the time that stands for each row's in place of one that can't be right."""
        self.total = rows_known(self.paths, self.mapping)
        waiting: deque[tuple[_Read, int]] = deque()
        last = 0.0
        for too_late in judged(self._seconds(waiting)):
            row, self.left_out = waiting.popleft()
            last = last if too_late or math.isnan(row.seconds) else row.seconds
            yield row if last == row.seconds else row._replace(seconds=last)
        self.left_out = self._read_over

    def _seconds(self, waiting: deque[tuple[_Read, int]]) -> Iterator[float]:
        """The time of each row, which waits until it is judged, with the number of those left out before it."""
        for row in self._read():
            waiting.append((row, self._read_over))
            yield row.seconds

    def _read(self) -> Iterator[_Read]:
        self._read_over = 0
        for file, path in enumerate(self.paths):
            for number, raw in read_rows(path, self.mapping, self._names):
                place = file << _FILE_SHIFT | number
                if isinstance(raw, BadRow):
                    yield _Read("", raw.value, math.nan, place, raw.error, raw.reason)
                elif not self._tests or self._kept(raw):
                    yield self._event(raw, place)
                else:
                    self._read_over += 1

    def _kept(self, values: Sequence[Any]) -> bool:
        start = len(self._parts)
        return all(test(values[start + number]) for number, test in enumerate(self._tests))

    def _event(self, values: Sequence[Any], place: int) -> _Read:
        given = zip(self._parts, values, strict=False)
        event = {part: value for part, value in given if value is not None}
        for part in self._ids:
            if type(value := event.get(part, "")) is not str:
                event[part] = whole_text(value) or value
        if isinstance(value := event.get("value"), str):
            number = number_of(value)
            event["value"] = value if number is None else number
        self._set_type(event)
        seconds = _set_time(event)
        user = event.get("user")
        key = user if isinstance(user, str) else ""
        try:
            return _Read(key, orjson.dumps(event, default=_plain), seconds, place)
        except TypeError:
            return self._without_bad_text(event, values, key, seconds, place)

    def _without_bad_text(
        self, event: dict[str, Any], values: Sequence[Any], key: str, seconds: float, place: int
    ) -> _Read:
        """Bytes that are no text: in an optional field they are shown as escapes, anywhere else they spoil the row."""
        for part, value in event.items():
            if isinstance(value, str) and not _is_text(value):
                known = value.encode("utf-8", "surrogateescape")
                if part not in OPTIONAL:
                    reason = f"{self.columns[part]}: expected text in UTF-8, got {known[:_SHOWN_BYTES]!r}"
                    return _Read("", _as_bytes(values), seconds, place, "NotARow", reason)
                event[part] = known.decode("utf-8", "backslashreplace")
        try:
            return _Read(key, orjson.dumps(event, default=_plain), seconds, place)
        except TypeError as fault:
            reason = f"expected values that JSON has a form for, got {fault}"
            return _Read("", _as_bytes(values), seconds, place, "NotARow", reason)

    def _set_type(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind is None or kind == "":
            kind = self.mapping.default_type
        if self.mapping.types and (name := kind if isinstance(kind, str) else whole_text(kind)) is not None:
            kind = self.mapping.types.get(name, kind)
        if kind != "":
            event["type"] = kind


def _as_table(rows: Iterable[_Read]) -> pa.Table:
    rows = iter(rows)
    blocks = []
    while block := list(islice(rows, BLOCK_ROWS)):
        columns = zip(*block, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        blocks.append(pa.record_batch(arrays, schema=_SCHEMA))
    return pa.Table.from_batches(blocks, _SCHEMA).combine_chunks()


def _set_time(event: dict[str, Any]) -> float:
    """A time that can be read becomes epoch seconds. Returns it, NaN where there is none."""
    value = event.get("ts")
    seconds = timestamp_seconds(value.isoformat() if isinstance(value, date) else value)
    if seconds is None or not OLDEST_SECONDS <= seconds < _END_SECONDS:
        return math.nan
    event["ts"] = seconds
    return seconds


def _plain(value: Any) -> str:
    """For the values inside of lists; those of columns come as texts."""
    if isinstance(value, Decimal):
        return digits(value)
    if isinstance(value, bytes):
        return text_of(value, False)
    raise TypeError(f"a {type(value).__name__}")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_bytes(values: Sequence[Any]) -> bytes:
    return ",".join("" if value is None else str(value) for value in values).encode("utf-8", "surrogateescape")
