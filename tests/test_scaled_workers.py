"""Replicas of one configuration with `worker.slot = "auto"`, as processes on a real Kafka and Redis."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.fleet import Event
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]

PARTITIONS, PORTION = 4, 200


def _clicks(first: int) -> list[Event]:
    clicks: list[Event] = []
    for number in range(first, first + PORTION):
        value = {"user": f"u{number % 31}", "item": f"i{number % 11}", "type": "view", "ts": 1_700_000_000 + number}
        clicks.append((f"u{number % 31}", json.dumps(value).encode(), None, True))
    return clicks


def _slot(scene: Scene, replica: str) -> str:
    """The slot that a replica says it has; empty before it has one."""
    found = (re.fullmatch(r'stream_worker_slot\{slot="(\w+)"\}', name) for name in scene.fleet.metrics(replica))
    return next((match[1] for match in found if match), "")


def _share(scene: Scene, *replicas: str) -> bool:
    owned = [scene.fleet.metrics(replica).get("stream_worker_partitions_owned", 0) for replica in replicas]
    return min(owned) > 0 and sum(owned) == PARTITIONS


def test_replicas_take_slots_of_their_own_and_a_killed_one_s_successor_takes_its_slot(
    kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> None:
    scene = Scene(kafka_bootstrap, redis_url, tmp_path, partitions=PARTITIONS, environment={"WORKER__SLOT": "auto"})
    with scene.fleet as fleet:
        for replica in ("first", "second"):
            fleet.start(replica, WORKER__SLOT="auto")
        fleet.wait_for(lambda: _share(scene, "first", "second"), "both have partitions", timeout=400)
        slots = {replica: _slot(scene, replica) for replica in ("first", "second")}
        assert sorted(slots.values()) == ["0", "1"]
        scene.produce(_clicks(0))
        fleet.wait_for(scene.done, "the first portion")
        fleet.kill("first")
        fleet.start("third", WORKER__SLOT="auto")
        fleet.wait_for(lambda: _share(scene, "third", "second"), "the successor has partitions", timeout=200)
        assert _slot(scene, "third") == slots["first"]
        scene.produce(_clicks(PORTION))
        fleet.wait_for(scene.done, "the second portion")
        assert [fleet.stop(replica) for replica in ("second", "third")] == [0, 0]
    scene.check()
    scene.check_memories()
