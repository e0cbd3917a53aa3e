"""Workers that keep up with a steady stream of events, for scenarios that take away what they need meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import cycle
from types import MappingProxyType
from typing import Any, Self

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.chaos.scenario import Seen, Stage
from tests.support.fleet import Event, Sent
from tests.support.scene import Scene
from tests.support.services import KafkaCluster, RedisService

RATE = 300  # events a second that two workers keep up with, also on two cores that have more to do
# Of brokers that are killed on purpose, that they don't answer is no news.
_LOGGER = logging.getLogger("tests.kafka.under_load")
_LOGGER.setLevel(logging.CRITICAL)


class Stream:
    """Sends events at a steady rate from a thread of its own, through outages of the brokers."""

    def __init__(self, scene: Scene, events: Iterator[Event], rate: int = RATE) -> None:
        self._scene, self._events, self._rate = scene, events, rate
        # Idempotent: order is kept, and but for what a killed broker could not confirm nothing is written twice.
        self._producer = Producer(
            {
                "bootstrap.servers": scene.bootstrap,
                "linger.ms": 5,
                "enable.idempotence": True,
                "topic.metadata.refresh.interval.ms": 500,
            },
            logger=_LOGGER,
        )
        self._sent = Sent()
        self._refused: list[Any] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send, name="stream")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End, and note in the scene where each event went."""
        self._ending.set()
        self._thread.join()
        left = self._producer.flush(1 if exc[0] else 60)
        if exc[0] is None:
            assert not self._refused, self._refused[0]
            assert left == 0, f"{left} events could not be sent"
        self._scene.sent.add(self._sent)

    @property
    def events(self) -> int:
        return self._sent.events

    def _send(self) -> None:
        start, count = time.monotonic(), 0
        while not self._ending.is_set():
            if count <= (time.monotonic() - start) * self._rate:
                key, value, timestamp_ms, _ = next(self._events)
                time_of_record = timestamp_ms or 0  # 0: the time at which it is sent
                self._producer.produce(
                    self._scene.topic, value, key, timestamp=time_of_record, on_delivery=self._noted(key, value)
                )
                count += 1
            self._producer.poll(0 if count % 20 else 0.01)

    def _noted(self, key: str, value: bytes | None) -> Callable[[Any, Any], None]:
        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self._refused.append(error)
                return
            self._sent.note(key, message, value)

        return delivered


class Play:
    """Workers of a scene, and what the scenarios ask and wait for."""

    def __init__(self, stage: Stage, scene: Scene) -> None:
        self.stage, self.scene, self.fleet = stage, scene, scene.fleet
        self.events: Iterator[Event] = cycle(stage.log)
        self._admin = AdminClient({"bootstrap.servers": scene.bootstrap}, logger=_LOGGER)

    def stream(self, rate: int = RATE) -> Stream:
        """More of the log."""
        return Stream(self.scene, self.events, rate)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """A stream that the workers are in the middle of, and that goes on for a while after the block."""
        with self.stream():
            self.advance("first progress", RATE)
            self.go_on(self.seconds(1, 5))
            yield
            self.go_on(self.seconds(3, 10))

    def seconds(self, short: float, full: float) -> float:
        """How long, in the short and the full form."""
        return short if self.stage.short else full

    def start(self, *slots: str, **environment: str) -> None:
        """Start workers and wait until they share all partitions."""
        for slot in slots:
            self.fleet.start(slot, **environment)
        self.fleet.wait_for(lambda: self.metric("partitions_owned") == self.scene.partitions, "all partitions owned")
        self.fleet.wait_for(lambda: all(self.metric("partitions_owned", slot) for slot in slots), "a share for each")

    def go_on(self, seconds: float) -> None:
        """Let time pass, in which nobody may end."""
        end = time.monotonic() + seconds
        self.fleet.wait_for(lambda: time.monotonic() > end, "time to pass", seconds + 60)

    def advance(self, what: str, records: int = 100) -> float:
        """Wait until that many more records are published; returns the seconds it took."""
        before = self.scene.progress()
        return self.timed(lambda: self.scene.progress() >= before + records, what)

    def timed(self, condition: Callable[[], bool], what: str) -> float:
        """Wait for it; returns the seconds it took."""
        start = time.monotonic()
        self.fleet.wait_for(condition, what, 180)
        return round(time.monotonic() - start, 1)

    def metric(self, name: str, *slots: str) -> float:
        """The sum over the workers (default: all that run) and labels."""
        name = f"stream_worker_{name}"
        found = [self.fleet.metrics(slot) for slot in slots or self.fleet.processes]
        return sum(value for values in found for key, value in values.items() if key.partition("{")[0] == name)

    def logged(self, slot: str, event: str) -> list[dict[str, Any]]:
        """A worker's log lines of one kind, of all its starts."""
        return [entry for entry in self.fleet.entries(slot) if entry.get("event") == event]

    def members(self) -> dict[str, tuple[str, frozenset[int]]]:
        """Instance id -> member id, which a member that was dropped and joined again has not kept, and partitions."""
        answer = self._admin.describe_consumer_groups([self.scene.group], request_timeout=30)
        members = answer[self.scene.group].result().members
        return {
            m.group_instance_id: (m.member_id, frozenset(at.partition for at in m.assignment.topic_partitions))
            for m in members
        }

    def partitions(self, slot: str) -> frozenset[int]:
        """What the worker owns by the group's word."""
        return self.members()[f"{self.scene.group}-{slot}"][1]

    def finish(self) -> None:
        """All that was sent is published, and every worker ends in good order."""
        self.fleet.wait_for(self.scene.done, "all of it", 240)
        for slot in list(self.fleet.processes):
            code = self.fleet.stop(slot)
            assert code == 0, f"worker {slot} ended with {code}:\n{self.fleet.log(slot)[-3000:]}"

    def judged(self, **seen: object) -> Seen:
        """Finish; contract 1 at every list, memories as in the log; what was seen."""
        self.finish()
        return self.verdict(**seen)

    def verdict(self, **seen: object) -> Seen:
        """Once all workers have left: contract 1 at every list, memories as in the log; what was seen."""
        lists, memories = self.scene.check(), self.scene.check_memories()
        return {**seen, "events": self.scene.sent.events, "lists": lists, "memories": memories}


@contextmanager
def membership_kept(play: Play) -> Iterator[None]:
    """Nobody leaves the group, is dropped from it or gets other partitions."""
    before = play.members()
    assert sum(len(partitions) for _, partitions in before.values()) == play.scene.partitions
    yield
    after = play.members()
    assert after == before, f"the group was {before}, is {after}"


@contextmanager
def own_services(stage: Stage, *, brokers: int = 0, appendonly: bool = True) -> Iterator[Stage]:
    """The stage with a Redis of its own, and a Kafka of its own if it has `brokers`: to be killed."""
    with ExitStack() as services:
        kafka = services.enter_context(KafkaCluster(brokers=brokers)) if brokers else stage.kafka
        yield replace(stage, kafka=kafka, redis=services.enter_context(RedisService(appendonly=appendonly)))


@contextmanager
def playing(
    stage: Stage,
    slots: Sequence[str] = ("a", "b"),
    environment: Mapping[str, str] = MappingProxyType({}),
    *,
    partitions: int = 8,
    replicas: int = 1,
) -> Iterator[Play]:
    """A scene whose workers run and have their partitions; parameters as in `Scene`."""
    with stage.scene("scene", environment, partitions=partitions, replicas=replicas) as scene:
        play = Play(stage, scene)
        play.start(*slots)
        yield play
