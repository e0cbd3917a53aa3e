"""Framed records, written by fastavro and protobuf."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_writer
from google.protobuf.message import Message

from stream_worker.backends.registry.avro import avro_reader
from stream_worker.backends.registry.framing import Read


def frame(schema_id: int, value: bytes, message: bytes = b"") -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + message + value


def avro(schema: Any, value: Any, schema_id: int = 1, referred: Any = ()) -> bytes:
    stream, named = BytesIO(), dict[str, Any]()
    for other in referred:
        parse_schema(other, named_schemas=named)
    schemaless_writer(stream, parse_schema(schema, named_schemas=named), value)
    return frame(schema_id, stream.getvalue())


def protobuf(message: Message, schema_id: int = 1, place: bytes = b"\0") -> bytes:
    return frame(schema_id, message.SerializeToString(), place)


def reader_of(schema: Any) -> Read:
    return avro_reader(json.dumps(schema), [])


def record(**types: Any) -> dict[str, Any]:
    """The schema of a record with these fields."""
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in types.items()]}


def varint(number: int) -> bytes:
    """A number as Protobuf writes lengths."""
    bytes_ = bytearray()
    while number > 0x7F:
        bytes_.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*bytes_, number])


def zigzag(number: int) -> bytes:
    """A number as Avro writes one, also one of more than 64 bits."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)
