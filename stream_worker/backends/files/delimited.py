"""Reads CSV and TSV files as raw rows, and malformed rows as `BadRow`.

Python's `csv` module reads a million rows of gzipped CSV in 0.8 s, Arrow in 0.7 s, but Arrow does not hand out
malformed rows in their place.

A record must end within 100 lines and 64 KiB. If it does not, because a quote is never closed, or if it spans lines
only because a later record's quote closed it, its first line becomes a bad row and reading continues at the second.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from stream_worker.backends.files.lines import BadRow, RawRow, Row, open_bytes, read_line, too_long
from stream_worker.backends.files.mapping import Mapping
from stream_worker.core.amounts import amount
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.nearest import nearest

# Longest record, in lines and characters. Not tuned: events are far shorter, and an unclosed quote is found early.
_MOST_LINES, _MOST_CHARACTERS = 100, 1 << 16
_DELIMITERS = (";", "\t", "|", ",", ":")
_WHOLE_FLOAT = re.compile(r"-?\d+\.0")  # as pandas writes the integers of a column with nulls


def read_delimited(path: Path, mapping: Mapping) -> Iterator[RawRow]:
    """Yield the rows of a CSV or TSV file, each with the number of its first line and the values of the mapping's
    columns; an empty cell is left out."""
    tabs = mapping.format_of(path) == "tsv"
    options = {
        "delimiter": mapping.delimiter or ("\t" if tabs else ","),
        "quoting": csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    }
    encoding = "utf-8-sig" if mapping.encoding == "utf-8" else mapping.encoding
    # Bytes that are no text are kept as surrogate escapes: only their row becomes a dead letter.
    with io.TextIOWrapper(open_bytes(path), encoding, "surrogateescape", newline="") as text:
        records = _Records(text, options)
        if mapping.header:
            records.header = _header(path, *next(records, (1, [])))
            at = _places(path, records.header, mapping)
        for number, row in records:
            if isinstance(row, BadRow):
                yield number, row
                continue
            if not records.header:
                records.header = [str(place) for place in range(1, len(row) + 1)]
                at = _places(path, records.header, mapping)
            yield number, Row({name: cell for name, place in at if (cell := _cell(row[place])) is not None})


def _header(path: Path, number: int, row: list[str] | BadRow) -> list[str]:
    if isinstance(row, BadRow):
        raise ConfigurationError(f"log {path}: line {number}: {row.reason}")
    return row


def _cell(cell: str) -> str | None:
    if cell[-2:] == ".0" and _WHOLE_FLOAT.fullmatch(cell):
        return cell[:-2]
    return cell or None


def _places(path: Path, header: Sequence[str], mapping: Mapping) -> list[tuple[str, int]]:
    names = present(path, header, mapping.columns(), mapping.delimiter)
    return [(name, header.index(name)) for name in names]


def present(path: Path, header: Sequence[str], wanted: Sequence[Sequence[str]], delimiter: str = "") -> list[str]:
    """Return the columns of `header` to read: of each group of names those that are there.

    path, delimiter: for the message only; a wrong `delimiter` is the likely cause when the header has one column.

    Raises ConfigurationError for a group of which none is there.
    """
    found = dict.fromkeys(name for names in wanted for name in names if name in header)
    for names in wanted:
        if not any(name in found for name in names):
            hint = _delimiter_hint(header, delimiter) or nearest(names[0], header)
            raise ConfigurationError(f"log {path}: has no column {names[0]!r}{hint}")
    return list(found)


def _delimiter_hint(header: Sequence[str], delimiter: str) -> str:
    """Return a hint if the header has one column that contains another delimiter, else an empty text."""
    for other in _DELIMITERS:
        if len(header) == 1 and other in header[0] and other != delimiter:
            return f'; its only column is {header[0]!r}: does the mapping need delimiter = "{other}"?'.replace(
                "\t", "\\t"
            )
    return ""


class _Unclosed(Exception):  # noqa: N818
    """Raised for a record that is longer than `_MOST_LINES` or `_MOST_CHARACTERS`."""


class _TooLong(Exception):  # noqa: N818
    """Raised for a line that is longer than `MAX_LINE_BYTES`."""


class _Lines:
    """Yields the lines of a file, and can give lines back.

    pending: the lines of the record that is being read.
    number: the number of its first line, from 1.
    ended: the reader asked for another line at the end of the file.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.pending: list[str] = []
        self.number = 1
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.pending and (len(self.pending) == _MOST_LINES or sum(map(len, self.pending)) > _MOST_CHARACTERS):
            raise _Unclosed
        line, whole = (self._again.popleft(), True) if self._again else read_line(self._text)
        if not line:
            self.ended = True
            raise StopIteration
        self.pending.append(line)
        if not whole:
            raise _TooLong
        return line

    def begin_record(self) -> None:
        self.number += len(self.pending)
        self.pending.clear()
        self.ended = False

    def give_back_all_but_the_first(self) -> None:
        self._again.extendleft(reversed(self.pending[1:]))
        del self.pending[1:]


class _Records:
    """Yields (number of its first line, record). Once `header` is set, records of another width are bad rows."""

    def __init__(self, text: TextIO, options: dict[str, Any]) -> None:
        self.header: Sequence[str] = []
        self._options = options
        self._lines = _Lines(text)
        self._reader = csv.reader(self._lines, **options)

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> tuple[int, list[str] | BadRow]:
        while True:
            self._lines.begin_record()
            row = self._record()
            if isinstance(row, BadRow):
                self._lines.give_back_all_but_the_first()
                self._reader = csv.reader(self._lines, **self._options)
            if row:
                return self._lines.number, row

    def _record(self) -> list[str] | BadRow:
        try:
            row = next(self._reader)
        except _TooLong:
            return too_long(self._first())
        except _Unclosed:
            return self._unclosed()
        except csv.Error as fault:
            return self._bad(f"expected {self._width()}, got {fault}")
        return self._judged(row)

    def _judged(self, row: list[str]) -> list[str] | BadRow:
        lines = len(self._lines.pending)
        if lines == 1 and len(row) == len(self.header) and not self._lines.ended:
            return row
        if self._lines.ended or (lines > 1 and not self._is_proper()):
            return self._unclosed()
        if row and self.header and len(row) != len(self.header):
            return self._bad(f"expected {self._width()}, got {len(row)}{f' in {lines} lines' if lines > 1 else ''}")
        return row

    def _is_proper(self) -> bool:
        """Return True if the pending lines follow the rules of CSV strictly.

        Text after a closing quote (`"a"b`) is accepted within a line, since many programs write it. In a record of
        several lines it shows that the quote that began the record was closed by another record's quote.
        """
        try:
            next(csv.reader(self._lines.pending, strict=True, **self._options))
        except csv.Error:
            return False
        return True

    def _unclosed(self) -> BadRow:
        cells = next(csv.reader(self._lines.pending[:1], **self._options), [])
        known = self.header[len(cells) - 1 : len(cells)] if cells else []
        where = f"{known[0]}: " if known else ""
        return self._bad(
            f"{where}expected a quote to be closed within {_MOST_LINES} lines and 64 KiB, got no end of it"
        )

    def _width(self) -> str:
        return amount(len(self.header), "column") if self.header else "a record"

    def _bad(self, reason: str) -> BadRow:
        return BadRow(self._first(), "NotARow", reason)

    def _first(self) -> bytes:
        return self._lines.pending[0].rstrip("\r\n").encode("utf-8", "surrogateescape")
