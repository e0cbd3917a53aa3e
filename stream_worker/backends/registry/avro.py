"""Reads Avro records as documents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader

from stream_worker.backends.registry.avro_schema import parsed
from stream_worker.backends.registry.framing import FRAME_BYTES, Read
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.reasons import shorten


def avro_reader(schema: str, referred: Iterable[str]) -> Read:
    """Return a reader of framed Avro by this schema and those that it refers to. Raises if they can't be used."""
    plain, is_wrapped = parsed(_loaded(schema), [_loaded(other) for other in referred])

    def read(value: bytes) -> Any:
        stream = BytesIO(value)
        stream.seek(FRAME_BYTES)
        try:
            document: Any = schemaless_reader(stream, plain, None)
        except Exception as fault:  # bytes may be wrong in any way
            raise _not_avro(f"bytes that end or go wrong: {type(fault).__name__} {fault}") from None
        if stream.tell() != len(value):
            raise _not_avro(f"{len(value) - stream.tell()} bytes more")
        return document["value"] if is_wrapped else document

    return read


def _loaded(schema: str) -> Any:
    """Return the JSON of a schema; a primitive type may stand there without quotes."""
    return json.loads(schema) if schema.lstrip()[:1] in ('"', "{", "[") else schema.strip()


def _not_avro(got: str) -> InvalidEvent:
    return InvalidEvent("NotAvro", shorten(f"expected Avro of the record's schema, got {got}"))
