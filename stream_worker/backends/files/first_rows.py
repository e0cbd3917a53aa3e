"""Reads the first rows of a file of which nothing is known yet, as records of JSON, for `guess`."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from stream_worker.backends.files.lines import BadRow, numbered_lines, open_bytes
from stream_worker.core.errors import ConfigurationError, InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.recorded import decode_record

_DELIMITERS = {",": "csv", "\t": "tsv", ";": "csv", "|": "csv"}


class FirstRows(NamedTuple):
    """The first rows of a file.

    format: jsonl, csv, tsv, parquet, or record for what `stream-worker record` wrote.
    delimiter: that of a csv file if it is not a comma.
    """

    format: str
    records: list[Record]
    delimiter: str = ""


def first_rows(path: Path, count: int) -> FirstRows:
    """Return at most `count` rows. Raises ConfigurationError if the file can't be read."""
    try:
        if path.name.endswith(".parquet"):
            return FirstRows("parquet", _records(_parquet(path, count)))
        lines = [line for line in _lines(path, count + 1) if line.strip()]
        return _of_lines(lines, count)
    except (OSError, UnicodeError, pa.ArrowException, csv.Error) as fault:
        raise ConfigurationError(f"{path}: {fault}") from fault


def _parquet(path: Path, count: int) -> Iterator[bytes]:
    batches = pq.ParquetFile(path).iter_batches(min(count, 1_000))
    rows = (row for batch in batches for row in batch.to_pylist())
    return (orjson.dumps(row, default=str) for row in islice(rows, count))


def _lines(path: Path, count: int) -> Iterator[bytes]:
    with open_bytes(path) as stream:
        for _, line in islice(numbered_lines(stream), count):
            yield line.value if isinstance(line, BadRow) else line


def _of_lines(lines: list[bytes], count: int) -> FirstRows:
    start = lines[0].lstrip(b"\xef\xbb\xbf \t")[:1] if lines else b""
    if start in (b"{", b"[", b""):
        try:
            return FirstRows("record", [decode_record(line) for line in lines[:count]])
        except InvalidEvent:
            return FirstRows("jsonl", _records(iter(lines[:count])))
    header = lines[0].decode("utf-8", "replace")
    delimiter = max(_DELIMITERS, key=header.count)
    text = io.StringIO(b"".join(lines).decode("utf-8-sig", "replace"))
    rows: Any = csv.DictReader(text, delimiter=delimiter)
    values = (orjson.dumps({name: value for name, value in row.items() if isinstance(name, str)}) for row in rows)
    unusual = delimiter if _DELIMITERS[delimiter] == "csv" and delimiter != "," else ""
    return FirstRows(_DELIMITERS[delimiter], _records(values), unusual)


def _records(values: Iterator[bytes]) -> list[Record]:
    """Return values as records of now, so that no time of theirs is too late."""
    now_ms = int(time.time() * 1000)
    return [
        Record(0, number, now_ms, None, value.rstrip(b"\r\n"), f"row {number + 1}")
        for number, value in enumerate(values)
    ]
