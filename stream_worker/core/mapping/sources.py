"""Sources: functions that read one part of an event from a record, its document, and an element of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from stream_worker.core.events import Record
from stream_worker.core.mapping.paths import head, path, steps_of

# (document, element, record) -> value, None: it is not there.
Read = Callable[[Any, Any, Record], Any]
HEADER, KEY, RECORD_TIME = "header:", "key", "record_time"
_OWN = (KEY, RECORD_TIME)
_YEAR_10000_MS = 253_402_300_800_000


def source(texts: Sequence[str]) -> Read:
    """Return a function that reads the first value that is there (not null, no empty text) at these paths."""
    reads = [_source(text) for text in texts]
    if not reads:
        return lambda document, element, record: None
    return reads[0] if len(reads) == 1 else _first(reads)


def check_path(key: str, text: str) -> None:
    """Raise ValueError for a text that names no value. `key`: the key of the configuration that holds it."""
    if text.startswith(HEADER):
        return
    try:
        steps_of(text.removeprefix(".") or "element")
    except ValueError as fault:
        raise ValueError(f"{key}: {fault}") from None


def is_relative(text: str) -> bool:
    """Return True for a path that begins at an element, not at the document."""
    return text.startswith(".")


def is_of_the_record(text: str) -> bool:
    """Return True for what a record has beside its value: a header, the key, the time."""
    return text in _OWN or text.startswith(HEADER)


def fields_read(texts: Sequence[str]) -> set[str]:
    """Return the outermost fields of a document that these paths read; an empty name stands for all of them."""
    fields = set()
    for text in texts:
        if not (is_relative(text) or is_of_the_record(text)):
            fields |= {head(text), text} if "." in text or "[" in text else {text}
    return fields


def _first(reads: Sequence[Read]) -> Read:
    def read(document: Any, element: Any, record: Record) -> Any:
        value = None
        for one in reads:
            value = one(document, element, record)
            if value is not None and value != "":
                return value
        return value

    return read


def _source(text: str) -> Read:
    if text.startswith(HEADER):
        name = text.removeprefix(HEADER)
        return lambda document, element, record: _header(record, name)
    if text == KEY:
        return lambda document, element, record: _text(record.key)
    if text == RECORD_TIME:
        return lambda document, element, record: _moment(record.timestamp_ms)
    if text == ".":
        return lambda document, element, record: element
    return _of_element(text[1:]) if is_relative(text) else _of_document(text)


def _of_element(text: str) -> Read:
    find, steps = path(text), steps_of(text)
    if len(steps) == 1 and isinstance(name := steps[0], str):
        return lambda document, element, record: element.get(name) if type(element) is dict else None
    return lambda document, element, record: find(element)


def _of_document(text: str) -> Read:
    """Return a reader of a path in a document. Short paths are read without further calls."""
    find, steps = path(text), steps_of(text)
    if len(steps) == 1 and isinstance(name := steps[0], str):
        return lambda document, element, record: document.get(name) if type(document) is dict else None
    if len(steps) == 2 and isinstance(outer := steps[0], str) and isinstance(inner := steps[1], str):
        return _of_two(text, outer, inner)
    return lambda document, element, record: find(document)


def _of_two(whole: str, outer: str, inner: str) -> Read:
    def read(document: Any, element: Any, record: Record) -> Any:
        if type(document) is not dict:
            return None
        if (found := document.get(whole)) is not None:
            return found
        around = document.get(outer)
        return around.get(inner) if type(around) is dict else None

    return read


def _moment(timestamp_ms: int) -> datetime | None:
    """Return a record's time as a moment, not as a number, which `events.ts_format` would read in a unit of its own."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC) if 0 <= timestamp_ms < _YEAR_10000_MS else None


def _header(record: Record, name: str) -> str | None:
    found = [value for given, value in record.headers if given == name]
    return _text(found[-1]) if found else None


def _text(value: bytes | None) -> str | None:
    """Return bytes as text; those that are no UTF-8 as a text that is refused with what it holds."""
    return None if value is None else value.decode("utf-8", "backslashreplace")
