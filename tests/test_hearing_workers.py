"""Workers as processes that hear each other on a real Kafka and Redis: each learns of all events, and publishes for the
users of its own partitions alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Event
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

START_TS = 1_700_000_000
_NAME = "stream_worker_events_counted_total"


def clicks(events: int, first: int = 0) -> Iterator[Event]:
    """Of 200 users, spread over all partitions."""
    for k in range(first, first + events):
        event = {"user": f"u{k * 7 % 200}", "item": f"i{k * 5 % 90}", "type": "view", "ts": START_TS + k}
        yield f"u{k * 7 % 200}", json.dumps(event).encode(), (START_TS + k) * 1000, True


@pytest.fixture
def scene(kafka_bootstrap: str, redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(kafka_bootstrap, redis_url, tmp_path)
    with scene.fleet:
        yield scene


def counted(scene: Scene, slot: str) -> tuple[float, float]:
    """Events of owned partitions, and of heard ones, that the newest start of a slot has counted."""
    metrics = scene.fleet.metrics(slot)
    return tuple(metrics.get(f'{_NAME}{{of="{of}"}}', 0.0) for of in ("owned", "heard"))  # type: ignore[return-value]


def has_all(scene: Scene, *slots: str) -> bool:
    return all(sum(counted(scene, slot)) == scene.sent.events for slot in slots)


def test_two_workers_learn_of_each_others_events_and_publish_each_list_once(scene: Scene) -> None:
    """One leaves in good order: the other goes on with the counts it has, and reads nothing again that it had heard."""
    fleet = scene.fleet
    fleet.start("a")
    fleet.start("b")
    fleet.wait_for(lambda: _owners(scene) == 2, "a place for both")
    scene.produce(clicks(6_000))
    fleet.wait_for(scene.done, "all lists")
    fleet.wait_for(lambda: has_all(scene, "a", "b"), "all events in both workers")
    for slot in ("a", "b"):
        owned, heard = counted(scene, slot)
        assert owned > 1_000
        assert heard > 1_000
        assert fleet.metrics(slot)["stream_worker_hearing"] == 1
    assert fleet.stop("b") == 0
    fleet.wait_for(lambda: fleet.metrics("a").get("stream_worker_partitions_owned") == scene.partitions, "a takeover")
    scene.produce(clicks(3_000, first=6_000))
    fleet.wait_for(scene.done, "all lists of the one that is left")
    fleet.wait_for(lambda: has_all(scene, "a"), "all events in the one that is left")
    assert sum(_gaps(scene, "a")) == 0
    assert fleet.stop("a") == 0
    scene.check()
    scene.check_memories()
    assert "before it was heard to its end" not in fleet.log("a")


def _owners(scene: Scene) -> int:
    owned = [scene.fleet.metrics(slot).get("stream_worker_partitions_owned", 0) for slot in ("a", "b")]
    return sum(map(bool, owned)) if sum(owned) == scene.partitions else 0


def _gaps(scene: Scene, slot: str) -> list[float]:
    metrics = scene.fleet.metrics(slot)
    return [value for name, value in metrics.items() if name.startswith("stream_worker_heard_gap{")]
