"""The schema registry: makes documents of framed records, by the schemas that it keeps."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka.schema_registry import Schema

from stream_worker.backends.registry.config import RegistryConfig
from stream_worker.backends.registry.framing import FRAME_BYTES, Read, schema_id
from stream_worker.backends.registry.schemas import Schemas
from stream_worker.core.errors import InvalidEvent, StreamWorkerError
from stream_worker.core.json_object import json_document
from stream_worker.core.reasons import shorten

_MOST_READERS = 1_000  # schemas of one topic whose readers are kept, and unknown ids that are remembered (not tuned)
_UNKNOWN_SECONDS = 30.0  # between two questions for an id that is unknown (not tuned)


class Registry:
    """Reads framed records. Keeps a reader for each schema id, also for one whose schema can't be used.

    A schema never changes, so that it is asked for once.
    """

    def __init__(self, config: RegistryConfig) -> None:
        self._schemas = Schemas(config)
        self._url = config.url
        self._readers: dict[int, Read] = {}
        self._unknown: dict[int, tuple[float, Read]] = {}

    def document(self, value: bytes) -> Any:
        """Return what a framed record says, as JSON would.

        Raises InvalidEvent for a record that can't be read, Unavailable while the registry that knows its schema does
        not answer, and ConfigurationError if its first answer shows that a setting is wrong.
        """
        number = schema_id(value)
        read = self._readers.get(number) or self._reader(number)
        return read(value)

    def describe(self) -> str:
        """Ask the registry something, and return its answer in words."""
        return f"{self._url} keeps schemas of {', '.join(self._schemas.types())}"

    def close(self) -> None:
        self._schemas.close()

    def _reader(self, number: int) -> Read:
        until, refuse = self._unknown.get(number, (0.0, None))
        if refuse is not None and time.monotonic() < until:
            return refuse
        try:
            schema = self._schemas.by_id(number)
        except InvalidEvent as fault:
            _bounded(self._unknown)[number] = time.monotonic() + _UNKNOWN_SECONDS, _refusing(fault.error, fault.reason)
            raise
        read = _bounded(self._readers)[number] = self._made(number, schema)
        return read

    def _made(self, number: int, schema: Schema) -> Read:
        try:
            return _reader_of(schema, self._schemas)
        except StreamWorkerError:
            raise
        except Exception as fault:  # a schema may be wrong in any way
            reason = shorten(f"expected a schema that can be used, got schema {number}: {fault}")
            return _refusing("BadSchema", reason)


def _reader_of(schema: Schema, schemas: Schemas) -> Read:
    text, referred = schema.schema_str or "", [(name, s.schema_str or "") for name, s in schemas.referred(schema)]
    match schema.schema_type:
        case "AVRO":
            from stream_worker.backends.registry.avro import avro_reader

            return avro_reader(text, [other for _, other in referred])
        case "PROTOBUF":
            from stream_worker.backends.registry.protobuf import protobuf_reader

            return protobuf_reader(text, referred)
        case "JSON":
            return lambda value: json_document(value[FRAME_BYTES:], ())  # no key is looked for twice
    raise ValueError(f"its type is {schema.schema_type}")


def _refusing(error: str, reason: str) -> Read:
    def read(_: bytes) -> Any:
        raise InvalidEvent(error, reason)

    return read


def _bounded(kept: dict[int, Any]) -> dict[int, Any]:
    """Make room for one more; the oldest leaves."""
    if len(kept) >= _MOST_READERS:
        del kept[next(iter(kept))]
    return kept
