"""Avro, Protobuf and JSON Schema records of a nested order through a real Kafka, registry and worker to lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from google.protobuf.message_factory import GetMessageClass

from stream_worker.backends.registry.protobuf_files import file_of
from tests.backends.registry.framed import avro, frame, protobuf
from tests.backends.registry.test_schema_registry import register
from tests.support.fleet import read_all
from tests.support.scene import Scene
from tests.support.schema_registry import SchemaRegistry

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]

PARTITIONS, ORDERS, USERS, NOON_MS = 2, 120, 20, 1_767_268_800_000
LINE = {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}, {"name": "n", "type": "int"}]}
AVRO = {
    "type": "record", "name": "Order",
    "fields": [
        {"name": "customer", "type": {"type": "record", "name": "C", "fields": [{"name": "id", "type": "string"}]}},
        {"name": "sent_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "lines", "type": {"type": "array", "items": LINE}},
    ],
}  # fmt: skip
PROTOBUF = """syntax = "proto3"; import "google/protobuf/timestamp.proto";
message Order {
  message C { string id = 1; } C customer = 1; google.protobuf.Timestamp sent_at = 2;
  message Line { string sku = 1; int32 n = 2; } repeated Line lines = 3;
}"""
EVENTS = {"USER": "customer.id", "TS": "sent_at", "EACH": "lines", "ITEM": ".sku", "DEFAULT_TYPE": "purchase"}


@pytest.fixture
def scene(kafka_bootstrap: str, redis_url: str, schema_registry: SchemaRegistry, tmp_path: Path) -> Iterator[Scene]:
    environment = {f"EVENTS__{key}": value for key, value in EVENTS.items()} | {"REGISTRY__URL": schema_registry.url}
    scene = Scene(kafka_bootstrap, redis_url, tmp_path, partitions=PARTITIONS, environment=environment)
    with scene.fleet:
        yield scene


def test_framed_orders_become_lists_and_a_registry_that_is_away_is_waited_for(
    scene: Scene, schema_registry: SchemaRegistry
) -> None:
    """No record goes to the dead letters for it, and each event is counted once."""
    writers = [*_writers(schema_registry)]
    send(scene, writers)
    assert "ok    registry: http://127.0.0.1:" in scene.fleet.command("check")
    schema_registry.stop()
    try:
        scene.fleet.start("a")
        scene.fleet.wait_for(
            lambda: "does not answer" in scene.fleet.log("a"), "the worker waits for the registry", 400
        )
        assert scene.progress() == 0
    finally:
        schema_registry.start()
    scene.fleet.wait_for(lambda: scene.progress() >= ORDERS + 3, "all records")
    assert scene.fleet.stop("a") == 0
    assert scene.check() >= USERS
    errors = [dict(message.headers())["error"].decode() for message in read_all(scene.bootstrap, scene.dead)]
    assert sorted(errors) == ["BadFrame", "NotAvro", "UnknownSchema"]


def order(number: int) -> dict[str, Any]:
    lines = [{"sku": f"item-{number * 7 + at}", "n": at + 1} for at in range(1 + number % 3)]
    return {"customer": {"id": f"user-{number % USERS}"}, "sent_at": NOON_MS + number * 1_000, "lines": lines}


def _writers(registry: SchemaRegistry) -> Iterator[Callable[[dict[str, Any]], bytes]]:
    yield partial(avro, AVRO, schema_id=register(registry, AVRO)[1])
    kind: Any = GetMessageClass(file_of("order.proto", PROTOBUF, []).message_types_by_name["Order"])
    proto_id = register(registry, PROTOBUF, "PROTOBUF")[1]

    def write(order: dict[str, Any]) -> bytes:
        return protobuf(kind(**order | {"sent_at": {"seconds": order["sent_at"] // 1_000}}), proto_id)

    yield write
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": "Order"}
    json_id = register(registry, schema, "JSON")[1]
    yield lambda order: frame(json_id, json.dumps(order).encode())


def send(scene: Scene, writers: list[Callable[[dict[str, Any]], bytes]]) -> None:
    """Send the formats in turn, and three bad records between them; note in `scene.sent` where each event went."""
    producer = Producer({"bootstrap.servers": scene.bootstrap, "enable.idempotence": True})

    def delivered(user: str, events: int, error: Any, message: Any) -> None:
        assert error is None
        place = message.partition(), message.offset()
        scene.sent.valid[user, place[0]] += [place[1]] * events
        if not events:
            scene.sent.bad.add(place)

    def produce(user: str, value: bytes, events: int) -> None:
        at = sum(user.encode()) % PARTITIONS
        noted = partial(delivered, user, events)
        producer.produce(scene.topic, key=user, value=value, partition=at, timestamp=NOON_MS, on_delivery=noted)

    for number in range(ORDERS):
        one = order(number)
        produce(one["customer"]["id"], writers[number % 3](one), len(one["lines"]))
    good = writers[0](order(1))
    for bad in (good[:-3], frame(2_000_000_000, good[5:]), b"\0\0"):
        produce("user-1", bad, 0)
    assert producer.flush(30) == 0
