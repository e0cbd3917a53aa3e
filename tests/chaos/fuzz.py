"""Scenario 7: a million hostile records, and real events between them, through one worker: none stops it, and each
record ends once, as one event in the lists or as one dead letter with a reason, as `event_rule` tells."""

from __future__ import annotations

import random
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from confluent_kafka import Message, Producer

from tests.chaos.event_rule import events_of
from tests.chaos.examples import thought_up
from tests.chaos.mutations import Hostile, giants, mutated
from tests.chaos.scenario import Scenario, Seen, Stage
from tests.support.fleet import check_lists, read_all
from tests.support.scene import Scene, memories_of

REAL_EVERY = 20
_MOST_SENT_BYTES = 1_048_000  # a broker takes them by default, a client sends a million, headers included
_SURELY_SENT_BYTES = 990_000


class Log:
    """What was sent, and what has to become of it, by partition and offset."""

    def __init__(self, partitions: int) -> None:
        self.records = self.valid = self.dropped = 0
        self.offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.items: dict[tuple[str, int], list[str]] = defaultdict(list)
        # The hash of every bad record; None: an event, or a dead letter that was found.
        self.bad: list[list[int | None]] = [[] for _ in range(partitions)]
        self.giants: set[tuple[int, int]] = set()

    def add(self, partition: int, record: Hostile) -> None:
        (events, is_bad), offset = events_of(record.value, record.timestamp_ms), len(self.bad[partition])
        self.bad[partition].append(hash((record.key, record.value)) if is_bad else None)
        self.records += 1
        if len(record.key or b"") + len(record.value or b"") > _SURELY_SENT_BYTES:
            self.giants.add((partition, offset))
        for event in events:
            self.valid += 1
            self.offsets[event.user, partition].append(offset)
            self.items[event.user, partition].append(event.item)

    def missing(self) -> list[tuple[int, int]]:
        return [(p, offset) for p, bad in enumerate(self.bad) for offset, it in enumerate(bad) if it is not None]


def fuzzed(stage: Stage) -> Seen:
    """Every record is counted in the lists or set aside with a reason, once; and the worker goes on."""
    count, examples = (20_000, 1_000) if stage.short else (1_000_000, 20_000)
    begun = time.monotonic()
    thought = thought_up(examples, stage.seed)
    took = time.monotonic() - begun
    assert len(thought) == examples, f"expected {examples} examples, got {len(thought)}"
    with stage.scene() as scene:
        log = send(scene, hostile_among_real(stage, thought, count))
        rate = run_through(scene, log)
        seen: Seen = {
            "dead letters": f"{check_dead_letters(scene, log):,}",
            "lists": f"{check_lists(scene.bootstrap, scene.output, log.offsets):,}",
        }
        scene.check_memories(memories_of(log.items))
    return {
        "hostile records": f"{count:,}",
        "of Hypothesis": f"{examples:,} ({took:.0f} s)",
        "events among all": f"{log.valid:,}",
        **seen,
        "too large to be kept": log.dropped,
        "rate": f"{rate:,.0f} records/s",
    }


def hostile_among_real(stage: Stage, thought: list[Hostile], count: int) -> Iterator[Hostile]:
    """`count` hostile records in random order, after every twentieth of them the log's next event."""
    rng = random.Random(stage.seed)
    large = list(giants(rng))
    first = thought + large
    rng.shuffle(first)
    hostile = chain(first, islice(mutated(stage.log, rng), count - len(first)))
    real = iter(stage.log)
    for number, record in enumerate(hostile):
        yield record
        if number % REAL_EVERY == 0 and (event := next(real, None)):
            key, value, timestamp_ms, _ = event
            yield Hostile(key.encode(), value, timestamp_ms or record.timestamp_ms)


def send(scene: Scene, records: Iterable[Hostile]) -> Log:
    """The records to the input topic, those of one key to one partition."""
    log, failures = Log(scene.partitions), []

    def delivered(error: Any, message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {
            "bootstrap.servers": scene.bootstrap,
            "linger.ms": 20,
            "enable.idempotence": True,  # offsets are counted: in the order of sending
            "message.max.bytes": _MOST_SENT_BYTES,
        }
    )
    for record in records:
        partition = zlib.crc32(record.key or b"") % scene.partitions
        while True:
            try:
                producer.produce(
                    scene.topic, record.value, record.key, partition, delivered, timestamp=record.timestamp_ms
                )
                break
            except BufferError:
                producer.poll(0.1)
        log.add(partition, record)
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not failures, failures[0]
    return log


def run_through(scene: Scene, log: Log) -> float:
    """One worker over all of it; returns records a second, from its first commit to its last."""
    fleet = scene.fleet
    fleet.start("0")
    fleet.wait_for(lambda: scene.progress() > 0, "a first record")
    first, begun = scene.progress(), time.monotonic()
    fleet.wait_for(lambda: scene.progress() >= log.records, "all records", timeout=1_800)
    rate = (log.records - first) / (time.monotonic() - begun)
    assert fleet.stop("0") == 0
    return rate


def check_dead_letters(scene: Scene, log: Log) -> int:
    """Exactly the bad records, once, with a reason and their own bytes; returns how many."""
    found = 0
    for message in read_all(scene.bootstrap, scene.dead):
        found += 1
        headers = {name: value.decode() for name, value in message.headers()}
        partition, offset = int(headers["partition"]), int(headers["offset"])
        assert headers["topic"] == scene.topic
        assert headers["error"]
        assert headers["reason"]
        expected, log.bad[partition][offset] = log.bad[partition][offset], None
        at = f"{partition}:{offset}, {headers}, {message.value()!r:.300}"
        assert expected is not None, f"an event, or set aside twice: {at}"
        if hash((message.key(), message.value())) != expected:
            log.dropped += 1
            assert message.value() is None, f"other bytes than were sent: {at}"
            assert (partition, offset) in log.giants, f"dropped, although it was not too large: {at}"
    if missing := log.missing():
        values = {(m.partition(), m.offset()): m.value() for m in read_all(scene.bootstrap, scene.topic)}
        examples = "\n".join(f"{place}: {values[place]!r:.300}" for place in missing[:10])
        raise AssertionError(f"{len(missing)} bad records are no dead letters, such as\n{examples}")
    return found


FUZZED = Scenario(7, "a million hostile records", fuzzed)
