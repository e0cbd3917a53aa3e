"""The whole program on a real Kafka and Redis: every valid event is in the lists once, every bad one in the dead
letters once, whatever happens to a worker half way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.core.hostile import hostile_records
from tests.fleet import Fleet, Sent, check_contract, committed, produce

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

PARTITIONS = 8
START_TS = 1_700_000_000
RING = 50


class Scene:
    """A fresh set of topics with a log in it: synthetic shoppers, bad records planted between them."""

    def __init__(self, bootstrap: str, redis_url: str, make_topic: Callable[..., str], folder: Path) -> None:
        self.bootstrap = bootstrap
        self.topic = make_topic(partitions=PARTITIONS)
        self.output, self.dead = make_topic(partitions=PARTITIONS), make_topic(partitions=1)
        self.group = f"group-{self.topic}"
        self.fleet = Fleet(
            folder,
            KAFKA__BOOTSTRAP_SERVERS=bootstrap,
            KAFKA__INPUT_TOPIC=self.topic,
            KAFKA__OUTPUT_TOPIC=self.output,
            KAFKA__DEAD_LETTER_TOPIC=self.dead,
            KAFKA__GROUP_ID=self.group,
            KAFKA__SESSION_TIMEOUT_MS="6000",
            MEMORY__REDIS_URL=redis_url,
            CHECKPOINT__PATH=str(folder / "checkpoints"),
            CHECKPOINT__INTERVAL_SECONDS="1",
            METRICS__PORT="0",
        )

    def produce(self, events: int, bad_every: int = 97, seed: int = 0) -> Sent:
        return produce(self.bootstrap, self.topic, shoppers(events, bad_every, seed))

    def done(self, total: int) -> bool:
        return committed(self.bootstrap, self.group, self.topic, PARTITIONS) >= total

    def progress(self) -> int:
        return committed(self.bootstrap, self.group, self.topic, PARTITIONS)

    def check(self, sent: Sent) -> None:
        assert check_contract(self.bootstrap, self.output, self.dead, sent) > 0


def shoppers(events: int, bad_every: int, seed: int):  # type: ignore[no-untyped-def]
    """(key, value, timestamp_ms, valid): 300 users who walk through 500 items, and hostile records in between."""
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
def scene(kafka_bootstrap: str, redis_url: str, make_topic: Callable[..., str], tmp_path: Path) -> Scene:
    return Scene(kafka_bootstrap, redis_url, make_topic, tmp_path)


def remembered(fleet: Fleet) -> dict[tuple[str, int], tuple[int, list[str]]]:
    records = [json.loads(line) for line in fleet.command("memory").splitlines()]
    return {(r["user"], r["partition"]): (r["events"], r["ring"]) for r in records}


def expected_memories(sent: Sent) -> dict[tuple[str, int], tuple[int, list[str]]]:
    return {key: (len(items), items[-RING:]) for key, items in sent.items.items() if items}


def test_every_event_is_counted_once_while_workers_come_and_go(scene: Scene) -> None:
    """Two workers on eight partitions. One is stopped and started, killed and started, killed and left down until the
    other has taken its partitions over; then the lists, the dead letters and the memories are what the log says."""
    sent = scene.produce(24_000)
    total = sent.events + len(sent.bad)
    with scene.fleet as fleet:
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
        fleet.wait_for(lambda: scene.done(total), "takeover by the other worker")
        assert "partitions claimed" in fleet.log("b")
        assert fleet.stop("b") == 0
        scene.check(sent)
        assert remembered(fleet) == expected_memories(sent)


def test_a_worker_that_comes_back_later_continues_where_the_log_is(scene: Scene) -> None:
    """Stopped at the end, started again with more events: nothing is repeated, and memories go on."""
    first = scene.produce(2_000)
    with scene.fleet as fleet:
        fleet.start("a")
        fleet.wait_for(lambda: scene.done(first.events + len(first.bad)), "the first part")
        assert fleet.stop("a") == 0
        second = scene.produce(2_000, seed=1)
        sent = Sent(first.bad | second.bad)
        for part in (first, second):
            for key, offsets in part.valid.items():
                sent.valid[key] += offsets
                sent.items[key] += part.items[key]
        fleet.start("a")
        fleet.wait_for(lambda: scene.done(sent.events + len(sent.bad)), "the second part")
        assert fleet.stop("a") == 0
        scene.check(sent)
        assert remembered(fleet) == expected_memories(sent)


def test_a_thousand_hostile_records_end_in_the_dead_letters(scene: Scene) -> None:
    """Each with its reason, and the good ones between them are all counted."""
    sent = scene.produce(1_000, bad_every=1)
    assert len(sent.bad) == 1_000
    with scene.fleet as fleet:
        fleet.start("a")
        fleet.wait_for(lambda: scene.done(2_000), "all records")
        assert fleet.stop("a") == 0
        scene.check(sent)
