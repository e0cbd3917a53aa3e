"""What a line never counts, since the log was shorter than it should be: every such offset is in the gap."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stream_worker.backends.in_memory import InMemoryHeard
from tests.support.two_workers import check_counts, close, hearing_world, owned, silence, tick, two
from tests.support.worker_world import Killed, World


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


def test_what_was_not_heard_at_all_before_a_claim_is_in_the_gap(world: World) -> None:
    """L is 0, which is an offset like any other."""
    first, second = two(world)
    assert first.worker.line.offsets == {1: 0}
    silence(first)
    world.send_many(40)
    tick(10, second)
    second.finish()
    first.tick()
    world.clock.sleep(10.1)
    first.tick(8)
    assert owned(first) == [0, 1]
    counted, end = first.worker.line.counted, len(world.topic.partitions[1])
    assert (counted.first[1], counted.events[1], counted.gap[1]) == (0, 0, end)
    assert first.worker.status.takeovers.unlearned == end
    first.to_the_end()


def test_what_was_remembered_past_the_l_that_was_heard_is_heard_before_a_start_claims_it(world: World) -> None:
    """Its owner died after the memories and before M, and this line had not heard as far."""
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    silence(first)
    world.send_many(40)
    second.traps.kill_at = {"records": second.traps.steps.count("records") + 1}
    with pytest.raises(Killed):
        second.tick(5)
    first.finish()
    world.topic.leave("b", second.source)
    learned, kept = first.worker.line.offsets[1], world.shared.kept([1])[1]
    assert learned == kept.floor < world.topic.committed[1]
    again = world.worker("a")
    again.to_the_end()
    check_counts(world, again)
    world.check_contract_1()
    world.check_memories(again.store)


def test_a_claim_that_led_to_no_l_leaves_no_beginning_behind() -> None:
    """Nothing came of the partition then; another one has read what came since."""
    world = World()
    first = world.worker("a")
    first.tick()
    second = world.worker("b")
    tick(3, first, second)
    world.send_many(40)
    tick(10, second)
    second.finish()
    end = len(world.topic.partitions[1])
    first.tick(10)
    assert owned(first) == [0, 1]
    world.send_many(10)
    first.to_the_end()
    counted = first.worker.line.counted
    assert counted.first == {0: 0, 1: end}
    assert counted.events[1] == sum(offset >= end for (_, p), at in world.valid().items() if p for offset in at)
