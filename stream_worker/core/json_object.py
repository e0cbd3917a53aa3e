"""Parses bytes as one JSON object by I-JSON (RFC 7493), after an optional byte order mark, or raises InvalidEvent.

I-JSON forbids a key that stands twice, of which orjson silently keeps the last one; so keys are counted here. That
takes a few passes over the bytes in compiled code, however deep the objects nest (milliseconds for a megabyte).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.reasons import shorten, shown

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OTHER_FORMATS = (
    (b"\0", "looks like Avro, Protobuf or JSON of a schema registry, which begins with a zero byte"),
    (b"\x1f\x8b", "looks like gzip"),
)
_KEY_ENDS = (b'":', b" :", b"\t:", b"\n:", b"\r:")
_QUOTE, _COLON = b'":'
_DEPTHS = np.zeros(256, dtype=np.int8)
_DEPTHS[list(b"{[")], _DEPTHS[list(b"}]")] = 1, -1


def json_object(value: bytes | None) -> dict[str, Any]:
    """Return the JSON object in the bytes of a record. Raises InvalidEvent."""
    if not value:
        raise InvalidEvent("Empty", f"expected a JSON object, got {'null' if value is None else 'no bytes'}")
    try:
        fields = orjson.loads(value)
    except ValueError as fault:
        text = value.removeprefix(BYTE_ORDER_MARK)
        if text != value and not text.startswith(BYTE_ORDER_MARK):
            return json_object(text)
        raise InvalidEvent(
            "NotJson", shorten(f"expected a JSON object, got {value[:40]!r}: {_looks(value) or fault}")
        ) from None
    if type(fields) is not dict:
        raise InvalidEvent("NotAnObject", f"expected a JSON object, got {shown(fields)}")
    if value.count(b":") != len(fields):
        _refuse_a_key_twice(value, len(fields))
    return fields


def _looks(value: bytes) -> str:
    """Return what the bytes look like, by the first bytes of formats that often come in place of JSON."""
    return next((name for start, name in _OTHER_FORMATS if value.startswith(start)), "")


def _refuse_a_key_twice(value: bytes, distinct: int) -> None:
    """Raise InvalidEvent if a key of the outermost object stands there twice. `distinct`: how many keys it has.

    A quote or a blank before a colon ends a key. If the bytes hold only `distinct` of these, no key stands twice: a
    cheap test, which may count colons inside of texts or inner objects, too. If it fails, the keys are counted exactly.
    """
    if sum(map(value.count, _KEY_ENDS)) == distinct:
        return
    quotes, colons = _outermost(value)
    if len(colons) != distinct:
        ends = np.searchsorted(quotes, colons) - 1
        keys = (value[quotes[end - 1] : quotes[end] + 1] for end in ends.tolist())
        twice, _ = Counter(map(orjson.loads, keys)).most_common(1)[0]
        raise InvalidEvent("NotJson", f"expected every key once, got {shown(twice)} twice")


def _outermost(value: bytes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of all quotes that begin or end a text, and of the colons of the outermost object."""
    if b"\\" in value:  # an escaped quote ends no text, and an escaped backslash escapes nothing
        value = value.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    bytes_N = np.frombuffer(value, dtype=np.uint8)
    is_quote_N = bytes_N == _QUOTE
    outside_N = ~np.logical_xor.accumulate(is_quote_N)
    depth_N = np.cumsum(_DEPTHS[bytes_N] * outside_N, dtype=np.int32)
    return np.flatnonzero(is_quote_N), np.flatnonzero((bytes_N == _COLON) & outside_N & (depth_N == 1))
