"""Parses bytes as one JSON object by I-JSON (RFC 7493), after an optional byte order mark, or raises InvalidEvent.

The bytes may be packed with gzip. I-JSON forbids a key that stands twice, of which orjson silently keeps the last one;
so keys are counted here. That takes a few passes over the bytes in compiled code, however deep the objects nest
(milliseconds for a megabyte).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.gzipped import GZIP_BEGINS, unpacked
from stream_worker.core.reasons import shorten, shown

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OTHER_FORMATS = (
    (b"\0", "looks like Avro, Protobuf or JSON of a schema registry (registry.url)"),
    (GZIP_BEGINS, "looks like gzip in gzip"),
)
_KEY_ENDS = (b'":', b" :", b"\t:", b"\n:", b"\r:")
_QUOTE, _COLON = b'":'
_DEPTHS = np.zeros(256, dtype=np.int8)
_DEPTHS[list(b"{[")], _DEPTHS[list(b"}]")] = 1, -1


def json_object(value: bytes | None) -> dict[str, Any]:
    """Return the JSON object in the bytes of a record; no key of it may stand twice. Raises InvalidEvent."""
    fields: dict[str, Any] = json_document(value)
    if type(fields) is not dict:
        raise InvalidEvent("NotAnObject", f"expected a JSON object, got {shown(fields)}")
    return fields


def keys_of(fields: Iterable[str]) -> tuple[bytes, ...]:
    """Return the JSON of these names, for `json_document`."""
    return tuple(orjson.dumps(field) for field in sorted(fields))


def json_document(value: bytes | None, keys: Sequence[bytes] | None = None, *, packed: bool = True) -> Any:
    """Return the JSON object in the bytes of a record, or its array of objects. Raises InvalidEvent.

    keys: keys of the outermost object that may not stand twice (`keys_of`); None: all
    packed: the bytes may be packed with gzip, once
    """
    if not value:
        raise InvalidEvent("Empty", f"expected a JSON object, got {'null' if value is None else 'no bytes'}")
    try:
        fields = orjson.loads(value)
    except ValueError as fault:
        if packed and value.startswith(GZIP_BEGINS):
            return json_document(unpacked(value), keys, packed=False)
        text = value.removeprefix(BYTE_ORDER_MARK)
        if text != value and not text.startswith(BYTE_ORDER_MARK):
            return json_document(text, keys, packed=False)
        raise InvalidEvent(
            "NotJson", shorten(f"expected a JSON object, got {value[:40]!r}: {_looks(value) or fault}")
        ) from None
    if type(fields) is not dict:
        return require_objects(fields)
    if value.count(b":") != len(fields) and _may_stand_twice(value, fields, keys):
        _refuse_a_key_twice(value, fields, keys)
    return fields


def require_objects(document: Any) -> Any:
    """Return a document that is an object, or an array of objects. Raises InvalidEvent for any other."""
    if type(document) is dict or (type(document) is list and any(type(one) is dict for one in document)):
        return document
    raise InvalidEvent("NotAnObject", f"expected a JSON object, got {shown(document)}")


def _may_stand_twice(value: bytes, fields: Mapping[str, Any], keys: Sequence[bytes] | None) -> bool:
    """Return False if none of the keys stands twice: a cheap test. An escaped key may look like no key."""
    try:
        if orjson.dumps(fields) == value:
            return False
    except TypeError:  # orjson reads deeper nesting than it writes
        pass
    if keys is None:
        return True
    for key in keys:
        if value.count(key) > 1:
            return True
    return b"\\u" in value


def _looks(value: bytes) -> str:
    """Return what the bytes look like, by the first bytes of formats that often come in place of JSON."""
    return next((name for start, name in _OTHER_FORMATS if value.startswith(start)), "")


def _refuse_a_key_twice(value: bytes, fields: Mapping[str, Any], keys: Sequence[bytes] | None) -> None:
    """Raise InvalidEvent if a key of the outermost object stands there twice.

    fields: the object. keys: the keys to look at, None for all.

    A quote or a blank before a colon ends a key. If the bytes hold only as many of these as the object has keys, no key
    stands twice: a cheap test, which may count colons inside of texts or inner objects, too. If it fails, the keys are
    counted exactly.
    """
    if sum(map(value.count, _KEY_ENDS)) == len(fields):
        return
    quotes, colons = _outermost(value)
    if len(colons) != len(fields):
        ends = np.searchsorted(quotes, colons) - 1
        found = (value[quotes[end - 1] : quotes[end] + 1] for end in ends.tolist())
        looked_at = None if keys is None else set(map(orjson.loads, keys))
        counts = Counter(name for name in map(orjson.loads, found) if looked_at is None or name in looked_at)
        for twice, count in counts.most_common(1):
            if count > 1:
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
