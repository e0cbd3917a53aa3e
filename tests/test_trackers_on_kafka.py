"""Recorded records of each tracker through a real Kafka and a worker to lists: contract 1 counts every event of a
record, and what is no event is a dead letter once, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_worker.core.events import ELEMENTS_HEADER
from tests.support.fleet import Sent, read_all
from tests.support.scene import Scene
from tests.test_presets import NOON, PRESETS, records, seconds

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]

PARTITIONS, TIMES = 2, 3


@pytest.fixture
def scene(
    kafka_bootstrap: str,
    redis_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # forty records are not worth compiled kernels
    scene = Scene(
        kafka_bootstrap,
        redis_url,
        tmp_path,
        partitions=PARTITIONS,
        environment={"EVENTS__PRESET": request.getfixturevalue("name")},
    )
    with scene.fleet:
        yield scene


@pytest.mark.parametrize("name", PRESETS)
def test_a_trackers_topic_becomes_lists(name: str, scene: Scene) -> None:
    """All of it comes three times, as trackers send at least once: a duplicate counts in `events`, too."""
    sent, total = send(scene, name)
    scene.fleet.start("a")
    scene.fleet.wait_for(lambda: scene.progress() >= total, "all records")
    assert scene.fleet.stop("a") == 0
    scene.sent = sent
    assert scene.check() >= len(sent.valid)
    assert (
        elements_of_dead_letters(scene)
        == [wanted["elements"] for wanted in records(name)[1] if "elements" in wanted] * TIMES
    )


def send(scene: Scene, name: str) -> tuple[Sent, int]:
    """Produce a tracker's records; return where each event and each bad record went, and the number of records."""
    sent, total = Sent(), 0
    producer = Producer({"bootstrap.servers": scene.bootstrap, "enable.idempotence": True})
    for _ in range(TIMES):
        for record, wanted in zip(*records(name), strict=True):
            total += 1

            def delivered(error: Any, message: Any, wanted: dict[str, Any] = wanted) -> None:
                assert error is None
                note(sent, wanted, message)

            events = wanted.get("events") or [{"user": ""}]
            producer.produce(
                scene.topic,
                key=record.key or events[0]["user"],
                value=record.value,
                headers=list(record.headers),
                partition=sum(events[0]["user"].encode()) % PARTITIONS,
                timestamp=int(seconds(NOON) * 1000),
                on_delivery=delivered,
            )
    assert producer.flush(30) == 0
    return sent, total


def note(sent: Sent, wanted: dict[str, Any], message: Any) -> None:
    place = message.partition(), message.offset()
    for event in wanted.get("events", []):
        sent.valid[event["user"], place[0]].append(place[1])
    if "error" in wanted:
        sent.bad.add(place)


def elements_of_dead_letters(scene: Scene) -> list[list[int]]:
    """Return the elements that dead letters name, of those that name any."""
    headers = [dict(message.headers()) for message in read_all(scene.bootstrap, scene.dead)]
    return [json.loads(b"[%s]" % found[ELEMENTS_HEADER]) for found in headers if ELEMENTS_HEADER in found]
