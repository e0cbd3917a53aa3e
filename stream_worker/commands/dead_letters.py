"""Dead letters as lines: for a person, and as JSON."""

from __future__ import annotations

import time

import orjson

from stream_worker.backends.kafka import Published
from stream_worker.core.events import ELEMENTS_HEADER
from stream_worker.core.printable import printable
from stream_worker.core.reasons import shorten
from stream_worker.core.record_parts import member

_SHOWN_CHARACTERS = 80  # characters of a value in a line (not tuned)
_READ_BYTES = 4 * _SHOWN_CHARACTERS  # no character takes more in UTF-8


def letter_line(letter: Published) -> str:
    """Return one dead letter for a person: when it was set aside, its place in the input topic, its error and reason,
    and the beginning of its value."""
    headers = letter.headers
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(letter.timestamp_ms / 1000))
    place = f"{headers.get('topic', '?')} {headers.get('partition', '?')}:{headers.get('offset', '?')}"
    value = "(no value)" if letter.value is None else _beginning(letter.value)
    error, reason = headers.get("error", "?"), headers.get("reason", "?")
    return printable(f"{when}  {place}  {error}  {reason}{_elements(headers)}  {value}")


def _elements(headers: dict[str, str]) -> str:
    bad = headers.get(ELEMENTS_HEADER)
    return f" (elements {bad})" if bad else ""


def _beginning(value: bytes) -> str:
    return shorten(value[:_READ_BYTES].decode("utf-8", "backslashreplace"), _SHOWN_CHARACTERS)


def letter_json(letter: Published) -> bytes:
    """Return a dead letter as one line of JSON: its headers, its key and its value (`record_parts`)."""
    parts = {**member("key", letter.key, json=False), **member("value", letter.value)}
    return orjson.dumps({**letter.headers, "timestamp_ms": letter.timestamp_ms, **parts})
