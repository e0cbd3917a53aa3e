"""Turns rows of recorded logs, of any format, into records: each row's value is a document as JSON.

Values are not checked here: the decoder applies the same rules as to records of a topic. Only the time is parsed, for
sorting and pacing. A row that can't be an event is passed on with its fault and becomes a dead letter.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from stream_worker.backends.files.canonical import NO_RECORD, Canonical, row_seconds
from stream_worker.backends.files.formats import read_rows, rows_known
from stream_worker.backends.files.lines import BadRow, Row
from stream_worker.backends.files.mapping import Mapping
from stream_worker.backends.files.parquet import BLOCK_ROWS, digits, text_of
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.log_times import judged
from stream_worker.core.mapping.config import REQUIRED
from stream_worker.core.mapping.mapper import Mapper
from stream_worker.core.mapping.sources import fields_read
from stream_worker.core.number_text import whole_text

_SHOWN_BYTES = 40  # bytes of a bad text that its dead letter's reason shows; not tuned
# Bits of the line's number in a place, the number of the file above them: a place is one int64 column (1e12 lines).
_FILE_SHIFT = 40
_NUMBER_MASK = (1 << _FILE_SHIFT) - 1


class LogRow(NamedTuple):
    """A row as a record of the topic.

    key, value: the user, and the row as JSON.
    timestamp_ms: its time, in ms since 1970 (see `LogReader`).
    place: file and line, for people.
    fault: class and reason of its dead letter if it can't be an event.
    """

    key: str
    value: bytes
    timestamp_ms: int
    place: str
    fault: tuple[str, str] | None


class _Read(NamedTuple):
    """A row before its time was judged.

    seconds: its own time in seconds since 1970; NaN: it has no time that can be read.
    place: number of the file and of the line in one integer.
    error, reason: see `LogRow.fault`.
    """

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
    """Yield (key, value, timestamp_ms) of every event of a log; values are JSON with contract 1's field names.

    A row that can't be read is yielded as it is. Raises ConfigurationError.
    """
    canonical = Canonical(mapping)
    for row in LogReader(paths, mapping):
        if row.fault is not None:
            yield row.key, row.value, row.timestamp_ms
        else:
            yield from ((user, event, row.timestamp_ms) for user, event in canonical.events(row.value))


class LogReader:
    """Yields the rows of `paths`, one file after the other, or sorted by time if the mapping says so.

    A row's timestamp is its own time; if that can't be read or is too late compared with the rows around it, it is the
    timestamp of the previous row. Sorting holds the whole log in memory, otherwise one block is held at a time.

    left_out: the number of rows so far that failed a `keep` condition.
    total: the number of rows, or None while it is not known.
    """

    def __init__(self, paths: Sequence[Path], mapping: Mapping) -> None:
        self.paths = paths
        self.mapping = mapping
        self.left_out = self._read_over = 0
        self.total: int | None = None
        self._paths = mapping.paths()
        self._mapper = Mapper(self._paths)
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
        """Yield the rows in file order; a time that is missing or too late is replaced by the previous row's."""
        self.total = rows_known(self.paths, self.mapping)
        waiting: deque[tuple[_Read, int]] = deque()
        last = 0.0
        for too_late in judged(self._seconds(waiting)):
            row, self.left_out = waiting.popleft()
            last = last if too_late or math.isnan(row.seconds) else row.seconds
            yield row if last == row.seconds else row._replace(seconds=last)
        self.left_out = self._read_over

    def _seconds(self, waiting: deque[tuple[_Read, int]]) -> Iterator[float]:
        """Yield each row's time, to be judged, and put the row into `waiting`, with the number of rows left out before
        it."""
        for row in self._read():
            waiting.append((row, self._read_over))
            yield row.seconds

    def _read(self) -> Iterator[_Read]:
        self._read_over = 0
        for file, path in enumerate(self.paths):
            for number, raw in read_rows(path, self.mapping):
                place = file << _FILE_SHIFT | number
                if isinstance(raw, BadRow):
                    yield _Read("", raw.value, math.nan, place, raw.error, raw.reason)
                elif self._mapper.kept(raw.fields, NO_RECORD):
                    yield self._row(raw, place)
                else:
                    self._read_over += 1

    def _row(self, row: Row, place: int) -> _Read:
        key, seconds = self._key_and_time(row.fields)
        if row.value is not None:
            return _Read(key, row.value, seconds, place)
        try:
            return _Read(key, orjson.dumps(row.fields, default=_plain), seconds, place)
        except TypeError:
            return self._without_bad_text(dict(row.fields), key, seconds, place)

    def _key_and_time(self, document: Any) -> tuple[str, float]:
        """Return the user of a row's first event, and the newest time of its events; NaN: none can be read."""
        try:
            events = [self._mapper.values(scope, NO_RECORD) for scope in self._mapper.scopes(document, NO_RECORD)]
        except InvalidEvent:
            return "", math.nan
        if not events:
            return "", math.nan
        user = events[0].get("user")
        key = user if isinstance(user, str) else whole_text(user) or ""
        return key, max((row_seconds(event.get("ts"), self.mapping.ts_format) for event in events), key=_or_least)

    def _without_bad_text(self, fields: dict[str, Any], key: str, seconds: float, place: int) -> _Read:
        """Encode a row with bytes that are no UTF-8: escaped in an optional field, else the row gets a fault."""
        required = fields_read([text for part in REQUIRED for text in self._paths.sources(part)])
        values = list(fields.values())
        for name, value in fields.items():
            if isinstance(value, str) and not _is_text(value):
                known = value.encode("utf-8", "surrogateescape")
                if name in required:
                    reason = f"{name}: expected text in UTF-8, got {known[:_SHOWN_BYTES]!r}"
                    return _Read("", _as_bytes(values), seconds, place, "NotARow", reason)
                fields[name] = known.decode("utf-8", "backslashreplace")
        try:
            return _Read(key, orjson.dumps(fields, default=_plain), seconds, place)
        except TypeError as fault:
            reason = f"expected values that JSON can hold, got {fault}"
            return _Read("", _as_bytes(values), seconds, place, "NotARow", reason)


def _as_table(rows: Iterable[_Read]) -> pa.Table:
    rows = iter(rows)
    blocks = []
    while block := list(islice(rows, BLOCK_ROWS)):
        columns = zip(*block, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        blocks.append(pa.record_batch(arrays, schema=_SCHEMA))
    return pa.Table.from_batches(blocks, _SCHEMA).combine_chunks()


def _or_least(seconds: float) -> float:
    return -math.inf if math.isnan(seconds) else seconds


def _plain(value: Any) -> str:
    """Encode what orjson does not know: decimals and bytes inside of lists. Raises TypeError for anything else."""
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
