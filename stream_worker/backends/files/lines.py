"""Reads the bytes of a log, decompressed by file extension, and its lines, up to a bound on their length."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, AnyStr, NamedTuple

import pyarrow as pa

# A few kilobytes of gzip can expand to a line of gigabytes. Not tuned: 16 times Kafka's default record size of 1 MiB.
MAX_LINE_BYTES = 16 << 20
_KEPT_BYTES = 1 << 16  # bytes of a longer line that are shown in its dead letter; not tuned
_BUFFER_BYTES = 1 << 20  # bytes read at once; not tuned


class BadRow(NamedTuple):
    """A row that could not be split into its columns.

    value: its bytes in the file, or the beginning of them.
    error, reason: the class of the dead letter (such as NotARow), and a sentence.
    """

    value: bytes
    error: str
    reason: str


class Row(NamedTuple):
    """A row as a document.

    fields: its values by the names of columns or fields; an array of objects where a line is one.
    value: its bytes in the file if they are JSON; None: to be encoded.
    """

    fields: Any
    value: bytes | None = None


# (number of the line or row in its file, from 1; the row)
RawRow = tuple[int, Row | BadRow]


def open_bytes(path: Path) -> io.BufferedReader:
    """Open a file for reading, decompressed as its extension says."""
    stream: Any = pa.input_stream(str(path))
    return io.BufferedReader(stream, _BUFFER_BYTES)


def is_empty(path: Path) -> bool:
    if path.stat().st_size == 0:
        return True
    with open_bytes(path) as stream:
        return not stream.peek(1)


def read_line(stream: IO[AnyStr]) -> tuple[AnyStr, bool]:
    """Read a line. Returns it (empty at the end of the file) and whether it is complete: of a line that is too long
    only the beginning is returned, and the rest is skipped."""
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
    """Yield the lines with their numbers from 1; a line that is too long becomes a `BadRow`."""
    number = 0
    while True:
        line, whole = read_line(stream)
        if not line:
            return
        number += 1
        yield number, line if whole else too_long(line)
