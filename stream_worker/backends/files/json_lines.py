"""Reads lines of JSON, or of Snowplow's enriched events, as rows: one row per line, or one per element of a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream_worker.backends.files.lines import BadRow, RawRow, Row, numbered_lines, open_bytes
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.json_object import json_document
from stream_worker.core.snowplow import is_enriched, snowplow_document


def read_json_lines(path: Path, explode: str = "", *, snowplow: bool = False) -> Iterator[RawRow]:
    """Yield the rows of a file, each with the number of its line.

    explode: see `Mapping`. snowplow: lines that are no JSON are enriched events of Snowplow.
    """
    with open_bytes(path) as stream:
        for number, line in numbered_lines(stream):
            if isinstance(line, BadRow):
                yield number, line
            elif text := line.rstrip(b"\r\n"):
                try:
                    rows = _enriched(text) if snowplow and is_enriched(text) else _rows(text, explode)
                except InvalidEvent as fault:
                    yield number, BadRow(text, fault.error, fault.reason)
                else:
                    yield from ((number, row) for row in rows)


def _enriched(text: bytes) -> list[Row]:
    return [Row(snowplow_document(text))]


def _rows(text: bytes, explode: str) -> list[Row]:
    document = json_document(text, None if explode else ())
    if explode and isinstance(document, dict):
        return list(map(Row, exploded(document, explode)))
    return [Row(document, text)]


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
