"""Worker processes on a real Kafka whose topic is deleted and made again, whose committed offsets are gone, or whose
retention leaves nothing but the ends of transactions; memories in Redis, and in the checkpoint."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_END, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.backends.kafka_broker import make_again, topic_id
from tests.support.fleet import Event, committed, read_all
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

PARTITIONS = 2
RESTART = 75


def clicks(events: int, items: str = "i") -> list[Event]:
    return [_click(f"u{k % 20}", f"{items}{k % 30}", 1_700_000_000 + k) for k in range(events)]


def _click(user: str, item: str, ts: int) -> Event:
    value = json.dumps({"user": user, "item": item, "type": "view", "ts": ts})
    return user, value.encode(), None, True


@pytest.fixture(params=["redis", "twin"])
def scene(request: pytest.FixtureRequest, kafka_bootstrap: str, redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    url = redis_url if request.param == "redis" else ""
    scene = Scene(kafka_bootstrap, url, tmp_path, partitions=PARTITIONS, environment={"KAFKA__START": "latest"})
    with scene.fleet:
        yield scene


def admin_of(scene: Scene) -> AdminClient:
    return AdminClient({"bootstrap.servers": scene.bootstrap})


def listed(scene: Scene) -> Counter[str]:
    """The topic's id -> events in lists made of it."""
    found: Counter[str] = Counter()
    for message in read_all(scene.bootstrap, scene.output):
        value = json.loads(message.value())
        found[value["as_of"].get("topic_id", "")] += value["events"]
    return found


def run_through(scene: Scene, events: list[Event]) -> str:
    """A worker that begins at the end of the topic, gets these, and is stopped; returns the topic's id."""
    scene.fleet.start("0")
    scene.fleet.wait_for(lambda: "partitions claimed" in scene.fleet.log("0"), "the first claim")
    scene.produce(events)
    scene.fleet.wait_for(scene.done, "all of it")
    return topic_id(admin_of(scene), scene.topic)


def come_to(scene: Scene, records: int) -> None:
    scene.fleet.wait_for(
        lambda: committed(scene.bootstrap, scene.group, scene.topic, scene.partitions) >= records, f"{records} records"
    )


@pytest.mark.parametrize("events", [150, 900])
def test_a_topic_that_is_made_again_while_nobody_reads_is_read_from_its_beginning(scene: Scene, events: int) -> None:
    """Fewer records than M, and more; `start` is "latest"."""
    first = run_through(scene, clicks(400))
    assert scene.fleet.stop("0") == 0
    make_again(scene.bootstrap, scene.topic, PARTITIONS)
    scene.sent.valid.clear()
    scene.produce(clicks(events, "j"))
    scene.fleet.start("0")
    come_to(scene, events)
    assert scene.fleet.stop("0") == 0
    second = topic_id(admin_of(scene), scene.topic)
    assert listed(scene) == {first: 400, second: events}
    said = [entry for entry in scene.fleet.entries("0") if entry["level"] in ("warning", "error")]
    assert any(entry.get("topic_id") == second and entry.get("before") == first for entry in said)
    if not scene.fleet.environment["STREAM_WORKER__MEMORY__REDIS_URL"]:
        return  # the twin's memories are in the checkpoint, which no command prints
    memories = scene.remembered()
    counted = {user: sum(n for (name, _), (n, _) in memories.items() if name == user) for user, _ in memories}
    assert sum(counted.values()) == events
    assert any(item.startswith("i") for _, ring in memories.values() for item in ring)


@pytest.mark.parametrize("events", [150, 900])
def test_a_topic_that_is_made_again_under_a_worker_ends_it_and_the_next_start_reads_all(
    scene: Scene, events: int
) -> None:
    """Exit 75, and not one list of the new topic by the offsets of the old one."""
    first = run_through(scene, clicks(400))
    make_again(scene.bootstrap, scene.topic, PARTITIONS)
    scene.sent.valid.clear()
    scene.produce(clicks(events, "j"))
    assert scene.fleet.ended("0") == RESTART
    second = topic_id(admin_of(scene), scene.topic)
    assert f"its id is {second}, it was {first}" in scene.fleet.log("0")
    scene.fleet.start("0")
    come_to(scene, events)
    assert scene.fleet.stop("0") == 0
    assert listed(scene) == {first: 400, second: events}


def test_after_committed_offsets_expired_everything_is_listed(scene: Scene) -> None:
    """What came while nobody was there, too, though `start` is "latest"."""
    only = run_through(scene, clicks(400))
    assert scene.fleet.stop("0") == 0
    scene.fleet.wait_for(lambda: delete_group(scene), "the end of the member's session")
    assert committed(scene.bootstrap, scene.group, scene.topic, PARTITIONS) == 0
    scene.produce(clicks(200, "j"))
    scene.fleet.start("0")
    come_to(scene, 600)
    assert scene.fleet.stop("0") == 0
    assert listed(scene) == {only: 600}
    assert "committed offsets expired" in scene.fleet.log("0")


def delete_group(scene: Scene) -> bool:
    """What expiry does to the offsets of a group that is away. Not while it has members."""
    admin = admin_of(scene)
    try:
        admin.delete_consumer_groups([scene.group])[scene.group].result(30)
    except KafkaException:
        return False
    return True


def test_a_topic_that_holds_only_the_ends_of_transactions_is_started_in(scene: Scene) -> None:
    """Of events that were listed, and of some that were aborted: retention has removed all of them."""
    run_through(scene, [])
    producer = Producer({"bootstrap.servers": scene.bootstrap, "transactional.id": scene.group + ".shop"})
    producer.init_transactions(20)
    send_transaction(producer, scene, 10, commits=True)
    come_to(scene, 10)
    send_transaction(producer, scene, 5, commits=False)
    time.sleep(2)  # a lag of 0 may be older than the aborted records; no metric tells that the end was passed
    scene.fleet.wait_for(lambda: lag_of(scene) == 0, "the end of the partition")
    assert scene.fleet.stop("0") == 0
    place = TopicPartition(scene.topic, 0, OFFSET_END)
    admin = admin_of(scene)
    low = admin.delete_records([place])[place].result(30).low_watermark
    assert low > 10
    scene.fleet.start("0")
    scene.fleet.wait_for(lambda: scene.fleet.log("0").count("partitions claimed") == 2, "the second claim")
    send_transaction(producer, scene, 1, commits=True)
    come_to(scene, low + 1)
    assert scene.fleet.stop("0") == 0
    assert listed(scene).total() == 11


def send_transaction(producer: Producer, scene: Scene, events: int, *, commits: bool) -> None:
    producer.begin_transaction()
    for key, value, _, _ in clicks(events):
        producer.produce(scene.topic, key=key, value=value, partition=0)
    producer.flush(20)
    if commits:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


def lag_of(scene: Scene) -> float:
    lags = [value for name, value in scene.fleet.metrics("0").items() if name.startswith("stream_worker_partition_lag")]
    return max(lags, default=-1.0)
