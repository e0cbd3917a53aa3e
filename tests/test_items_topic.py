"""A worker process that reads the items topic of a real Kafka: what it is told acts on its lists, and outlives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_worker.commands import check
from tests.conftest import MakeTopic
from tests.support.fleet import Event, read_all
from tests.support.scene import Scene
from tests.test_commands import call

pytestmark = pytest.mark.kafka

ITEMS = 12


def clicks(events: int) -> list[Event]:
    """Of users who go through all items again and again."""
    return [_click(f"u{k % 5}", f"i{k % ITEMS}", 1_700_000_000 + k) for k in range(events)]


def _click(user: str, item: str, ts: int) -> Event:
    value = json.dumps({"user": user, "item": item, "type": "view", "ts": ts})
    return user, value.encode(), None, True


class Shop:
    def __init__(self, scene: Scene, topic: str) -> None:
        self.scene, self.topic = scene, topic

    def tell(self, item: str, **parts: object) -> None:
        value = json.dumps({"item": item, **parts}).encode() if parts else None
        producer = Producer({"bootstrap.servers": self.scene.bootstrap})
        producer.produce(self.topic, value, item.encode())
        assert producer.flush(20) == 0

    def serve(self, events: int) -> set[str]:
        """Send events, wait for their lists, and return the items in them."""
        before = sum(1 for _ in read_all(self.scene.bootstrap, self.scene.output))
        self.scene.produce(clicks(events))
        self.scene.fleet.wait_for(self.scene.done, "all of it")
        lists = [json.loads(message.value()) for message in read_all(self.scene.bootstrap, self.scene.output)][before:]
        return {entry["item"] for made in lists for entry in made["items"]}


@pytest.fixture
def shop(kafka_bootstrap: str, make_topic: MakeTopic, tmp_path: Path) -> Iterator[Shop]:
    topic = make_topic("items", 2, cleanup_policy="compact")
    scene = Scene(kafka_bootstrap, "", tmp_path, partitions=2, environment={"KAFKA__ITEMS_TOPIC": topic})
    with scene.fleet:
        yield Shop(scene, topic)


def test_what_is_told_of_items_acts_on_lists_and_outlives_the_worker(shop: Shop) -> None:
    """Before the first list, while the worker runs, and after kill -9: what was read is in the checkpoint."""
    shop.tell("i0", title="Blue cup", blocked=True)
    shop.tell("i1", title="Green cup", available=False)
    for n in range(2, 200):
        shop.tell(f"i{n}", title=f"Cup {n}", category="cups", price=n) if n % 40 == 2 else None
    shop.scene.fleet.start("0")
    listed = shop.serve(120)
    assert len(listed) > 4
    assert not listed & {"i0", "i1"}
    shop.tell("i2")  # gone
    shop.tell("i1", title="Green cup", available=True)
    shop.scene.fleet.wait_for(lambda: _read(shop) >= 9, "what was told")
    listed = shop.serve(120)
    assert "i1" in listed
    assert not listed & {"i0", "i2"}
    shop.scene.fleet.wait_for(lambda: _written(shop), "a checkpoint")
    shop.scene.fleet.kill("0")
    shop.scene.fleet.start("0")
    listed = shop.serve(60)
    assert "i1" in listed
    assert not listed & {"i0", "i2"}
    assert _read(shop) == 0, "all of it is in the checkpoint"


def _read(shop: Shop) -> int:
    return int(shop.scene.fleet.metrics("0").get("stream_worker_item_records_read_total", 0))


def _written(shop: Shop) -> bool:
    return shop.scene.fleet.metrics("0").get("stream_worker_unwritten_seconds", 1.0) == 0.0


def test_check_says_how_the_newest_items_are_understood(
    kafka_bootstrap: str, make_topic: MakeTopic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_kafka", lambda settings: "not asked here")
    environment = {"KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "CHECKPOINT__PATH": str(tmp_path)}

    def line(topic: str) -> str:
        _, out, _ = call("check", KAFKA__ITEMS_TOPIC=topic, **environment)
        return next(line for line in out.splitlines() if " items: " in line)

    topic = make_topic("items", 2, cleanup_policy="compact")
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for key, value in ((b"a", b'{"item":"a","price":"dear"}'), (b"b", None), (b"c", b"nonsense")):
        producer.produce(topic, value, key, 0)
    assert producer.flush(20) == 0
    good = line(topic)
    assert good.startswith(f"ok    items: {topic}, compacted; its newest 3 records: 2 items (1 gone), 1 can't be read")
    assert "price: expected a finite number (32 bits), got 'dear'" in good
    deletes = line(make_topic("items", 1, retention_ms="1000"))
    assert deletes.startswith("FAIL  items: ")
    assert "--add-config cleanup.policy=compact" in deletes
