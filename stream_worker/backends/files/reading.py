"""Rows of recorded logs as contract 1's JSON, one code path whatever the format.

A row that can't be an event is passed on, so that the decoder sets it aside with a reason; none is lost without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from stream_worker.backends.files.formats import BLOCK_ROWS, RawRow, as_bytes, read_rows, rows_known
from stream_worker.backends.files.mapping import Mapping, condition
from stream_worker.core.event_fields import timestamp_seconds

LogRow = tuple[str, bytes, int]
_Timed = tuple[str, bytes, float]
_PARTS = ("user", "item", "ts", "type", "value", "session", "request_id", "category")
_IDS = ("user", "item", "session", "request_id", "category")
_END_SECONDS = 253_402_300_800.0  # the year 10000: what lies beyond is no time, and milliseconds stay an int64
_EXACT_INTEGERS = 2.0**53
_COLUMNS: dict[str, pa.DataType] = {"key": pa.large_string(), "value": pa.large_binary(), "seconds": pa.float64()}
_SCHEMA = pa.schema(_COLUMNS)


def read_log(paths: Sequence[Path], mapping: Mapping) -> Iterator[LogRow]:
    """(key, value, timestamp_ms) of every row of the log, under contract 1's own field names.
    Raises ConfigurationError."""
    return iter(LogReader(paths, mapping))


class LogReader:
    """The rows of `paths`, one file after the other, or all in time order. A row's timestamp is its own time; where
    that can't be read, the previous row's. Without `sort` one block is in memory at a time; with it the whole log.

    `left_out` counts the rows that failed a `keep` condition so far; `total` is the number of rows where it is known.
    """

    def __init__(self, paths: Sequence[Path], mapping: Mapping) -> None:
        self.paths = paths
        self.mapping = mapping
        self.left_out = 0
        self.total: int | None = None
        self._tests = [condition(column, text) for column, text in mapping.keep.items()]
        self._parts = [part for part in _PARTS if getattr(mapping.fields, part)]
        self._names = [getattr(mapping.fields, part) for part in self._parts] + list(mapping.keep)

    def __iter__(self) -> Iterator[LogRow]:
        self.left_out = 0
        for key, value, seconds in self._sorted() if self.mapping.sort else self._rows():
            yield key, value, round(seconds * 1000)

    def _sorted(self) -> Iterator[_Timed]:
        table = _as_table(self._rows())
        self.total = table.num_rows
        order = np.argsort(table["seconds"].to_numpy(), kind="stable")
        for start in range(0, table.num_rows, BLOCK_ROWS):
            block = table.take(order[start : start + BLOCK_ROWS])
            yield from zip(*(column.to_pylist() for column in block.columns), strict=True)

    def _rows(self) -> Iterator[_Timed]:
        self.total = rows_known(self.paths, self.mapping)
        last = 0.0
        for raw in self._raw_rows():
            key, value, seconds = ("", raw, None) if isinstance(raw, bytes) else self._event(raw)
            last = last if seconds is None else seconds
            yield key, value, last

    def _raw_rows(self) -> Iterator[RawRow]:
        for path in self.paths:
            for raw in read_rows(path, self.mapping, self._names):
                if not self._tests or isinstance(raw, bytes) or self._kept(raw):
                    yield raw
                else:
                    self.left_out += 1

    def _kept(self, values: Sequence[Any]) -> bool:
        start = len(self._parts)
        return all(test(values[start + number]) for number, test in enumerate(self._tests))

    def _event(self, values: Sequence[Any]) -> tuple[str, bytes, float | None]:
        given = zip(self._parts, values, strict=False)
        event = {part: value for part, value in given if value is not None and value != ""}
        for part in _IDS:
            if type(value := event.get(part, "")) is not str:
                event[part] = _id(value)
        self._set_type(event)
        seconds = _set_numbers(event)
        user = event.get("user")
        try:
            return user if isinstance(user, str) else "", orjson.dumps(event), seconds
        except TypeError:  # bytes that are no text, or a value that JSON has no form for
            return "", as_bytes(values), seconds

    def _set_type(self, event: dict[str, Any]) -> None:
        kind = event.get("type", self.mapping.default_type)
        if isinstance(kind, str | int):
            kind = self.mapping.types.get(str(kind), kind)
        if kind != "":
            event["type"] = kind


def _as_table(rows: Iterable[_Timed]) -> pa.Table:
    rows = iter(rows)
    blocks = []
    while block := list(islice(rows, BLOCK_ROWS)):
        columns = zip(*block, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        blocks.append(pa.record_batch(arrays, schema=_SCHEMA))
    return pa.Table.from_batches(blocks, _SCHEMA).combine_chunks()


def _id(value: Any) -> Any:
    """Ids are text inside; integers that a column with nulls made floats are integers again."""
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return str(int(value))
    return str(value) if type(value) is int else value


def _set_numbers(event: dict[str, Any]) -> float | None:
    """Texts that are numbers become numbers, times epoch seconds. Returns the time, None where it is unreadable."""
    if "value" in event:
        event["value"] = _number(event["value"])
    seconds = _seconds(event.get("ts"))
    if seconds is not None:
        event["ts"] = seconds
    return seconds


def _number(value: Any) -> Any:
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return value if isinstance(number, float) and not math.isfinite(number) else number


def _seconds(value: Any) -> float | None:
    if isinstance(value, date):
        value = value.isoformat()
    seconds = timestamp_seconds(_number(value))
    return seconds if seconds is not None and 0 <= seconds < _END_SECONDS else None
