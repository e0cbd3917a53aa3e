"""Reads a file of any known format as rows, each a document with the values of the mapped columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stream_worker.backends.files.delimited import read_delimited
from stream_worker.backends.files.json_lines import read_json_lines
from stream_worker.backends.files.lines import RawRow, is_empty
from stream_worker.backends.files.mapping import Mapping
from stream_worker.backends.files.parquet import read_parquet
from stream_worker.core.errors import ConfigurationError
from stream_worker.logs import get_logger

_log = get_logger(__name__)


def _read_json_lines(path: Path, mapping: Mapping) -> Iterator[RawRow]:
    return read_json_lines(path, mapping.explode)


def _read_snowplow(path: Path, mapping: Mapping) -> Iterator[RawRow]:
    return read_json_lines(path, mapping.explode, snowplow=True)


_READERS = {
    "jsonl": _read_json_lines,
    "csv": read_delimited,
    "tsv": read_delimited,
    "parquet": read_parquet,
    "snowplow": _read_snowplow,
}


def read_rows(path: Path, mapping: Mapping) -> Iterator[RawRow]:
    """Yield the rows of a file, each with its number.

    An empty file has no rows and needs no header. Raises ConfigurationError if a file can't be read or lacks a column.
    """
    read = _READERS[mapping.format_of(path)]
    try:
        if is_empty(path):
            _log.warning("a file of the log is empty", file=str(path))
        else:
            yield from read(path, mapping)
    except (OSError, UnicodeError, pa.ArrowException) as fault:
        raise ConfigurationError(f"log {path}: {fault}") from fault


def rows_known(paths: Sequence[Path], mapping: Mapping) -> int | None:
    """Return the number of rows if it can be known without reading them, else None: all files must be Parquet, which
    stores it, and the mapping must neither drop nor multiply rows."""
    if mapping.keep or mapping.explode or any(mapping.format_of(path) != "parquet" for path in paths):
        return None
    try:
        return sum(pq.read_metadata(path).num_rows for path in paths if path.stat().st_size)
    except (OSError, pa.ArrowException):
        return None  # the same error is raised when the rows are read
