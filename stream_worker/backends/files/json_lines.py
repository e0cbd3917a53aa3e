"""Reads JSON lines as raw rows: one row per object, or one per element of a list in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stream_worker.backends.files.lines import BadRow, RawRow, numbered_lines, open_bytes
from stream_worker.backends.files.mapping import Mapping
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.json_object import json_object


def read_json_lines(path: Path, mapping: Mapping, names: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a file, each with the number of its line and the values of fields `names`."""
    with open_bytes(path) as stream:
        for number, line in numbered_lines(stream):
            if isinstance(line, BadRow):
                yield number, line
            elif text := line.rstrip(b"\r\n"):
                try:
                    rows = list(picked(json_object(text), names, mapping.explode))
                except InvalidEvent as fault:
                    yield number, BadRow(text, fault.error, fault.reason)
                else:
                    yield from ((number, row) for row in rows)


def picked(row: dict[str, Any], names: Sequence[str], explode: str) -> Iterator[Sequence[Any]]:
    """Yield the values of `names` in a row; with a list in field `explode`, once per element of the list. An element's
    field is preferred to the row's field of the same name."""
    elements = row.get(explode) if explode else None
    if not isinstance(elements, list):
        yield [row.get(name) for name in names]
        return
    for element in elements:
        inner = element if isinstance(element, dict) else {}
        yield [inner.get(name, row.get(name)) for name in names]
