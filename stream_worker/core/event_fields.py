"""What the fields of an event may hold; all else is refused as InvalidEvent, with a reason for a person."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from datetime import UTC, datetime
from typing import Any, NoReturn

import orjson

from stream_worker.core.errors import InvalidEvent

ERRORS = (
    "Empty",  # no value at all
    "NotJson",  # also invalid UTF-8, NaN, nesting too deep, a key twice
    "NotAnObject",
    "MissingField",
    "WrongType",
    "BadId",  # a text of the wrong length
    "BadTimestamp",
    "UnknownType",
    "BadValue",
)
OLDEST_SECONDS = 631_152_000.0  # 1990-01-01T00:00:00Z
DAY_SECONDS = 86_400.0
MAX_ID_BYTES = 256
_MILLISECONDS_FROM = 1e11  # as seconds the year 5138, as milliseconds 1973: no valid time can be read both ways
_MAX_VALUE = 3.4028235e38  # the largest float32
_SHOWN_CHARACTERS = 60
_REASON_CHARACTERS = 200
# fromisoformat alone takes any character for the T, and more of it in every version of Python.
_SECOND = r"\d\d([.,]\d+)?"
_ISO_8601 = re.compile(
    r"(\d{4}-\d\d-\d\d|\d{8}|\d{4}-W\d\d-\d|\d{4}W\d{3})"
    rf"([T ]([01]\d|2[0-3])(:\d\d(:{_SECOND})?|\d\d({_SECOND})?)?(Z|[+-]\d\d(:?[0-5]\d)?)?)?",
    re.ASCII,
)
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]', re.DOTALL)
_KEY_ENDS = (b'":', b" :", b"\t:", b"\n:", b"\r:")


def json_object(value: bytes | None) -> dict[str, Any]:
    if not value:
        raise InvalidEvent("Empty", f"expected a JSON object, got {'null' if value is None else 'no bytes'}")
    try:
        fields = orjson.loads(value)
    except ValueError as fault:
        raise InvalidEvent("NotJson", _shorten(f"expected a JSON object, got {value[:40]!r}: {fault}")) from None
    if type(fields) is not dict:
        raise InvalidEvent("NotAnObject", f"expected a JSON object, got {_shown(fields)}")
    if value.count(b":") != len(fields):
        _refuse_a_key_twice(value, len(fields))
    return fields


def _refuse_a_key_twice(value: bytes, distinct: int) -> None:
    """orjson keeps the last of equal keys without a word. As many key ends as keys: none is there twice (the cheap
    test, which counts some colons too many); otherwise the keys of the outermost object are counted one by one."""
    if sum(map(value.count, _KEY_ENDS)) == distinct:
        return
    keys = [orjson.loads(key) for key in _outermost_keys(value)]
    if len(keys) != distinct:
        twice, _ = Counter(keys).most_common(1)[0]
        raise InvalidEvent("NotJson", f"expected every key once, got {_shown(twice)} twice")


def _outermost_keys(value: bytes) -> list[bytes]:
    depth, last, keys = 0, b"", []
    for token in _TOKENS.findall(value):
        if token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
        elif token == b":" and depth == 1:
            keys.append(last)
        last = token
    return keys


def id_text(name: str, value: Any) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is not str:
        refuse("WrongType", name, "a string or an integer", value)
    # No character takes more than 4 bytes.
    if not 0 < len(value) <= MAX_ID_BYTES // 4 and not 0 < len(value.encode()) <= MAX_ID_BYTES:
        size = len(value.encode())
        refuse("BadId", name, f"1 to {MAX_ID_BYTES} bytes of UTF-8", value, f" ({size} bytes)")
    return value


def category_code(name: str, value: Any) -> int:
    """A number that stands for a category, 32 bits of a checksum: the same in every process; 0: none, or no text."""
    return 0 if value is None or value == "" else zlib.crc32(id_text(name, value).encode()) or 1


def timestamp_seconds(value: Any) -> float | None:
    """Epoch seconds of epoch seconds, epoch milliseconds or ISO 8601 (UTC where no zone is given); None: it is none."""
    if type(value) is float or type(value) is int:
        return value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)
    if type(value) is not str or not _ISO_8601.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def event_seconds(name: str, value: Any, broker_ms: int) -> float:
    seconds = timestamp_seconds(value)
    if seconds is None:
        refuse("BadTimestamp", name, "epoch seconds, epoch milliseconds or ISO 8601", value)
    if not OLDEST_SECONDS <= seconds <= broker_ms / 1000 + DAY_SECONDS:
        refuse("BadTimestamp", name, f"1990-01-01 to one day past the record's own time, {broker_ms} ms", value)
    return seconds


def number_or_nan(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if (type(value) is not float and type(value) is not int) or not -_MAX_VALUE <= value <= _MAX_VALUE:
        refuse("BadValue", name, "a finite number (32 bits)", value)
    return float(value)


def refuse(error: str, name: str, expected: str, got: Any, note: str = "") -> NoReturn:
    if got is None and error in ("WrongType", "BadTimestamp"):
        error = "MissingField"
    reason = f"{name}: expected {_shorten(expected, 100)}, got {_shown(got)}{note}"
    raise InvalidEvent(error, _shorten(reason))


def _shorten(text: str, characters: int = _REASON_CHARACTERS) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _shown(value: Any) -> str:
    """A value in a few characters; containers only by name, since their repr may nest too deep for Python."""
    if isinstance(value, str):
        return repr(_shorten(value, _SHOWN_CHARACTERS))
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return "nothing" if value is None else repr(value).lower()
