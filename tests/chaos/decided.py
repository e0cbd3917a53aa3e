"""Scenario 13: items are sold out, blocked and held while workers die and partitions change hands.

Each round takes two items that lists name: one is hidden by a decision, the other in the items topic. Just before or
just after that a worker is killed, and it comes back at once, or once the other owns all partitions. Some of the items
may be recommended again later, so that lists are seen to name them when they may.

Judged is every list of the output topic, by the time of its record and the worker that made it. None names an item

- after its worker has taken in the record that hides it, which the worker's log says at level debug;
- if its worker was started, or claimed the list's partition, after that record was written, however soon.

How long after the record the last list names its item is in the table. Where that is more than a second, the machine
was too slow for the promise of a second, and nothing is shown.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle
from random import Random
from typing import Any

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_worker.backends.kafka import KafkaConfig, create_topics
from stream_worker.core.decisions import Decision, encode_decision
from tests.chaos.scenario import NotShown, Scenario, Seen, Stage
from tests.chaos.supervisor import Supervisor
from tests.chaos.under_load import RATE, Play
from tests.chaos.witness import CLAIMED, STARTING
from tests.support.fleet import read_all
from tests.support.scene import Scene

SLOTS = ("a", "b")
SHORT_ROUNDS, FULL_ROUNDS = 3, 12
LATEST_SECONDS = 1.0  # from when an item is hidden to the last list that was made with it
_RECENT = 1_000  # lists among whose items those to hide are chosen
_TAKEN = "taken: "  # begins the log line about a batch that was taken in; the topic's name follows
_HIDING = ("block", "unavailable", "hold", "gone")
_SHOWING = {"block": "approve", "hold": "approve", "unavailable": "available", "gone": "available"}


@dataclass(frozen=True)
class Written:
    """A record: its topic ("items", "decisions"), partition and offset, and its time in epoch seconds."""

    topic: str
    partition: int
    offset: int
    seconds: float


@dataclass
class Hidden:
    """An item that may not be recommended from one record on, until a time; how: what hid it."""

    item: str
    how: str
    record: Written
    until: float = float("inf")


class Shop:
    """Tells of items, decides on them, and looks at what lists name."""

    def __init__(self, scene: Scene, items: str, decisions: str) -> None:
        self._topics = {"items": items, "decisions": decisions}
        quiet = logging.getLogger("tests.kafka")
        self._producer = Producer({"bootstrap.servers": scene.bootstrap, "linger.ms": 0}, logger=quiet)
        self._consumer = Consumer({"bootstrap.servers": scene.bootstrap, "group.id": "shop"}, logger=quiet)
        self._consumer.assign([TopicPartition(scene.output, p, 0) for p in range(scene.partitions)])
        self._named: list[list[str]] = []
        self.hidden: list[Hidden] = []

    def hide(self, how: str) -> None:
        """Hide the item that the newest lists name most often, of those that were never hidden."""
        item = next((item for item in self._commonest() if item not in {h.item for h in self.hidden}), None)
        if item is None:
            raise NotShown("no list names an item that could be hidden")
        self.hidden.append(Hidden(item, how, self._say(item, how)))

    def show(self, hidden: Hidden) -> None:
        hidden.until = self._say(hidden.item, _SHOWING[hidden.how]).seconds

    def _say(self, item: str, what: str) -> Written:
        """Write what is so from now on."""
        told = {"available": {"available": True}, "unavailable": {"available": False}}.get(what)
        if what == "gone":
            return self._write("items", item, None)
        if told is not None:
            return self._write("items", item, orjson.dumps({"item": item, **told}))
        return self._write("decisions", item, encode_decision(Decision(item, what, "chaos", "tests", time.time())))

    def _write(self, topic: str, item: str, value: bytes | None) -> Written:
        answers: list[Any] = []
        name = self._topics[topic]
        self._producer.produce(name, value, item.encode(), on_delivery=lambda *answer: answers.append(answer))
        assert self._producer.flush(30) == 0
        [(error, message)] = answers
        assert error is None, error
        return Written(topic, message.partition(), message.offset(), message.timestamp()[1] / 1000)

    def _commonest(self) -> list[str]:
        while messages := self._consumer.consume(1_000, 0.5):
            self._named += [_items(message.value() or b"") for message in messages if message.error() is None]
        return [item for item, _ in Counter(i for named in self._named[-_RECENT:] for i in named).most_common()]


def _items(value: bytes) -> list[str]:
    return [entry["item"] for entry in orjson.loads(value)["items"]]


class Kills:
    """Kills one worker after the other, each in another moment of a change."""

    def __init__(self, play: Play, shop: Shop, rng: Random) -> None:
        self._play, self._shop, self._rng = play, shop, rng
        self.supervisor = Supervisor(play)
        self.kills = self.takeovers = 0

    def round(self, number: int, hows: Iterator[str]) -> None:
        slot, before = SLOTS[number % 2], number % 3 == 0
        if before:
            self._kill(slot)
        for _ in range(2):
            self._shop.hide(next(hows))
        if not before:
            time.sleep(self._rng.uniform(0.0, 0.3))
            self._kill(slot)
        if number % 2 == 0:
            whole = self._play.scene.partitions
            self.supervisor.wait_for(lambda: self._play.metric("partitions_owned") == whole, "a takeover")
            self.takeovers += 1
        self._play.fleet.start(slot)
        self.supervisor.wait_for(self._all_at_work, "both at work")
        self._progress()

    def _kill(self, slot: str) -> None:
        self._play.fleet.kill(slot)
        self.kills += 1

    def _all_at_work(self) -> bool:
        owned = [self._play.metric("partitions_owned", slot) for slot in SLOTS]
        return min(owned) > 0 and sum(owned) == self._play.scene.partitions

    def _progress(self) -> None:
        before = self._play.scene.progress()
        self.supervisor.wait_for(lambda: self._play.scene.progress() >= before + 2 * RATE, "progress")


def decided(stage: Stage) -> Seen:
    rng, hows = Random(stage.seed), cycle(_HIDING)
    items, decisions = f"{stage.folder.name}.items", f"{stage.folder.name}.decisions"
    config = KafkaConfig(stage.kafka.bootstrap, items_topic=items, decisions_topic=decisions)
    create_topics(config, [items, decisions], 2)
    settings = {"KAFKA__ITEMS_TOPIC": items, "KAFKA__DECISIONS_TOPIC": decisions, "LOG__LEVEL": "debug"}
    with stage.scene("scene", settings) as scene:
        play, shop = Play(stage, scene), Shop(scene, items, decisions)
        play.start(*SLOTS)
        kills = Kills(play, shop, rng)
        with play.stream():
            play.advance("first progress", 4 * RATE)
            for number in range(SHORT_ROUNDS if stage.short else FULL_ROUNDS):
                kills.round(number, hows)
            for hidden in shop.hidden[::3]:
                shop.show(hidden)
            kills._progress()
            kills._progress()
        kills.supervisor.finish()
        return {
            **play.verdict(),
            "kills": kills.kills,
            "takeovers": kills.takeovers,
            **judged(scene, shop.hidden, {slot: _starts(play, slot) for slot in SLOTS}),
        }


@dataclass
class Start:
    """A start of a worker, by its log: when it began, when it took in how much of a topic, when it claimed what."""

    seconds: float
    taken: list[tuple[float, str, dict[str, int]]] = field(default_factory=list)
    claims: dict[int, float] = field(default_factory=dict)

    def knew(self, record: Written, partition: int, made: float) -> str:
        """Return how a list of a partition, made at that time, must have known a record; empty: it need not."""
        if self.seconds > record.seconds:
            return "its worker was started after that"
        if record.seconds < self.claims.get(partition, 0.0) <= made:
            return "its partition was claimed after that"
        for at, topic, offsets in self.taken:
            if topic == record.topic and offsets.get(str(record.partition), 0) > record.offset:
                return f"its worker had taken that in {made - at:.3f} s before" if at < made else ""
        return ""


def _starts(play: Play, slot: str) -> list[Start]:
    starts: list[Start] = []
    for entry in play.fleet.entries(slot):
        at = datetime.fromisoformat(entry["timestamp"]).timestamp()
        if entry["event"] == STARTING:
            starts.append(Start(at))
        elif entry["event"].startswith(_TAKEN):
            starts[-1].taken.append((at, entry["event"].removeprefix(_TAKEN), entry["next_offsets"]))
        elif entry["event"] == CLAIMED:
            starts[-1].claims |= {int(partition): at for partition in entry["start"]}
    return starts


def judged(scene: Scene, hidden: list[Hidden], starts: dict[str, list[Start]]) -> Seen:
    """Look at every list. Raises AssertionError where one names what it must not, NotShown where none ever did."""
    before, again, latest = Counter[str](), Counter[str](), 0.0
    for message in read_all(scene.bootstrap, scene.output):
        made, value = message.timestamp()[1] / 1000, orjson.loads(message.value())
        listed, partition = {entry["item"] for entry in value["items"]}, value["as_of"]["partition"]
        start = [one for one in starts[value["model"]["line"].split("-")[0]] if one.seconds <= made][-1]
        for one in hidden:
            if one.item not in listed:
                continue
            since = one.record.seconds
            before[one.item] += made < since
            again[one.item] += made >= one.until
            if since <= made < one.until:
                late = f"a list made {made - since:.3f} s after {one.item} was hidden ({one.how}) names it"
                assert not (why := start.knew(one.record, partition, made)), f"{late}: {why}"
                latest = max(latest, made - since)
    return _shown(hidden, before, again, latest)


def _shown(hidden: list[Hidden], before: Counter[str], again: Counter[str], latest: float) -> Seen:
    if never := [one.item for one in hidden if not before[one.item]]:
        raise NotShown(f"never in a list before: {', '.join(never)}")
    back = sum(again[one.item] > 0 for one in hidden)
    if not back:
        raise NotShown("no item came back into lists")
    if latest > LATEST_SECONDS:
        raise NotShown(f"lists named an item until {latest:.1f} s after it was hidden, before their workers read of it")
    return {"hidden": len(hidden), "latest seconds": round(latest, 2), "back in lists": back}


DECIDED = Scenario(13, "sold out and blocked, through kills", decided, ("classic", "consumer"), in_short=False)
