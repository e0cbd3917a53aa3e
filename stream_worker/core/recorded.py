"""Records as lines of a file, one JSON object each, that lose nothing (`stream-worker record`).

A line is `{"partition","offset","timestamp_ms","key","headers","value"}`; headers are pairs of name and value. The
value stands last and, if it is JSON, as it came, so it is read back to the byte. `record_parts` has the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.reasons import shorten
from stream_worker.core.record_parts import bytes_of, member, text_bytes_of

_VALUE = b',"value":'  # a quote within a text has a backslash before it, and headers hold no such member
_KEYS = ("partition", "offset", "timestamp_ms")


def encode_record(record: Record, document: Callable[[bytes], bytes] = lambda value: value) -> bytes:
    """Return a record as a line, newline included. `document`: makes JSON of a value in another format, or leaves it as
    it is."""
    value = None if record.value is None else document(record.value)
    line = {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        **member("key", record.key, json=False),
        "headers": [[name, _shown(part)] for name, part in record.headers],
        **member("value", value),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def decode_record(line: bytes) -> Record:
    """Return the record that `encode_record` wrote. Raises InvalidEvent."""
    try:
        line = line.strip()
        members, value = _parted(line)
        partition, offset, timestamp_ms = (_number(key, members) for key in _KEYS)
        headers = tuple((str(name), _header(part)) for name, part in members["headers"])
        return Record(partition, offset, timestamp_ms, text_bytes_of("key", members), value, headers=headers)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        why = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
        expected = f"expected a line of `stream-worker record`, got {line[:40]!r}: {why}"
        raise InvalidEvent("NotARow", shorten(expected)) from None


def _shown(part: bytes) -> Any:
    """Return the value of a header: a text, or an object with the member `base64`."""
    shown = member("", part, json=False)
    return shown[""] if "" in shown else {"base64": shown["_base64"]}


def _header(shown: Any) -> bytes:
    """Return the bytes of a header's value: none for null."""
    return text_bytes_of("", {"_base64": shown["base64"]} if isinstance(shown, dict) else {"": shown}) or b""


def _parted(line: bytes) -> tuple[Mapping[str, Any], bytes | None]:
    """Return the members of a line and the bytes of its value: as they stand there, if they stand last."""
    head, _, rest = line.partition(_VALUE)
    value = rest[:-1]
    if value != b"null" and _are_json(head + b"}", value):
        members = orjson.loads(head + b"}")
        if all(key in members for key in (*_KEYS, "headers")):
            return members, value
    members = orjson.loads(line)
    return members, bytes_of("value", members)


def _are_json(*texts: bytes) -> bool:
    try:
        return all(orjson.loads(text) is not None for text in texts)
    except ValueError:
        return False


def _number(key: str, members: Mapping[str, Any]) -> int:
    if type(value := members[key]) is not int:
        raise ValueError(f"{key}: expected an integer, got {value!r:.40}")
    return value
