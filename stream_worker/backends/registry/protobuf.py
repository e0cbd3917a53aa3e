"""Reads Protobuf records as documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message_factory import GetMessageClass

from stream_worker.backends.registry.framing import FRAME_BYTES, Read, message_of
from stream_worker.backends.registry.protobuf_files import file_of
from stream_worker.backends.registry.protobuf_messages import Messages
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.reasons import shorten

_NAME = "stream_worker_record.proto"  # no file that a schema imports


def protobuf_reader(schema: str, referred: Iterable[tuple[str, str]]) -> Read:
    """Return a reader of framed Protobuf by this schema and the files that it imports. Raises if they can't be used."""
    file, messages = file_of(_NAME, schema, referred), Messages()
    classes: dict[tuple[int, ...], Any] = {}

    def read(value: bytes) -> Any:
        place, start = ((0,), 6) if value[FRAME_BYTES : FRAME_BYTES + 1] == b"\0" else message_of(value)
        kind = classes.get(place)
        if kind is None:
            kind = classes[place] = GetMessageClass(_descriptor(file, place))
        message = kind()
        try:
            message.ParseFromString(value[start:])
            return messages.document(message)
        except Exception as fault:  # bytes may be wrong in any way
            raise _not_protobuf(f"{type(fault).__name__} {fault}") from None

    return read


def _descriptor(file: FileDescriptor, place: tuple[int, ...]) -> Descriptor:
    """Return the message at a place of the schema. Raises InvalidEvent if there is none."""
    inside = list(file.message_types_by_name.values())
    for depth, at in enumerate(place, 1):
        if not 0 <= at < len(inside):
            raise _not_protobuf(f"message {'.'.join(map(str, place[:depth]))}, which the schema does not have")
        found = inside[at]
        inside = list(found.nested_types)
    return found


def _not_protobuf(got: str) -> InvalidEvent:
    return InvalidEvent("NotProtobuf", shorten(f"expected Protobuf of the record's schema, got {got}"))
