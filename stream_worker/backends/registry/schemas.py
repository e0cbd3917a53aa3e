"""Fetches schemas and what they refer to from a registry with Confluent's API."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from typing import TypeVar

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from stream_worker.backends.registry.config import RegistryConfig, client_settings
from stream_worker.backends.registry.faults import is_unknown, meaning
from stream_worker.core.errors import ConfigurationError, InvalidEvent

T = TypeVar("T")
# Ids are Java's positive ints. Of a larger one a registry would say that the path is wrong, not that the id is unknown.
_MAX_ID = 2**31 - 1
# Of the client's HTTP library, by its version; it tells of every request that went well.
_LIBRARY_LOGS = ("httpx", "httpx2")


class Schemas:
    """Asks the registry. Every method raises Unavailable while it does not answer, and ConfigurationError if its first
    answer shows that a setting is wrong."""

    def __init__(self, config: RegistryConfig) -> None:
        self._url = config.url
        self._answered = False
        for name in _LIBRARY_LOGS:
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            self._client = SchemaRegistryClient(client_settings(config))
        except (OSError, ssl.SSLError, ValueError) as fault:
            raise ConfigurationError(f"registry.ca_file, registry.cert_file, registry.key_file: {fault}") from fault

    def types(self) -> list[str]:
        """Return the types of schemas that the registry keeps."""
        return sorted(map(str, self._asked(self._client.get_schema_types) or ()))

    def by_id(self, schema_id: int) -> Schema:
        """Return the schema with this id. Raises InvalidEvent if there is none."""
        schema = self._asked(lambda: self._client.get_schema(schema_id)) if schema_id <= _MAX_ID else None
        if schema is None:
            raise InvalidEvent("UnknownSchema", f"expected the id of a schema in the registry, got {schema_id}")
        return schema

    def referred(self, schema: Schema) -> Iterator[tuple[str, Schema]]:
        """Yield the name and schema of all that a schema refers to, each once, before those that refer to it.

        Raises ValueError if one of them is not there.
        """
        return self._referred(schema, set())

    def _referred(self, schema: Schema, seen: set[tuple[str, int]]) -> Iterator[tuple[str, Schema]]:
        for reference in schema.references or ():
            subject, version = reference.subject or "", reference.version or 0
            if (subject, version) not in seen:
                seen.add((subject, version))
                other = self._of(reference)
                yield from self._referred(other, seen)
                yield reference.name or "", other

    def _of(self, reference: SchemaReference) -> Schema:
        subject, version = reference.subject or "", reference.version or 0
        # Deleted: a subject that was deleted softly still stands behind older records.
        found = self._asked(lambda: self._client.get_version(subject, version, deleted=True))
        if found is None:
            raise ValueError(f"it refers to version {version} of {subject}, which is not in the registry")
        return found.schema

    def _asked(self, ask: Callable[[], T]) -> T | None:
        """Return the registry's answer; None: it has no such schema."""
        try:
            answer = ask()
        except Exception as fault:  # of the HTTP library's, too, whose module differs by its version
            if not is_unknown(fault):
                raise meaning(fault, self._url, answered=self._answered) from fault
            answer = None
        self._answered = True
        return answer

    def close(self) -> None:
        self._client.close()
