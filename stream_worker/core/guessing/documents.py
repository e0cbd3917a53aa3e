"""The documents in some records, and the formats of their values: JSON, gzip, framed by a schema registry, others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.events import Record

FRAMED = "framed by a schema registry"
_STARTS = {b"\0": FRAMED, b"\x1f": "gzip", b"[": "JSON arrays", b"{": "JSON objects"}
_SNOWPLOW_TABS = 130  # tabs of an enriched event


@dataclass
class Documents:
    """Documents with their records, of which one with an array of objects has several.

    formats: how many records have values of each format.
    """

    documents: list[Any] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """Return the formats with their numbers, the commonest first."""
        return ", ".join(f"{count:,} {name}" for name, count in self.formats.most_common())


def documents_of(records: Sequence[Record], read: Callable[[bytes | None], Any]) -> Documents:
    """Return the documents of the records that have one. `read`: returns that of a value, or raises InvalidEvent."""
    found = Documents()
    for record in records:
        found.formats[_format(record.value)] += 1
        try:
            document = read(record.value)
        except InvalidEvent:
            continue
        inside = [one for one in document if isinstance(one, dict)] if isinstance(document, list) else [document]
        found.documents += inside
        found.records += [record] * len(inside)
    return found


def _format(value: bytes | None) -> str:
    if value is None:
        return "without a value"
    if value.count(b"\t") >= _SNOWPLOW_TABS:
        return "Snowplow's TSV"
    return _STARTS.get(value.lstrip(b"\xef\xbb\xbf \t\r\n")[:1], "something else")
