"""What a worker that hears makes of bad records, logins, a store that was wiped and a topic that was made again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from stream_worker.core.decoder import Decoder
from stream_worker.core.mapping.config import EventsConfig
from tests.core.hostile import hostile_records
from tests.loop.test_logins import LOGINS, login, memories, view
from tests.support.two_workers import close, finish, hearing_world, owned, tick, two, valid_events
from tests.support.worker_world import SETTINGS, Run, World

MS = 1_700_000_000_000


@pytest.fixture
def world() -> World:
    return hearing_world()


# -- bad records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_bad_records_of_others_are_set_aside_by_their_owner_alone(world: World, seed: int) -> None:
    first, second = two(world)
    hostile = hostile_records(150, seed)
    for value, _ in hostile:
        world.topic.append(b"k", value, MS, 1)
        world.send("u1", "i1", partition=1)
    for number in range(20):
        world.send(f"u{number % 3}", f"i{number}", partition=0)
    tick(60, first, second)
    assert _letters(first) == []
    assert _letters(second) == [record.offset for record in world.topic.partitions[1] if record.offset % 2 == 0]
    assert first.worker.status.consuming.dead_letters == Counter()
    assert second.worker.status.consuming.dead_letters == Counter(error for _, error in hostile)
    for run in (first, second):
        assert dict(run.worker.line.counted.events) == {0: 20, 1: len(hostile)}
        assert run.worker.line.counted.gap.total() == 0
        assert run.worker.line.offsets == {0: 20, 1: 2 * len(hostile)}
    assert first.worker.status.consuming.records == 20
    close(first, second)


def test_nothing_of_a_heard_record_is_among_what_a_worker_counts_of_its_own() -> None:
    """Ignored kinds, fields that can't be read, keys that are not the user's: the owner counts them."""
    events = EventsConfig(types={"view": SETTINGS.events.types["view"], "ping": "ignore"}, id="id")
    world = hearing_world(replace(SETTINGS, events=events))
    first, second = two(world)
    for k in range(6):
        world.send(f"u{k}", "i", partition=1, type="ping")
        world.send("same", "i", partition=1, id="the same id")
        world.send(f"u{k}", "i", partition=1, value="no number")
    tick(10, first, second)
    mine, others = first.worker.status.consuming, second.worker.status.consuming
    assert (others.ignored, others.duplicates, others.records) == ({"ping": 6}, 5, 18)
    assert (mine.ignored, mine.duplicates, mine.records, mine.events, mine.key_mismatches) == ({}, 0, 0, 0, 0)
    assert mine.fields_dropped.total() == 0
    for run in (first, second):
        assert dict(run.worker.line.counted.events) == {1: 7}
    close(first, second)


def _letters(run: Run) -> list[int]:
    return [d.record.offset for outputs in run.sink.transactions for d in outputs.dead_letters]


# -- logins ----------------------------------------------------------------------------------------------------


def login_world() -> World:
    return hearing_world(LOGINS)


def test_a_login_in_a_heard_partition_joins_heard_rows_and_its_owner_alone_writes_them() -> None:
    world = login_world()
    first, second = two(world)
    view(world, "anon", "x", "y", partition=1)
    view(world, "ann", "a", partition=1)
    tick(4, first, second)
    login(world, "ann", "anon", partition=1)
    view(world, "ann", "b", partition=1)
    tick(6, first, second)
    for run in (first, second):
        assert _ring(run, 1, "ann") == ["x", "y", "a", "b"]
    assert memories(second)["ann", 1] == (["x", "y", "a", "b"], 4, 5)
    users = first.worker.line.learner.users
    assert not users.dirty_S[users.heard_S].any()
    assert first.worker.status.memory.aliases == {}
    assert second.worker.status.memory.aliases == {"joined": 1}
    assert dict(first.worker.line.counted.events) == {1: 4}
    close(first, second)


def test_a_login_whose_other_id_is_in_an_owned_partition_joins_nothing_for_who_hears_it() -> None:
    """Users of owned partitions are not moved by what others own; the owner of the login finds them in the store."""
    world = login_world()
    first, second = two(world)
    view(world, "anon", "x", "y", partition=0)
    tick(4, first, second)
    login(world, "ann", "anon", partition=1)
    view(world, "ann", "b", partition=1)
    tick(6, first, second)
    assert _ring(first, 1, "ann") == ["b"]
    assert _ring(second, 1, "ann") == ["x", "y", "b"]
    assert _ring(first, 0, "anon") == ["x", "y"]
    close(first, second)


def test_an_own_login_takes_the_other_id_from_the_store_and_not_from_what_was_heard() -> None:
    """A heard ring may begin later than the owner's."""
    world = login_world()
    world.topic.grow(2)
    first, second = two(world)
    view(world, "anon", "x", "y", partition=1)
    tick(4, first, second)
    heard = first.worker._hearing
    heard.users.drop([1])
    view(world, "anon", "z", partition=1)
    tick(4, first, second)
    assert _ring(first, 1, "anon") == ["z"]
    login(world, "ann", "anon", partition=0)
    view(world, "ann", "a", partition=0)
    tick(4, first, second)
    assert _ring(first, 0, "ann") == ["x", "y", "z", "a"]
    close(first, second)


