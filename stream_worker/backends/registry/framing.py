"""The frame in which Confluent's serializers put a record: a zero byte, the schema's id, in Protobuf also the message.

The message is found by its place in the schema: the index of an outermost message, of a message inside of it, and so
on. The numbers are zigzag varints, their count first; a single zero byte stands for the first message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stream_worker.core.errors import InvalidEvent

FRAME_BYTES = 5
_MOST_NESTED = 32  # messages in messages
_MAX_VARINT_BITS = 35

# Whole record, frame included -> document. Raises InvalidEvent.
Read = Callable[[bytes], Any]


def schema_id(value: bytes) -> int:
    """Return the id in the frame of a record. Raises InvalidEvent if there is none."""
    if len(value) < FRAME_BYTES or value[0] != 0:
        raise _bad(f"{value[:FRAME_BYTES]!r}")
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def message_of(value: bytes) -> tuple[tuple[int, ...], int]:
    """Return the place of a Protobuf record's message in its schema, and where its own bytes begin."""
    count, at = _number(value, FRAME_BYTES)
    if count == 0:
        return (0,), at
    if not 0 < count <= _MOST_NESTED:
        raise _bad(f"a message {count} deep")
    places = []
    for _ in range(count):
        place, at = _number(value, at)
        places.append(place)
    return tuple(places), at


def _number(value: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(value) and shift < _MAX_VARINT_BITS:
        byte = value[at]
        at, number, shift = at + 1, number | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
    raise _bad("a message index that does not end")


def _bad(got: str) -> InvalidEvent:
    return InvalidEvent("BadFrame", f"expected a zero byte, the id of a schema and a record, got {got}")
