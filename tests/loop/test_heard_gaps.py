"""What a line never counts, since the log was shorter than it should be: every such offset is in the gap."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stream_worker.backends.in_memory import InMemoryHeard
from tests.support.two_workers import close, hearing_world, tick, two
from tests.support.worker_world import World


@pytest.fixture
def world() -> World:
    return hearing_world()


def test_a_log_that_begins_after_l_leaves_a_gap(world: World) -> None:
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    first.worker._hearing.leave({1})
    learned = first.worker.line.offsets[1]
    world.send_many(40)
    for _ in range(10):
        second.tick()
    world.topic.trim(1, learned + 7)
    tick(10, first, second)
    assert first.worker.line.counted.gap[1] == first.worker.status.hearing.gap[1] == 7
    assert first.worker.line.offsets[1] == len(world.topic.partitions[1])
    close(first, second)


def test_a_partition_without_a_record_left_has_no_lag(world: World) -> None:
    """Else a worker that has no L of it would be behind until its next record, and learn from one event in 16."""
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    first.worker._hearing.leave({1})
    first.worker.line.forget_partition(1)
    end = len(world.topic.partitions[1])
    world.topic.trim(1, end)
    tick(2, first)
    assert first.worker.status.hearing.lag == {1: 0}
    assert first.worker.line.offsets[1] == first.worker.line.counted.first[1] == end
    close(first, second)


def test_retention_in_front_of_l_makes_no_other_log(world: World) -> None:
    """What stands before L is read again for the users' sake; if it goes meanwhile, no event counts twice."""
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    before, heard = dict(first.worker.line.counted.events), first.heard
    assert isinstance(heard, InMemoryHeard)
    heard._next[1] = 0
    world.topic.trim(1, 5)
    tick(10, first, second)
    assert dict(first.worker.line.counted.events) == before
    assert not first.worker.line.counted.gap.total()
    close(first, second)


def test_what_goes_while_hearing_begins_is_in_the_gap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention passes L after the bounds were asked for, and before the first record is read."""
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    first.worker._hearing.leave({1})
    learned, heard = first.worker.line.offsets[1], first.heard
    assert isinstance(heard, InMemoryHeard)
    listen = heard.listen
    world.send_many(40)
    tick(10, second)

    def late(starts: Mapping[int, int]) -> Mapping[int, int]:
        world.topic.trim(1, learned + 7)
        return listen(starts)

    monkeypatch.setattr(heard, "listen", late)
    tick(10, first, second)
    assert first.worker.line.counted.gap[1] == 7
    assert first.worker.line.offsets[1] == len(world.topic.partitions[1])
    close(first, second)
