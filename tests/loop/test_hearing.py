"""What a worker learns from partitions that others own: every event once, and nothing of it is published or saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_worker.backends.in_memory import InMemoryHeard
from stream_worker.core.events import Record
from stream_worker.core.offsets import Offsets
from tests.support.worker_world import BATCH, Run, World


@pytest.fixture
def world() -> World:
    world = World()
    world.hears = True
    return world


def _valid(world: World) -> dict[int, int]:
    """Valid events by partition."""
    counts = dict.fromkeys(range(len(world.topic.partitions)), 0)
    for (_, partition), offsets in world.valid().items():
        counts[partition] += len(offsets)
    return counts


def _two(world: World) -> tuple[Run, Run]:
    """Two workers that own a partition each."""
    first = world.worker("a")
    first.tick()
    second = world.worker("b")
    _tick(4, first, second)
    assert (first.worker._offsets.owned(), second.worker._offsets.owned()) == ([0], [1])
    return first, second


def _tick(count: int, *runs: Run) -> None:
    for _ in range(count):
        for run in runs:
            run.tick()


def _checked(world: World, run: Run) -> None:
    counted = run.worker.line.counted
    assert dict(counted.events) == _valid(world)
    assert not counted.gap.total()
    assert run.learned == sum(_valid(world).values())


def _finished(world: World, *runs: Run) -> None:
    """Everything is read by all, then they leave one after the other."""
    _tick(30, *runs)
    for run in runs:
        _checked(world, run)
        assert run.worker.status.takeovers.listed_again == run.worker.status.takeovers.unlearned == 0
    for run in runs:
        run.finish()
    world.check_contract_1()
    world.check_memories(runs[0].store)


def _silent(run: Run) -> pytest.MonkeyPatch:
    """Let nothing come that is heard, as if the broker did not answer, until it is undone."""
    patch = pytest.MonkeyPatch()
    patch.setattr(run.heard, "poll", lambda *_: [])
    return patch


def test_each_of_two_workers_counts_the_events_of_both_and_publishes_its_own(world: World) -> None:
    world.send_many(60)
    first, second = _two(world)
    world.send_many(60)
    _finished(world, first, second)
    lists = world.topic.outputs.recommendations
    assert {made.partition for made in lists if made.line.startswith("b")} == {1}


def test_one_that_is_alone_hears_nothing(world: World) -> None:
    world.send_many(60)
    run = world.worker()
    run.tick(20)
    assert run.worker.status.hearing.counted_heard == 0
    assert run.worker.line.learner.users.count(heard=True) == 0
    run.finish()


def test_what_is_heard_is_remembered_by_its_owner_alone(world: World) -> None:
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    users = first.worker.line.learner.users
    assert users.count(heard=True) > 0
    assert not users.dirty_S[users.heard_S].any()
    assert {key[0] for key in users.keys_of(np.flatnonzero(users.heard_S))} == {1}
    first.close()
    second.close()


def test_a_partition_is_claimed_once_it_was_heard_up_to_what_is_published(world: World) -> None:
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    silent = _silent(first)
    world.send_many(40)
    for _ in range(10):
        second.tick()
    second.finish()
    first.tick(3)
    assert first.worker._offsets.owned() == [0]
    silent.undo()
    first.tick(8)
    assert first.worker._offsets.owned() == [0, 1]
    _checked(world, first)
    first.finish()
    world.check_contract_1()


def test_a_claim_waits_for_ten_seconds_at_the_most(world: World) -> None:
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    _silent(first)
    world.send_many(40)
    for _ in range(10):
        second.tick()
    second.finish()
    first.tick()
    assert first.worker._offsets.owned() == [0]
    world.clock.sleep(10.1)
    first.tick(3)
    assert first.worker._offsets.owned() == [0, 1]
    first.to_the_end()
    world.check_contract_1()


def test_what_another_had_published_is_heard_before_a_new_start_claims_it(world: World) -> None:
    world.shared = world._store()
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    _silent(first)
    world.send_many(40)
    _tick(10, first, second)
    learned = first.worker.line.offsets[1]
    assert learned < world.shared.kept([1])[1].floor
    first.finish()
    second.finish()
    again = world.worker("a")
    assert again.worker.line.offsets[1] == learned
    again.tick(1)
    assert 1 not in again.worker._offsets.owned()
    again.to_the_end()
    _checked(world, again)
    world.check_contract_1()


class _Everything(InMemoryHeard):
    """A heard source that also gives out what is not to be heard."""

    def leave(self, partitions: Any) -> None:
        """Stop nothing."""

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        again = [record for records in self._topic.partitions for record in records[-BATCH:]]
        return super().poll(max_records, timeout_seconds) + again


def test_an_event_that_is_owned_and_heard_at_once_is_counted_once(world: World) -> None:
    first, second = world.worker("a", heard=_Everything(world.topic)), world.worker("b")
    _tick(4, first, second)
    for _ in range(6):
        world.send_many(20)
        _tick(1, first, second)
    _finished(world, first, second)


def test_users_of_a_partition_that_is_taken_over_come_from_the_store(world: World) -> None:
    """Their heard rows go: an own row is as the last owner has written it, and goes on from there."""
    world.send_many(80)
    first, second = _two(world)
    _tick(20, first, second)
    second.finish()
    world.send_many(40)
    first.tick(8)
    assert first.worker.line.learner.users.count(heard=True) == 0
    _finished(world, first)


def test_l_past_y_is_published_and_learned_once() -> None:
    """The last owner lagged: this line heard what it had not published yet."""
    offsets = Offsets()
    offsets.claim(0, published=10, learned=30, floor=5, heard=True)
    at = np.array([5, 12, 29, 30])
    effects = offsets.effects(np.zeros(4, np.int32), at, np.full(4, 10))
    assert effects.publish_B.tolist() == [False, True, True, True]
    assert effects.remember_B.tolist() == [False, True, True, True]
    assert effects.learn_B.tolist() == [False, False, False, True]
    assert (effects.again, effects.unlearned) == (0, 0)


def test_an_event_of_a_heard_partition_is_never_published() -> None:
    effects = Offsets().effects(np.array([3, 3]), np.array([4, 9]), np.array([0, 0]), {3: 9})
    assert not effects.publish_B.any()
    assert effects.learn_B.tolist() == [False, True]


def test_a_log_that_begins_after_l_leaves_a_gap(world: World) -> None:
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    first.worker._hearing.leave({1})
    learned = first.worker.line.offsets[1]
    world.send_many(40)
    for _ in range(10):
        second.tick()
    world.topic.trim(1, learned + 7)
    _tick(10, first, second)
    assert first.worker.line.counted.gap[1] == first.worker.status.hearing.gap[1] == 7
    assert first.worker.line.offsets[1] == len(world.topic.partitions[1])
    first.close()
    second.close()


def test_a_partition_without_a_record_left_has_no_lag(world: World) -> None:
    """Else a worker that has no L of it would be behind until its next record, and learn from one event in 16."""
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    first.worker._hearing.leave({1})
    first.worker.line.forget_partition(1)
    end = len(world.topic.partitions[1])
    world.topic.trim(1, end)
    _tick(2, first)
    assert first.worker.status.hearing.lag == {1: 0}
    assert first.worker.line.offsets[1] == first.worker.line.counted.first[1] == end
    first.close()
    second.close()


def test_retention_in_front_of_l_makes_no_other_log(world: World) -> None:
    """What stands before L is read again for the users' sake; if it goes meanwhile, no event counts twice."""
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    before, heard = dict(first.worker.line.counted.events), first.heard
    assert isinstance(heard, InMemoryHeard)
    heard._next[1] = 0
    world.topic.trim(1, 5)
    _tick(10, first, second)
    assert dict(first.worker.line.counted.events) == before
    assert not first.worker.line.counted.gap.total()
    first.close()
    second.close()


def test_a_claim_waits_anew_after_one_that_was_given_up(world: World) -> None:
    world.send_many(60)
    first, second = _two(world)
    _tick(20, first, second)
    hearing, ahead = first.worker._hearing, first.worker.line.offsets[1] + 5
    assert not hearing.has_reached(1, ahead)
    world.clock.sleep(60)
    assert not hearing.has_reached(1, ahead)
    world.clock.sleep(10.1)
    assert hearing.has_reached(1, ahead)
    first.close()
    second.close()
