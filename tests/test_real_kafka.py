"""The whole program on a real Kafka and Redis: every valid event is in the lists once, every bad one in the dead
letters once, whatever happens to a worker half way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.core.hostile import hostile_records
from tests.support.fleet import Event
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

START_TS = 1_700_000_000


def shoppers(events: int, bad_every: int = 97, seed: int = 0) -> list[Event]:
    """300 users who walk through 500 items, and hostile records in between."""
    return list(_shoppers(events, bad_every, seed))


def _shoppers(events: int, bad_every: int, seed: int) -> Iterator[Event]:
    rng = np.random.default_rng(seed)
    bad = iter(hostile_records(events // bad_every + 1, seed))
    last = rng.integers(0, 500, size=300)
    for k in range(events):
        user = int(rng.integers(0, 300))
        last[user] = (last[user] + rng.integers(1, 4)) % 500
        event = {"user": f"u{user}", "item": int(last[user]), "type": "view", "ts": START_TS + k}
        yield f"u{user}", json.dumps(event).encode(), (START_TS + k) * 1000, True
        if k % bad_every == 0:
            yield f"u{user}", next(bad)[0], (START_TS + k) * 1000, False


@pytest.fixture
def scene(kafka_bootstrap: str, redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(kafka_bootstrap, redis_url, tmp_path)
    with scene.fleet:
        yield scene


def test_every_event_is_counted_once_while_workers_come_and_go(scene: Scene) -> None:
    """Two workers on eight partitions. One is stopped and started, killed and started, killed and left down until the
    other has taken its partitions over; then the lists, the dead letters and the memories are what the log says."""
    scene.produce(shoppers(24_000))
    fleet, total = scene.fleet, scene.sent.records
    fleet.start("a")
    fleet.start("b")
    fleet.wait_for(lambda: scene.progress() > total // 8, "first progress")
    assert fleet.stop("a") == 0
    fleet.start("a")
    fleet.wait_for(lambda: scene.progress() > total // 3, "progress after SIGTERM")
    fleet.kill("b")
    fleet.start("b")
    fleet.wait_for(lambda: scene.progress() > total // 2, "progress after kill -9")
    fleet.kill("a")
    scene.produce(shoppers(2_000, seed=1))  # or it may have published all of its partitions already
    fleet.wait_for(scene.done, "takeover by the other worker")
    assert "partitions claimed" in fleet.log("b")
    assert fleet.stop("b") == 0
    scene.check()
    scene.check_memories()


def test_a_worker_that_comes_back_later_continues_where_the_log_is(scene: Scene) -> None:
    """Stopped at the end, started again with more events: nothing is repeated, and memories go on."""
    for seed in (0, 1):
        scene.produce(shoppers(2_000, seed=seed))
        scene.fleet.start("a")
        scene.fleet.wait_for(scene.done, "all of it")
        assert scene.fleet.stop("a") == 0
    scene.check()
    scene.check_memories()


def test_a_thousand_hostile_records_end_in_the_dead_letters(scene: Scene) -> None:
    """Each with its reason, and the good ones between them are all counted."""
    scene.produce(shoppers(1_000, bad_every=1))
    assert len(scene.sent.bad) == 1_000
    scene.fleet.start("a")
    scene.fleet.wait_for(scene.done, "all records")
    assert scene.fleet.stop("a") == 0
    scene.check()
