"""Bytes of a log, decompressed by extension, and its lines, none of which is held beyond a bound."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, AnyStr, NamedTuple

import pyarrow as pa

# Of a few kilobytes of gzip a line of gigabytes can be made. A topic's records end at a megabyte or a few.
MAX_LINE_BYTES = 16 << 20
_KEPT_BYTES = 1 << 16  # of a longer one, to show
_BUFFER_BYTES = 1 << 20


class BadRow(NamedTuple):
    """A row that has no such columns, as it stood in the file (or the beginning of it), with class and reason."""

    value: bytes
    error: str
    reason: str


# The number of its line, or row, from 1, and the values of the mapped columns.
RawRow = tuple[int, Sequence[Any] | BadRow]


def open_bytes(path: Path) -> io.BufferedReader:
    stream: Any = pa.input_stream(str(path))
    return io.BufferedReader(stream, _BUFFER_BYTES)


def is_empty(path: Path) -> bool:
    if path.stat().st_size == 0:
        return True
    with open_bytes(path) as stream:
        return not stream.peek(1)


def read_line(stream: IO[AnyStr]) -> tuple[AnyStr, bool]:
    """The next line, empty at the end, and whether that is all of it: of one that is too long only the beginning is
    kept, and the rest is passed over."""
    line = stream.readline(MAX_LINE_BYTES)
    if len(line) < MAX_LINE_BYTES:
        return line, True
    rest = line
    while len(rest) == MAX_LINE_BYTES and rest[-1:] not in (b"\n", "\n"):
        rest = stream.readline(MAX_LINE_BYTES)
    return line[:_KEPT_BYTES], False


def too_long(line: bytes) -> BadRow:
    return BadRow(line, "NotARow", f"expected a line of at most {MAX_LINE_BYTES >> 20} MiB, got a longer one")


def numbered_lines(stream: io.BufferedReader) -> Iterator[tuple[int, bytes | BadRow]]:
    number = 0
    while True:
        line, whole = read_line(stream)
        if not line:
            return
        number += 1
        yield number, line if whole else too_long(line)
