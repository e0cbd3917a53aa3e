"""Records are read by the schemas of a real registry, with what these refer to, also after it was away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from google.protobuf.message_factory import GetMessageClass

from stream_worker.backends.registry import RegistryConfig, open_registry
from stream_worker.backends.registry.protobuf_files import file_of
from stream_worker.backends.registry.registry import Registry
from stream_worker.core.errors import ConfigurationError, InvalidEvent, Unavailable
from tests.backends.registry.framed import avro, frame, protobuf
from tests.support.schema_registry import SchemaRegistry

pytestmark = pytest.mark.kafka

ITEM = {"type": "record", "name": "Item", "namespace": "shop", "fields": [{"name": "id", "type": "string"}]}
ORDER = {
    "type": "record", "name": "Order",
    "fields": [
        {"name": "user", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "items", "type": {"type": "array", "items": "shop.Item"}},
    ],
}  # fmt: skip
PROTO_ITEM = 'syntax = "proto3"; package shop; message Item { string id = 1; repeated string tags = 2; }'
PROTO_ORDER = """syntax = "proto3"; package shop; import "shop/item.proto"; import "google/protobuf/timestamp.proto";
message Ignored {}
message Order { string user = 1; repeated Item items = 2; google.protobuf.Timestamp at = 3; }"""
_SUBJECTS = count()


def register(service: SchemaRegistry, schema: Any, kind: str = "AVRO", **refers_to: str) -> tuple[str, int]:
    """Register a schema under a subject of its own, and return the subject and the schema's id.

    `refers_to`: subject -> the name by which the schema refers to it.
    """
    text = schema if isinstance(schema, str) else json.dumps(schema)
    references = [SchemaReference(name, subject.replace("_", "-"), 1) for subject, name in refers_to.items()]
    client = SchemaRegistryClient({"url": service.url, "timeout": 30})
    subject = f"subject-{next(_SUBJECTS)}"
    schema_id = client.register_schema(subject, Schema(text, kind, references))
    client.close()
    return subject, schema_id


def config_of(service: SchemaRegistry, **settings: Any) -> RegistryConfig:
    return RegistryConfig(**{"url": service.url, "timeout_seconds": 30, **settings})


@pytest.fixture
def registry(schema_registry: SchemaRegistry) -> Iterator[Registry]:
    opened = open_registry(config_of(schema_registry))
    yield opened
    opened.close()


def test_avro_is_read_with_the_schemas_that_its_schema_refers_to(
    schema_registry: SchemaRegistry, registry: Registry
) -> None:
    item, _ = register(schema_registry, ITEM)
    _, order = register(schema_registry, ORDER, **{item.replace("-", "_"): "shop.Item"})
    value = {"user": "u", "at": 1_796_040_000_000, "items": [{"id": "a"}, {"id": "b"}]}
    assert registry.document(avro(ORDER, value, order, [ITEM])) == value


def test_protobuf_is_read_with_the_files_that_its_schema_imports(
    schema_registry: SchemaRegistry, registry: Registry
) -> None:
    """Two files deep, as text, which is how Apicurio keeps them."""
    item, _ = register(schema_registry, PROTO_ITEM, "PROTOBUF")
    _, order = register(schema_registry, PROTO_ORDER, "PROTOBUF", **{item.replace("-", "_"): "shop/item.proto"})
    kind = file_of("order.proto", PROTO_ORDER, [("shop/item.proto", PROTO_ITEM)]).message_types_by_name["Order"]
    message: Any = GetMessageClass(kind)(user="u")
    message.items.add(id="a", tags=["x", "y"])
    message.at.seconds = 1_796_040_000
    assert registry.document(protobuf(message, order, b"\2\2")) == {
        "user": "u", "items": [{"id": "a", "tags": ["x", "y"]}], "at": "2026-11-30T12:00:00Z"
    }  # fmt: skip


def test_json_schema_is_the_json_after_the_frame(schema_registry: SchemaRegistry, registry: Registry) -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    _, number = register(schema_registry, schema, "JSON")
    assert registry.document(frame(number, b'{"user":"u","items":[{"id":"a"}]}'))["items"] == [{"id": "a"}]
    with pytest.raises(InvalidEvent, match="NotJson"):
        registry.document(frame(number, b"{"))


@pytest.mark.parametrize("number", [0, 77_777, 2**31 - 1, 2**31, 2**32 - 1])
def test_an_id_that_the_registry_does_not_know_is_named(registry: Registry, number: int) -> None:
    for _ in range(2):
        with pytest.raises(InvalidEvent, match=f"UnknownSchema: expected the id of a schema .*, got {number}$"):
            registry.document(frame(number, b"\0"))


def test_a_schema_that_cant_be_used_is_named_with_its_fault(
    schema_registry: SchemaRegistry, registry: Registry
) -> None:
    _, number = register(
        schema_registry, {**ORDER, "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}
    )
    for _ in range(2):
        with pytest.raises(
            InvalidEvent, match=f"BadSchema: .* got schema {number}: an array of values that take no bytes"
        ):
            registry.document(frame(number, b"\0"))


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\1x", b"{}"])
def test_what_has_no_frame_is_refused_with_what_was_found(registry: Registry, value: bytes) -> None:
    with pytest.raises(InvalidEvent, match=r"BadFrame: expected a zero byte.* got "):
        registry.document(value)


def test_the_registry_says_what_it_keeps(schema_registry: SchemaRegistry, registry: Registry) -> None:
    assert registry.describe() == f"{schema_registry.url} keeps schemas of AVRO, JSON, PROTOBUF"


def test_an_address_without_its_path_is_a_wrong_setting_and_no_unknown_schema(schema_registry: SchemaRegistry) -> None:
    """Every record would be a dead letter."""
    registry = open_registry(config_of(schema_registry, url=schema_registry.url.removesuffix("/apis/ccompat/v7")))
    with pytest.raises(ConfigurationError, match=r"registry.url: .* is a path missing\?"):
        registry.document(frame(1, b"\0"))
    with pytest.raises(ConfigurationError, match=r"registry\.url: "):
        registry.describe()


def test_a_registry_that_was_killed_is_waited_for_and_schemas_once_read_do_not_need_it(
    schema_registry: SchemaRegistry,
) -> None:
    _, known = register(schema_registry, {"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]})
    _, new = register(schema_registry, {"type": "record", "name": "B", "fields": [{"name": "b", "type": "int"}]})
    registry = open_registry(config_of(schema_registry))
    assert registry.document(frame(known, b"\2")) == {"a": 1}
    time.sleep(1)  # its database writes twice a second
    schema_registry.kill()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not answer"):
                registry.document(frame(new, b"\4"))
            with pytest.raises(Unavailable, match="does not answer"):
                open_registry(config_of(schema_registry)).document(frame(new, b"\4"))
        assert registry.document(frame(known, b"\4")) == {"a": 2}
    finally:
        schema_registry.start()
    assert registry.document(frame(new, b"\4")) == {"b": 2}


def test_a_registry_that_hangs_is_given_up_after_its_time(schema_registry: SchemaRegistry) -> None:
    registry = open_registry(config_of(schema_registry, timeout_seconds=0.3))
    schema_registry.pause()
    started = time.monotonic()
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            registry.document(frame(1, b"\4"))
    finally:
        schema_registry.resume()
    assert time.monotonic() - started < 10
