"""Reads Parquet files as raw rows, with values that JSON can hold and that keep every digit.

Decimals become texts of their digits. Bytes are decoded as text; 16 bytes become a UUID if the column's type says
that it holds UUIDs, or if they are no UTF-8.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stream_worker.backends.files.delimited import present
from stream_worker.backends.files.json_lines import exploded
from stream_worker.backends.files.lines import RawRow, Row
from stream_worker.backends.files.mapping import Mapping

# Rows in memory at a time. The default of pyarrow's `iter_batches`.
BLOCK_ROWS = 65_536
_UUID_BYTES = 16  # RFC 9562


def read_parquet(path: Path, mapping: Mapping) -> Iterator[RawRow]:
    """Yield the rows of a file, each with its number from 1 and the values of the mapping's columns."""
    number = 0
    with pq.ParquetFile(path) as file:
        known = file.schema_arrow.names
        explode = mapping.explode
        wanted = present(path, known, [[explode]]) if explode else present(path, known, mapping.columns())
        names = {*wanted, *(name for columns in mapping.columns() for name in columns)}
        columns = [name for name in known if name in names]
        uuids = _uuid_columns(file)
        for batch in file.iter_batches(BLOCK_ROWS, columns=columns):
            values = {name: _values(batch.column(name), name in uuids) for name in columns}
            for cells in zip(*values.values(), strict=True):
                number += 1
                row = dict(zip(values, cells, strict=True))
                yield from ((number, Row(one)) for one in (exploded(row, explode) if explode else (row,)))


def _uuid_columns(file: pq.ParquetFile) -> set[str]:
    columns = [file.schema.column(place) for place in range(len(file.schema))]
    return {column.path for column in columns if column.logical_type.type == "UUID"}


def _values(column: pa.Array[Any], uuids: bool) -> list[Any]:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if pa.types.is_timestamp(kind):  # Python's datetime has no nanoseconds, so times become numbers of seconds
        microseconds = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
        return [None if value is None else value / 1e6 for value in microseconds.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else digits(value) for value in column.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _texts(column)
    values = column.to_pylist()
    if pa.types.is_fixed_size_binary(kind) or any(isinstance(value, bytes) for value in values[:1_000]):
        return [text_of(value, uuids) if isinstance(value, bytes) else value for value in values]
    return values


def _texts(column: pa.Array[Any]) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # readers of Parquet do not check that texts are UTF-8
        return [
            None if value is None else text_of(value, False) for value in column.cast(pa.large_binary()).to_pylist()
        ]


def digits(value: Decimal) -> str:
    whole = value.to_integral_value()
    return format(whole if whole == value else value, "f")


def text_of(value: bytes, is_uuid: bool) -> str:
    if len(value) == _UUID_BYTES and (is_uuid or not _is_utf8(value)):
        return str(uuid.UUID(bytes=value))
    return value.decode("utf-8", "surrogateescape")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
