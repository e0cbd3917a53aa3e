"""Scenario 5, the topic is deleted and made again under its name, twice: in the middle of a burst, under two workers,
and while none runs. Who sends events goes on at once; the group would begin at the end of its topic.

Of a topic that is deleted unread records are gone. So of the first one, what was listed has to be right as far as it
goes; of the second and the third, every event counts once. Memories go on from what was remembered before.
"""

from __future__ import annotations

import json
import time
from itertools import cycle, pairwise

from confluent_kafka.admin import AdminClient

from tests.backends.kafka_broker import make_again, topic_id
from tests.chaos.scenario import NotShown, Scenario, Seen, Stage
from tests.chaos.supervisor import Supervisor
from tests.chaos.under_load import Play, playing
from tests.support.fleet import Sent, check_lists, read_all
from tests.support.scene import RING

PARTITIONS, SLOTS = 4, ("a", "b")
BURST = 2_000
_CLAIMED_AS_ANOTHER = "memories are of another topic: users start from them, with offsets at 0"

Memory = tuple[int, list[str]] | None  # counted events and ring


class Topics:
    """All topics that had the name: id -> what was sent. `written`: of how many of the first one's events of each
    (user, partition) it is known that they were remembered."""

    def __init__(self, play: Play) -> None:
        self._play, self._scene = play, play.scene
        self._admin = AdminClient({"bootstrap.servers": play.scene.bootstrap})
        self.sent = {self._id(): play.scene.sent}
        self.written: dict[tuple[str, int], int] = {}

    def _id(self) -> str:
        return topic_id(self._admin, self._scene.topic)

    def all_is_written(self) -> None:
        self.written = {key: len(items) for key, items in self._scene.sent.items.items()}

    def make_again(self) -> None:
        """And the same users come again."""
        make_again(self._scene.bootstrap, self._scene.topic, PARTITIONS)
        self._scene.sent = self.sent[self._id()] = Sent()
        self._play.events = cycle(self._play.stage.log)

    def check_lists(self) -> int:
        """Contract 1 for each topic; returns the number of all lists."""
        scene, made = self._scene, self._listed()
        first, *_ = self.sent
        lists = 0
        for topic, sent in self.sent.items():
            valid = _up_to(sent, made[topic]) if topic == first else sent.valid
            lists += check_lists(scene.bootstrap, scene.output, valid, topic)
        assert made.keys() == self.sent.keys(), f"lists of {set(made)}, topics were {set(self.sent)}"
        assert list(read_all(scene.bootstrap, scene.dead)) == []
        return lists

    def _listed(self) -> dict[str, dict[tuple[str, int], int]]:
        """The last `as_of` of each (user, partition), by the topic's id."""
        found: dict[str, dict[tuple[str, int], int]] = {}
        for message in read_all(self._scene.bootstrap, self._scene.output):
            value = json.loads(message.value())
            at = value["as_of"]
            found.setdefault(at["topic_id"], {})[value["user"], at["partition"]] = at["offset"]
        return found

    def check_memories(self) -> tuple[int, int]:
        """Each is one of those that it may be; returns how many there are, and how many have their past of a topic
        before."""
        found = self._scene.remembered()
        wrong = [key for key in found.keys() | self._keys() if found.get(key) not in self._possible(key)]
        assert not wrong, (
            f"{len(wrong)} memories differ, {wrong[0]}: got {found.get(wrong[0])}, may be {self._possible(wrong[0])}"
        )
        return len(found), sum(len(ring) > events for events, ring in found.values())

    def _keys(self) -> set[tuple[str, int]]:
        return {key for sent in self.sent.values() for key in sent.items}

    def _possible(self, key: tuple[str, int]) -> list[Memory]:
        """Events as of the user's last topic alone; the ring goes on, and has as much of the first as was written."""
        first, *later = [sent.items.get(key, []) for sent in self.sent.values()]
        counted = next((len(items) for items in reversed(later) if items), 0)
        rest = [item for items in later for item in items]
        kept = (first[:known] for known in range(self.written.get(key, 0), len(first) + 1))
        return [(counted or len(old), [*old, *rest][-RING:]) if old or rest else None for old in kept]

    def check_said(self) -> None:
        """Of each new topic, for each partition, as an error with both ids."""
        ids = list(self.sent)
        entries = [entry for slot in SLOTS for entry in self._play.logged(slot, _CLAIMED_AS_ANOTHER)]
        assert {entry["level"] for entry in entries} == {"error"}
        said = {(entry["before"], entry["topic_id"], entry["partition"]) for entry in entries}
        assert said == {(*pair, partition) for pair in pairwise(ids) for partition in range(PARTITIONS)}
        words = f"its id is {ids[1]}, it was {ids[0]}"
        assert all(words in self._play.fleet.log(slot) for slot in SLOTS), f"{words}: not said by both"


def _up_to(sent: Sent, last: dict[tuple[str, int], int]) -> dict[tuple[str, int], list[int]]:
    return {key: [at for at in offsets if at <= last.get(key, -1)] for key, offsets in sent.valid.items()}


def topic_made_again(stage: Stage) -> Seen:
    with playing(stage, SLOTS, {"KAFKA__START": "latest"}, partitions=PARTITIONS) as play:
        topics, supervisor = Topics(play), Supervisor(play)
        with play.streaming():
            pass
        supervisor.wait_for(lambda: sum(play.scene.floors().values()) >= play.scene.sent.records, "memories written")
        topics.all_is_written()
        play.scene.produce([next(play.events) for _ in range(BURST)])
        topics.make_again()
        with play.stream():
            resumed = _owned_again(play, supervisor, restarts=len(SLOTS))
            _go_on(play, supervisor)
        supervisor.finish()
        topics.make_again()
        with play.stream():
            time.sleep(play.seconds(1, 5))
            for slot in SLOTS:
                play.fleet.start(slot)
            _owned_again(play, supervisor, restarts=len(SLOTS))
            _go_on(play, supervisor)
        supervisor.finish()
        return _judged(topics, supervisor, resumed_seconds=resumed)


def _owned_again(play: Play, supervisor: Supervisor, restarts: int) -> float:
    """Seconds until so many workers were started again in all, and everything has its owner."""
    start = time.monotonic()
    supervisor.wait_for(
        lambda: supervisor.restarts >= restarts and play.metric("partitions_owned") == PARTITIONS,
        "the new topic owned, after restarts by 75",
    )
    return round(time.monotonic() - start, 1)


def _go_on(play: Play, supervisor: Supervisor) -> None:
    end = time.monotonic() + play.seconds(3, 10)
    supervisor.wait_for(lambda: time.monotonic() >= end, "time to pass")


def _judged(topics: Topics, supervisor: Supervisor, **seen: object) -> Seen:
    lists, (memories, inherited) = topics.check_lists(), topics.check_memories()
    topics.check_said()
    if inherited == 0:
        raise NotShown("nobody came again under a new topic")
    events = [sent.events for sent in topics.sent.values()]
    restarts = {"restarts by 75": supervisor.restarts}
    return {**seen, **restarts, "events": events, "lists": lists, "memories": memories, "with their past": inherited}


MADE_AGAIN = Scenario(5, "topic made again under load", topic_made_again)
