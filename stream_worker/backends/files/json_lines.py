"""Reads JSON lines as rows: one row per line, or one per element of a list in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream_worker.backends.files.lines import BadRow, RawRow, Row, numbered_lines, open_bytes
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.json_object import json_document


def read_json_lines(path: Path, explode: str = "") -> Iterator[RawRow]:
    """Yield the rows of a file, each with the number of its line. explode: see `Mapping`."""
    with open_bytes(path) as stream:
        for number, line in numbered_lines(stream):
            if isinstance(line, BadRow):
                yield number, line
            elif text := line.rstrip(b"\r\n"):
                try:
                    document = json_document(text, None if explode else ())
                except InvalidEvent as fault:
                    yield number, BadRow(text, fault.error, fault.reason)
                else:
                    yield from ((number, row) for row in _rows(document, text, explode))


def _rows(document: Any, text: bytes, explode: str) -> Iterator[Row]:
    if explode and isinstance(document, dict):
        yield from map(Row, exploded(document, explode))
    else:
        yield Row(document, text)


def exploded(row: Mapping[str, Any], explode: str) -> Iterator[Mapping[str, Any]]:
    """Yield one row per element of the list in field `explode`; the row itself if it has none. An element's field is
    preferred to the row's field of the same name."""
    elements = row.get(explode)
    if not isinstance(elements, list):
        yield row
        return
    around = {name: value for name, value in row.items() if name != explode}
    for element in elements:
        yield {**around, **(element if isinstance(element, dict) else {})}
