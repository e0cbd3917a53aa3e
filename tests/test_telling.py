"""Log lines show a person the work of a worker: first faults at once, figures once a minute, no line for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from stream_worker.core.quality import Figures, GroupQuality, Quality
from stream_worker.core.status import Status
from stream_worker.telling import Telling, last_words


class Said:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **more: Any) -> None:
        self.lines.append(("info", event, more))

    def warning(self, event: str, **more: Any) -> None:
        self.lines.append(("warning", event, more))


class World:
    """A status, a clock, and what was said of them."""

    def __init__(self) -> None:
        self.now, self.said, self.status = 0.0, Said(), Status()
        self.status.consuming.lag = {0: 0}
        self.telling = Telling(self.said, 60.0, lambda: self.now)

    def ticks(
        self, seconds: float, records: int = 0, events: int = 0, lists: int = 0
    ) -> list[tuple[str, str, dict[str, Any]]]:
        """Let time pass with a tick a second; returns what was said meanwhile."""
        before = len(self.said.lines)
        self.status.consuming.records += records
        self.status.consuming.events += events
        self.status.publishing.lists += lists
        for _ in range(int(seconds)):
            self.now += 1.0
            self.telling.ticked(self.status)
        return self.said.lines[before:]

    def dead(self, error: str, reason: str, place: str) -> None:
        self.status.consuming.records += 1
        self.status.consuming.dead_letters[error] += 1
        self.status.consuming.set_aside.add(error, reason, place)


def quality(metric: str, worker: float, **baselines: float) -> Quality:
    def group(value: float) -> GroupQuality:
        return GroupQuality(rolling=Figures(9, {metric: value}))

    return Quality(all=group(worker), baselines={name: group(value) for name, value in baselines.items()})


@pytest.fixture
def world() -> World:
    return World()


def test_the_work_is_told_every_minute(world: World) -> None:
    world.status.consuming.lag = {0: 3, 1: 4}
    world.status.learning.effort = 0.5
    assert world.ticks(59, records=600, events=600, lists=300) == []
    said = {"events_per_second": 10.0, "lists": 300, "lag": 7, "effort": 0.5}
    assert world.ticks(1) == [("info", "at work", said)]
    assert world.ticks(60, records=60, events=60)[0][2]["events_per_second"] == 1.0


def test_the_hit_rate_stands_beside_the_better_baseline(world: World) -> None:
    world.status.quality = quality("hit_rate@20", 0.45678, popularity=0.1, co_visitation=0.3)
    said = world.ticks(60, records=1)[0][2]
    assert (said["hit_rate@20"], said["co_visitation_hit_rate@20"]) == (0.4568, 0.3)
    assert "popularity_hit_rate@20" not in said


def test_nothing_is_said_of_a_hit_rate_that_is_not_measured(world: World) -> None:
    """`monitor.hit_rate_k` need not have 20: that must not end a worker after its first minute."""
    world.status.quality = quality("hit_rate@5", 0.4, popularity=0.1)
    said = world.ticks(60, records=1)[0][2]
    assert not [name for name in said if "hit_rate" in name]


def test_a_worker_without_partitions_is_not_said_to_wait_for_events(world: World) -> None:
    world.status.consuming.lag = {}
    assert world.ticks(120) == []


def test_of_an_idle_worker_is_said_once_that_it_waits(world: World) -> None:
    waits = [("info", "nothing to read: waiting for events", {"events": 0})]
    assert world.ticks(60) == waits
    assert world.ticks(3_600) == []
    assert [event for _, event, _ in world.ticks(60, records=1, events=1)] == ["at work"]
    assert [event for _, event, _ in world.ticks(600)] == ["nothing to read: waiting for events"]


def test_nothing_is_added_where_the_reason_for_waiting_is_said_already(world: World) -> None:
    world.status.waiting = "kafka: does not answer"
    assert world.ticks(600) == []


def test_the_first_dead_letter_of_each_kind_is_a_warning_at_once(world: World) -> None:
    world.dead("MissingField", "user: expected a string or an integer, got nothing", "events 0 @ 7")
    found = {"error": "MissingField", "reason": "user: expected a string or an integer, got nothing"}
    assert world.ticks(1) == [("warning", "no event, a dead letter", {**found, "place": "events 0 @ 7"})]
    world.dead("MissingField", "user: expected a string or an integer, got 1.5", "events 0 @ 8")
    assert world.ticks(1) == []
    world.dead("UnknownType", "type: expected view, got 'seen'", "events 0 @ 9")
    assert [line[2]["error"] for line in world.ticks(1)] == ["UnknownType"]


def test_many_kinds_do_not_fill_the_log(world: World) -> None:
    for number in range(1_000):
        world.dead("NotJson", f"reason {number}", f"events 0 @ {number}")
        world.ticks(1)
    assert sum(level == "warning" for level, _, _ in world.said.lines) == 50


def test_dead_letters_since_the_last_line_are_counted_by_class(world: World) -> None:
    for offset in range(3):
        world.dead("NotJson", "no JSON", f"events 0 @ {offset}")
    assert [line[2]["dead_letters"] for line in world.ticks(60) if line[0] == "info"] == [{"NotJson": 3}]
    world.dead("NotJson", "no JSON", "events 0 @ 4")
    assert [line[2]["dead_letters"] for line in world.ticks(60)] == [{"NotJson": 1}]
    assert ["dead_letters" in line[2] for line in world.ticks(60, records=1)] == [False]


def test_ignored_records_since_the_last_line_are_counted_by_type(world: World) -> None:
    world.status.consuming.ignored["page"] = 3
    assert [line[2]["ignored"] for line in world.ticks(60, records=3)] == [{"page": 3}]
    world.status.consuming.ignored["page"] = 5
    assert [line[2]["ignored"] for line in world.ticks(60, records=2)] == [{"page": 2}]
    assert ["ignored" in line[2] for line in world.ticks(60, records=1)] == [False]


def test_the_last_words_count_ignored_records() -> None:
    status = Status()
    status.consuming.ignored.update(page=2, identify=1)
    assert last_words(status) == {"events": 0, "lists": 0, "ignored": {"page": 2, "identify": 1}}


def test_the_last_words_count_dead_letters_and_dropped_fields() -> None:
    status = Status()
    assert last_words(status) == {"events": 0, "lists": 0}
    status.consuming.dead_letters["NotJson"] = 2
    status.consuming.fields_dropped.add("value", "expected a number", "events 0 @ 1")
    assert last_words(status) == {
        "events": 0,
        "lists": 0,
        "dead_letters": {"NotJson": 2},
        "fields_dropped": {"value": 1},
    }
