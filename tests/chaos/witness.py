"""What can be told of a play from outside: by the group's coordinator, and by what the workers log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from confluent_kafka import Consumer, TopicPartition

from tests.chaos.under_load import Play
from tests.support.fleet import Event
from tests.support.scene import Scene

STARTING, CLAIMED, GIVEN_UP, REFUSED = "starting", "partitions claimed", "partitions given up", "memories refused"
_ASK_EVERY, _MOST_PATIENCE_SECONDS = 100, 5.0


class Published:
    """Y of every partition as the coordinator has it; what an open transaction holds is not in it."""

    def __init__(self, scene: Scene) -> None:
        # read_committed would wait for the open transaction of a worker that is stopped or dead.
        settings = {"bootstrap.servers": scene.bootstrap, "group.id": scene.group}
        self._consumer = Consumer(
            settings | {"isolation.level": "read_uncommitted"}, logger=logging.getLogger("tests.kafka")
        )
        self._asked = [TopicPartition(scene.topic, partition) for partition in range(scene.partitions)]

    def __call__(self) -> dict[int, int]:
        return {at.partition: max(0, at.offset) for at in self._consumer.committed(self._asked, timeout=30)}

    def total(self) -> int:
        return sum(self().values())


def paced(events: Iterator[Event], published: Callable[[], int], most_ahead: int) -> Iterator[Event]:
    """The events, held back while more than `most_ahead` are not published: a slow machine gets fewer, not a backlog.
    Never for long, since who sends them has to be able to end."""
    for number, event in enumerate(events):
        patient_until = time.monotonic() + _MOST_PATIENCE_SECONDS
        while number % _ASK_EVERY == 0 and number - published() > most_ahead and time.monotonic() < patient_until:
            time.sleep(0.2)
        yield event


def logged(play: Play, slot: str, event: str) -> int:
    """How many lines of one kind."""
    return len(play.logged(slot, event))


def owned(play: Play, slot: str) -> set[int]:
    """The partitions that a worker has claimed since its start and not given up, by its log."""
    found: set[int] = set()
    for entry in play.fleet.entries(slot):
        if entry["event"] == STARTING:
            found.clear()
        elif entry["event"] == CLAIMED:
            found |= {int(partition) for partition in entry["start"]}
        elif entry["event"] == GIVEN_UP:
            found -= set(entry["partitions"])
    return found
