"""What a worker learns from partitions that others own: every event once, and nothing of it is published or saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_worker.backends.in_memory import InMemoryHeard
from stream_worker.core.events import Record
from stream_worker.core.offsets import Offsets
from tests.support.two_workers import check_counts, close, finish, hearing_world, owned, silence, tick, two
from tests.support.worker_world import BATCH, World


@pytest.fixture
def world() -> World:
    return hearing_world()


def test_each_of_two_workers_counts_the_events_of_both_and_publishes_its_own(world: World) -> None:
    world.send_many(60)
    first, second = two(world)
    world.send_many(60)
    finish(world, first, second)
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
    first, second = two(world)
    tick(20, first, second)
    users = first.worker.line.learner.users
    assert users.count(heard=True) > 0
    assert not users.dirty_S[users.heard_S].any()
    assert {key[0] for key in users.keys_of(np.flatnonzero(users.heard_S))} == {1}
    close(first, second)


def test_a_partition_is_claimed_once_it_was_heard_up_to_what_is_published(world: World) -> None:
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    silent = silence(first)
    world.send_many(40)
    for _ in range(10):
        second.tick()
    second.finish()
    first.tick(3)
    assert owned(first) == [0]
    silent.undo()
    first.tick(8)
    assert owned(first) == [0, 1]
    check_counts(world, first)
    first.finish()
    world.check_contract_1()


def test_a_claim_waits_for_ten_seconds_at_the_most(world: World) -> None:
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    silence(first)
    world.send_many(40)
    for _ in range(10):
        second.tick()
    second.finish()
    first.tick()
    assert owned(first) == [0]
    world.clock.sleep(10.1)
    first.tick(3)
    assert owned(first) == [0, 1]
    first.to_the_end()
    world.check_contract_1()


def test_what_another_had_published_is_heard_before_a_new_start_claims_it(world: World) -> None:
    world.shared = world._store()
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    silence(first)
    world.send_many(40)
    tick(10, first, second)
    learned = first.worker.line.offsets[1]
    assert learned < world.shared.kept([1])[1].floor
    first.finish()
    second.finish()
    again = world.worker("a")
    assert again.worker.line.offsets[1] == learned
    again.tick(1)
    assert 1 not in owned(again)
    again.to_the_end()
    check_counts(world, again)
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
    tick(4, first, second)
    for _ in range(6):
        world.send_many(20)
        tick(1, first, second)
    finish(world, first, second)


def test_users_of_a_partition_that_is_taken_over_come_from_the_store(world: World) -> None:
    """Their heard rows go: an own row is as the last owner has written it, and goes on from there."""
    world.send_many(80)
    first, second = two(world)
    tick(20, first, second)
    second.finish()
    world.send_many(40)
    first.tick(8)
    assert first.worker.line.learner.users.count(heard=True) == 0
    finish(world, first)


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


def test_a_claim_waits_anew_after_one_that_was_given_up(world: World) -> None:
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    hearing, ahead = first.worker._hearing, first.worker.line.offsets[1] + 5
    assert not hearing.has_reached(1, ahead)
    world.clock.sleep(60)
    assert not hearing.has_reached(1, ahead)
    world.clock.sleep(10.1)
    assert hearing.has_reached(1, ahead)
    close(first, second)