def test_a_partition_with_logins_is_taken_over_as_its_owner_has_written_it() -> None:
    world = login_world()
    first, second = two(world)
    view(world, "anon", "x", "y", partition=1)
    login(world, "ann", "anon", partition=1)
    view(world, "ann", "b", partition=1)
    tick(6, first, second)
    second.finish()
    login(world, "ann", "anon", partition=1)
    view(world, "ann", "c", partition=1)
    tick(6, first)
    assert owned(first) == [0, 1]
    first.to_the_end()
    assert memories(first)["ann", 1] == (["x", "y", "b", "c"], 4, 6)
    assert dict(first.worker.line.counted.events) == {1: 4}


def _ring(run: Run, partition: int, user: str) -> list[str | None]:
    users = run.worker.line.learner.users
    slot = users.find([(partition, user)])
    assert slot[0] >= 0
    ids: list[str | None] = run.store.item_ids([int(number) for number in users.number_SL[slot[0]] if number])
    return ids


# -- a store that was wiped, a topic that was made again --------------------------------------------------------


def _wiped(world: World) -> None:
    """As the durable twin is after a FLUSHALL: everybody finds out by the tokens."""
    store = world.shared
    store._empty()


@pytest.mark.parametrize("later", [0, 40])
def test_a_store_that_was_wiped_leaves_counts_as_they_are_and_rings_with_the_new_numbers(
    world: World, later: int
) -> None:
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    _wiped(world)
    world.send_many(later)
    tick(3, first, second)
    for number in range(13):  # other numbers than before: the first of them to come is the last item
        world.send("new", f"i{12 - number}", partition=number % 2)
    world.send_many(20)
    tick(12, first, second)
    for run in (first, second):
        _check_rings(world, run)
    finish(world, first, second)


def _check_rings(world: World, run: Run) -> None:
    """Every ring holds the newest items of its user, whatever numbers they have now."""
    users, decoder = run.worker.line.learner.users, Decoder(SETTINGS.events)
    for slot in users.occupied().tolist():
        ((partition, user),) = users.keys_of(np.array([slot]))
        events, _ = decoder.decode(world.topic.partitions[partition])
        items = [item for item, name in zip(events.items, events.users, strict=True) if name == user]
        assert _ring(run, partition, user) == items[-8:], (partition, user)


def test_a_topic_that_was_made_again_is_heard_from_its_beginning(world: World) -> None:
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    world.topic.make_again(2)
    world.send_many(80)
    tick(30, first, second)
    for run in (first, second):
        counted = run.worker.line.counted
        assert dict(counted.events) == valid_events(world)
        assert counted.gap.total() == 0
        assert run.worker.line.offsets == {p: len(records) for p, records in enumerate(world.topic.partitions)}
    close(first, second)


def test_a_topic_that_was_made_again_and_is_longer_by_then_is_heard_from_its_beginning(world: World) -> None:
    """An L of the old one would else look like one of the new one."""
    world.send_many(20)
    first, second = two(world)
    tick(10, first, second)
    world.topic.make_again(2)
    world.send_many(200)
    tick(60, first, second)
    for run in (first, second):
        assert dict(run.worker.line.counted.events) == valid_events(world)
    close(first, second)
