"""Plays a log to worker processes at a steady pace, on topics of its own on a real Kafka, and kills one on the way."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from benchmarks.quality.published import Lists, Scored, asked, lists_of, scored
from stream_worker.backends.kafka import KafkaConfig, create_topics
from stream_worker.config import Settings
from tests.support.fleet import Event
from tests.support.scene import Scene

SESSION_SECONDS = 6.0
_KILL_AFTER = 2 / 3  # share of the events
_START_SECONDS, _PATIENCE_SECONDS = 400.0, 900.0
_LOOK_SECONDS = 1.0  # from one look at the workers' metrics to the next
_LEVELS = ("read_uncommitted", "read_committed")
_LAGS = ("stream_worker_partition_lag{", "stream_worker_heard_lag{")


@dataclass
class Standing:
    """The workers in the worst second of a run. `lines`: other lines in each newest mean of weights."""

    lag: float = 0.0
    effort: float = 1.0
    heard_share: float = 1.0
    lines: float = 0.0

    def look(self, scene: Scene) -> None:
        for slot in list(scene.fleet.processes):
            metrics = scene.fleet.metrics(slot)
            lags = (value for name, value in metrics.items() if name.startswith(_LAGS))
            self.lag = max(self.lag, sum(lags))
            self.effort = min(self.effort, metrics.get("stream_worker_effort", 1.0))
            self.heard_share = min(self.heard_share, metrics.get("stream_worker_heard_examined_share", 1.0))
            self.lines = max(self.lines, metrics.get("stream_worker_weights_lines", 0.0))


@dataclass(frozen=True)
class Death:
    """A kill -9: when it came, whose users the dead one had, and how long its transaction was left open."""

    at_ms: float
    slot: str
    open_seconds: float


@dataclass(frozen=True)
class Played:
    """A run that is over."""

    scored: Scored
    lists: Mapping[str, Lists]
    standing: Standing
    death: Death | None


@dataclass
class Producer:
    """Sends the events of a log at a steady pace from a thread of its own. `sent`: how many so far."""

    scene: Scene
    events: Sequence[Event]
    pace: float
    sent: int = 0
    _failed: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Producer:
        self._thread = threading.Thread(target=self._produce)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._failed:
            raise self._failed[0]

    @property
    def share(self) -> float:
        return self.sent / len(self.events) if self._thread.is_alive() else 1.0

    def _produce(self) -> None:
        try:
            self.scene.produce(self._due())
        except BaseException as fault:
            self._failed.append(fault)

    def _due(self) -> Iterator[Event]:
        """Yield each event when it is due; its own time is the time of then, too."""
        began = time.monotonic()
        for number, (key, value, _, valid) in enumerate(self.events):
            time.sleep(max(0.0, began + number / self.pace - time.monotonic()))
            yield key, orjson.dumps(orjson.loads(value or b"") | {"ts": time.time()}), None, valid
            self.sent = number + 1


def spaced(events: Iterable[Event], apart: int) -> list[Event]:
    """Return the events in an order in which those of a user are at least so many places apart, as long as there are
    others to come between, and else as early as in the log."""
    own = defaultdict[str, deque[tuple[int, Event]]](deque)
    for number, event in enumerate(events):
        own[event[0]].append((number, event))
    ready, resting = [(queue[0][0], user) for user, queue in own.items()], deque[tuple[int, str]]()
    order: list[Event] = []
    while ready or resting:
        while resting and (resting[0][0] <= len(order) or not ready):
            user = resting.popleft()[1]
            heappush(ready, (own[user][0][0], user))
        _, user = heappop(ready)
        order.append(own[user].popleft()[1])
        if own[user]:
            resting.append((len(order) - 1 + apart, user))
    return order


def made_scene(bootstrap: str, redis_url: str, folder: Path, **environment: str) -> Scene:
    """Make topics whose lists have the broker's time, a topic of weights among them, and a fleet with the defaults, but
    for the rules of lists: the next events are looked for in all that is predicted."""
    checkpoints = {"CHECKPOINT__INTERVAL_SECONDS": str(Settings().checkpoint.interval_seconds)}
    timeout = {"KAFKA__SESSION_TIMEOUT_MS": str(int(1000 * SESSION_SECONDS))}
    without_rules = {"LISTS__SEEN_SHARE": "1.0", "LISTS__EXCLUDE_BOUGHT": "never"}
    scene = Scene(bootstrap, redis_url, folder, environment=checkpoints | timeout | without_rules | environment)
    weights = KafkaConfig(bootstrap_servers=bootstrap, weights_topic=f"{scene.group}.weights")
    scene.fleet.environment["STREAM_WORKER__KAFKA__WEIGHTS_TOPIC"] = weights.weights_topic
    create_topics(weights, [weights.weights_topic], scene.partitions)
    _stamp_by_broker(bootstrap, scene.output)
    return scene


def _stamp_by_broker(bootstrap: str, topic: str) -> None:
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})  # its answers come as long as it lives
    for done in admin.incremental_alter_configs([changed]).values():
        done.result(30)


def played(
    scene: Scene, slots: str, events: Sequence[Event], pace: float, dies: str = "", at_once: Sequence[Event] = ()
) -> Played:
    """Produce the events to workers of these slots and return their scores.

    dies: the slot of one that is killed.
    at_once: events before, without a pace; their lists are waited for, so that the slow first ticks are over.
    """
    standing, death = Standing(), None
    with scene.fleet:
        started(scene, slots)
        scene.produce(at_once)
        scene.fleet.wait_for(scene.done, "the lists of the first events", _PATIENCE_SECONDS)
        with Producer(scene, events, pace) as producer:
            while producer.share < 1:
                if dies and death is None and producer.share >= _KILL_AFTER:
                    death = killed(scene, dies)
                standing.look(scene)
                time.sleep(_LOOK_SECONDS)
        scene.fleet.wait_for(scene.done, "all lists", _PATIENCE_SECONDS)
        for slot in list(scene.fleet.processes):
            assert scene.fleet.stop(slot) == 0
    scene.check()
    lists = lists_of(scene.bootstrap, scene.output)
    return Played(scored(asked(scene.bootstrap, scene.topic, Settings().events), lists), lists, standing, death)


def started(scene: Scene, slots: str) -> None:
    """Start workers, and wait until each has partitions."""
    for slot in slots:
        scene.fleet.start(slot)
    scene.fleet.wait_for(lambda: _all_own(scene, slots), "a place for each", _START_SECONDS)


def _all_own(scene: Scene, slots: str) -> bool:
    owned = [scene.fleet.metrics(slot).get("stream_worker_partitions_owned", 0) for slot in slots]
    return min(owned) > 0 and sum(owned) == scene.partitions


def killed(scene: Scene, slot: str) -> Death:
    """Kill a worker with -9, and wait until all that stands in the output topic by then can be read: a transaction that
    it has begun is in the way of readers until the broker ends it."""
    with ExitStack() as stack:
        everything, readable = (stack.enter_context(closing(_onlooker(scene, level))) for level in _LEVELS)
        at = time.time()
        scene.fleet.kill(slot)
        ends = _ends(everything, scene)
        while any(now < end for now, end in zip(_ends(readable, scene), ends, strict=True)):
            time.sleep(0.02)
        return Death(1000 * at, slot, time.time() - at)


def _onlooker(scene: Scene, level: str) -> Consumer:
    return Consumer({"bootstrap.servers": scene.bootstrap, "group.id": "onlooker", "isolation.level": level})


def _ends(consumer: Consumer, scene: Scene) -> list[int]:
    places = (TopicPartition(scene.output, partition) for partition in range(scene.partitions))
    return [int(consumer.get_watermark_offsets(place, timeout=10)[1]) for place in places]


def full_effort(scene: Scene, events: Sequence[Event]) -> float:
    """Return the events a second of one process that catches up; those of the second half, behind start and warm-up."""
    scene.produce((key, value, None, valid) for key, value, _, valid in events)
    with scene.fleet:
        scene.fleet.start("a", EFFORT__MOST_THINNING="1")
        scene.fleet.wait_for(lambda: scene.progress() >= len(events) / 2, "half of the backlog", _PATIENCE_SECONDS)
        began, before = time.monotonic(), scene.progress()
        scene.fleet.wait_for(scene.done, "the backlog", _PATIENCE_SECONDS)
        rate = (len(events) - before) / (time.monotonic() - began)
        assert scene.fleet.stop("a") == 0
    return rate
