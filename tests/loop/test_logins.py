"""Logins: the memory of an earlier id is joined to the user's own, once, whatever dies where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pytest

from stream_worker.assembly import memory_layout
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import Unavailable
from stream_worker.core.mapping.config import EventsConfig, TypeConfig
from tests.support.worker_world import BATCH, MODEL, SETTINGS, Durable, Redis, Run, Traps, Twin, World, run_into

LOGINS = replace(SETTINGS, events=EventsConfig(id="id", alias="old", types={"view": TypeConfig(), "login": "alias"}))
STEPS = ("peek", "transaction", "Y", "L", "records", "M")
KINDS = ["twin", "durable", pytest.param("redis", marks=pytest.mark.redis)]


def make_world(kind: str = "durable", redis_url: str = "", partitions: int = 1) -> World:
    kinds = {"twin": Twin, "durable": Durable, "redis": Redis}
    return World(kinds[kind], partitions, redis_url, uuid4().hex, LOGINS)


def view(world: World, user: str, *items: str, partition: int = 0, code: str | None = None) -> None:
    for item in items:
        world.send(user, item, partition, id=code)


def login(world: World, user: str, old: str, partition: int = 0) -> None:
    """A record that names a user and the id that the user had before."""
    value = orjson.dumps({"type": "login", "user": user, "old": old})
    world.topic.append(user.encode(), value, 1_700_000_000_000, partition)


def memories(run: Run) -> dict[tuple[str, int], tuple[list[str], int, int]]:
    """(ring, events, n) by user and partition, as the store has them."""
    found = {}
    for partition, user, blob in run.store.scan():
        record = memory_layout(LOGINS).decode([blob])[0]
        ring = run.store.item_ids([int(number) for number in record["number"] if number])
        found[user, partition] = (ring, int(record["events"]), int(record["next_offset"]))
    return found


def lists(world: World) -> list[tuple[str, int, int, int]]:
    """(user, partition, as_of, events) of each."""
    return [(r.user, r.partition, r.next_offset - 1, r.events) for r in world.topic.outputs.recommendations]


def check_contract_1(world: World) -> None:
    """For every list: `as_of` grows, and events are counted up to it; logins are none."""
    decoder, counted, last = Decoder(world.settings.events), dict[Any, int](), dict[Any, int]()
    valid: dict[tuple[str, int], list[int]] = {}
    for records in world.topic.partitions:
        events, _ = decoder.decode(records)
        for user, partition, offset in zip(
            events.users, events.partition_B.tolist(), events.offset_B.tolist(), strict=True
        ):
            valid.setdefault((user, partition), []).append(offset)
    for user, partition, as_of, events_of_list in lists(world):
        key = (user, partition)
        assert as_of > last.get(key, -1)
        last[key] = as_of
        counted[key] = counted.get(key, 0) + events_of_list
        assert counted[key] == sum(offset <= as_of for offset in valid[key]), key
    assert counted == {key: len(offsets) for key, offsets in valid.items()}


class TestJoining:
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_was_seen_before_the_login_is_the_users_and_the_other_record_stays(
        self, request: pytest.FixtureRequest, kind: str
    ) -> None:
        world = make_world(kind, request.getfixturevalue("redis_url") if kind == "redis" else "")
        view(world, "ann", "a", "b")
        view(world, "anon", "x", "y")
        login(world, "ann", "anon")
        view(world, "ann", "c")
        run = world.worker()
        run.to_the_end()
        assert memories(run) == {
            ("ann", 0): (["a", "b", "x", "y", "c"], 5, 6),
            ("anon", 0): (["x", "y"], 2, 4),
        }
        check_contract_1(world)
        assert run.learned == 5
        assert run.worker.status.memory.aliases == {"joined": 1}

    @pytest.mark.parametrize("first", [True, False])
    def test_events_in_the_record_of_the_login_are_remembered_and_learned(self, first: bool) -> None:
        """A batch of calls is one record; the login must not make its other events look like old ones."""
        world = make_world()
        view(world, "anon", "x")
        views = [{"type": "view", "user": "ann", "item": item, "ts": 1_700_000_009 + n} for n, item in enumerate("ab")]
        calls = [{"type": "login", "user": "ann", "old": "anon"}, *views]
        value = orjson.dumps(calls if first else [*views, calls[0]])
        world.topic.append(b"ann", value, 1_700_000_000_000, 0)
        run = world.worker()
        run.to_the_end()
        assert memories(run)["ann", 0] == (["x", "a", "b"], 3, 2)
        assert run.learned == 3
        check_contract_1(world)

    def test_a_login_makes_no_list_and_counts_in_none(self) -> None:
        world = make_world()
        view(world, "anon", "x")
        login(world, "ann", "anon")
        run = world.worker()
        run.tick()
        assert lists(world) == [("anon", 0, 0, 1)]
        assert world.topic.committed == {0: 2}
        assert run.worker.status.consuming.records == 2
        assert run.worker.status.consuming.events == 1
        run.close()

    def test_who_is_new_in_the_partition_gets_a_record(self) -> None:
        world = make_world()
        view(world, "anon", "x", "y")
        login(world, "ann", "anon")
        run = world.worker()
        run.to_the_end()
        assert memories(run)["ann", 0] == (["x", "y"], 2, 3)

    @pytest.mark.parametrize(("old", "next_offset"), [("nobody", 2), ("ann", 1)])
    def test_of_an_unknown_id_or_the_users_own_nothing_is_joined(self, old: str, next_offset: int) -> None:
        """A login under the user's own id is no alias at all, so n does not move."""
        world = make_world()
        view(world, "ann", "a")
        login(world, "ann", old)
        run = world.worker()
        run.to_the_end()
        assert memories(run) == {("ann", 0): (["a"], 1, next_offset)}
        assert run.worker.status.memory.aliases == ({"unknown": 1} if old == "nobody" else {})

    def test_events_before_the_login_are_without_it_and_later_ones_with_it(self) -> None:
        """In one poll: each event is predicted from the ring that the user had at that moment."""
        world = make_world()
        view(world, "anon", "x")
        view(world, "ann", "a", "b")
        login(world, "ann", "anon")
        view(world, "ann", "c")
        view(world, "bob", "d")
        run = world.worker(predictions=True)
        seen: list[tuple[str, list[str]]] = []
        learner = run.worker.line.learner
        learn = learner.learn

        def note(batch: Any, *args: Any) -> Any:
            outcome = learn(batch, *args)
            ids = learner.catalog.ids
            for row, window in zip(batch.row_B.tolist(), outcome.windows_BL.tolist(), strict=True):
                seen.append((ids[row], [ids[at] for at in window if at >= 0]))
            return outcome

        learner.learn = note  # type: ignore[assignment, method-assign]
        run.tick()
        assert seen == [
            ("x", []), ("a", []), ("b", ["a"]), ("c", ["x", "a", "b"]), ("d", []),
        ]  # fmt: skip
        assert len(run.sink.transactions) == 1
        check_contract_1(world)
        run.close()

    def test_the_state_is_the_one_that_the_joined_ring_makes(self) -> None:
        world = make_world()
        view(world, "ann", "a", "b")
        view(world, "anon", "x", "y")
        login(world, "ann", "anon")
        run = world.worker()
        run.tick()
        learner = run.worker.line.learner
        slot = learner.users.find([(0, "ann")])
        h = learner.users.state(slot)[0].clone()
        learner.rebuild(slot, run.store.item_ids)
        assert h.abs().sum() > 0
        assert np.array_equal(learner.users.state(slot)[0].numpy(), h.numpy())
        run.close()

    def test_a_tracker_that_names_both_ids_at_every_page_counts_nothing_twice(self) -> None:
        world = make_world()
        view(world, "anon", "x", "y")
        for item in ("a", "b", "c"):
            login(world, "ann", "anon")
            view(world, "ann", item)
        view(world, "anon", "z")
        login(world, "ann", "anon")
        run = world.worker()
        run.to_the_end()
        assert memories(run)["ann", 0] == (["x", "y", "a", "b", "c", "z"], 6, 10)
        assert run.worker.status.memory.aliases == {"joined": 2, "nothing_new": 2}

    def test_an_event_that_comes_again_after_the_login_is_a_duplicate_of_the_one_before(self) -> None:
        world = make_world()
        view(world, "anon", "x", code="1")
        login(world, "ann", "anon")
        view(world, "ann", "x", code="1")
        view(world, "ann", "y", code="2")
        run = world.worker()
        run.to_the_end()
        assert memories(run)["ann", 0] == (["x", "y"], 2, 4)
        assert run.worker.status.consuming.duplicates == 1
        check_contract_1(world)

    def test_a_chain_of_logins_in_one_poll_goes_in_their_order(self) -> None:
        world = make_world()
        view(world, "one", "x")
        view(world, "two", "y")
        login(world, "two", "one")
        login(world, "ann", "two")
        run = world.worker()
        run.to_the_end()
        found = memories(run)
        assert found["two", 0] == (["x", "y"], 2, 3)
        assert found["ann", 0] == (["x", "y"], 2, 4)


class TestPartitions:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_other_id_may_be_in_another_partition(self, request: pytest.FixtureRequest, kind: str) -> None:
        world = make_world(kind, request.getfixturevalue("redis_url") if kind == "redis" else "", 3)
        view(world, "anon", "x", "y", partition=2)
        view(world, "ann", "a", partition=0)
        first = world.worker()
        first.tick()
        login(world, "ann", "anon", partition=0)
        first.to_the_end()
        assert memories(first)["ann", 0] == (["x", "y", "a"], 3, 2)

    @pytest.mark.parametrize("kind", ["durable", pytest.param("redis", marks=pytest.mark.redis)])
    def test_and_be_another_workers(self, request: pytest.FixtureRequest, kind: str) -> None:
        """Whose record is read without a token, as the store has it."""
        world = make_world(kind, request.getfixturevalue("redis_url") if kind == "redis" else "", 2)
        one, other = world.worker("one"), world.worker("other")
        one.tick()
        other.tick()
        owner = {p: run for run in (one, other) for p in run.worker._offsets.owned()}
        view(world, "anon", "x", "y", partition=1)
        owner[1].tick()
        login(world, "ann", "anon", partition=0)
        view(world, "ann", "a", partition=0)
        owner[0].tick()
        assert memories(owner[0])["ann", 0] == (["x", "y", "a"], 3, 2)
        assert owner[0].worker.status.memory.stale_writes == 0
        one.close()
        other.close()

    def test_of_several_records_of_the_other_id_the_newest_counts(self) -> None:
        world = make_world(partitions=3)
        view(world, "anon", "old", partition=1)
        view(world, "anon", "new", partition=2)
        run = world.worker()
        run.tick()
        login(world, "ann", "anon", partition=0)
        run.to_the_end()
        assert memories(run)["ann", 0] == (["new"], 1, 1)

    def test_who_is_pending_or_only_in_the_store_is_found_too(self) -> None:
        world = make_world()
        view(world, "anon", "x")
        run = world.worker()
        run.tick()
        for k in range(6 * BATCH):
            view(world, f"u{k}", "a")
        run.tick(6)
        assert run.worker.line.learner.users.find([(0, "anon")]).tolist() == [-1]
        login(world, "ann", "anon")
        run.to_the_end()
        assert memories(run)["ann", 0] == (["x"], 1, 6 * BATCH + 2)


def many(world: World, seed: int, logins: bool = True) -> None:
    """A few users and the ids that they had before, over two partitions."""
    rng = np.random.default_rng(seed)
    for k in range(70):
        user, partition = f"u{rng.integers(0, 3)}", int(rng.integers(0, 2))
        if logins and rng.random() < 0.25:
            login(world, user, f"anon of {user}", partition)
        else:
            who = user if rng.random() < 0.6 else f"anon of {user}"
            view(world, who, f"i{rng.integers(0, 13)}", partition=partition, code=f"e{k}")


def before_logins(world: World, seed: int) -> None:
    """The earlier ids, whose records are written and change no more; then users and their logins."""
    rng = np.random.default_rng(seed)
    for k in range(12):
        view(world, f"anon{k % 3}", f"i{rng.integers(0, 13)}", partition=k % 2)
    world.worker().to_the_end()
    world.topic.ended = False
    for _ in range(60):
        partition = int(rng.integers(0, 2))
        if rng.random() < 0.3:
            login(world, f"u{rng.integers(0, 3)}", f"anon{rng.integers(0, 3)}", partition)
        else:
            view(world, f"u{rng.integers(0, 3)}", f"i{rng.integers(0, 13)}", partition=partition)


class TestKilled:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_each_login_acts_once(self, request: pytest.FixtureRequest, kind: str, step: str, count: int) -> None:
        """Where the other records do not change meanwhile, memories are those of a worker that never died."""
        url = request.getfixturevalue("redis_url") if kind == "redis" else ""
        undisturbed, world = make_world(partitions=2), make_world(kind, url, partitions=2)
        before_logins(undisturbed, seed=count)
        before_logins(world, seed=count)
        expected = undisturbed.worker()
        expected.to_the_end()
        assert expected.worker.status.memory.aliases["joined"] > 3
        assert run_into(world.worker(traps=Traps({step: count})))
        last = world.worker()
        last.to_the_end()
        assert memories(last) == memories(expected)
        check_contract_1(world)
        assert last.learned == expected.learned
        if kind == "redis":
            world.shared.close()

    @pytest.mark.parametrize("kind", ["twin", "durable"])
    @pytest.mark.parametrize("seed", range(4))
    def test_again_and_again_it_comes_to_the_end(self, kind: str, seed: int) -> None:
        world, deaths = make_world(kind, partitions=2), 0
        many(world, seed)
        while run_into(world.worker(traps=Traps({STEPS[deaths % len(STEPS)]: 1 + deaths % 3}))):
            deaths += 1
        assert deaths > 4
        last = world.worker()
        found = memories(last)
        check_contract_1(world)
        events, _ = Decoder(LOGINS.events).decode([r for records in world.topic.partitions for r in records])
        assert last.learned == len(events)
        for (user, partition), (ring, count, _) in found.items():
            own = [
                item
                for item, who, at in zip(events.items, events.users, events.partition_B.tolist(), strict=True)
                if (who, at) == (user, partition)
            ]
            others = sum(who == f"anon of {user}" for who in events.users)
            assert len(own) <= count <= len(own) + others, user
            assert len(ring) == min(MODEL.ring_size, count)
        last.close()

    def test_a_new_owner_goes_on_after_the_logins_of_the_former_one(self) -> None:
        world = make_world(partitions=2)
        many(world, seed=5)
        one, other = world.worker("one"), world.worker("other")
        for run in (one, other, one, other):
            run.tick()
        world.topic.lose(one.source, other.source)
        one.close()
        other.to_the_end()
        check_contract_1(world)

    def test_a_store_that_does_not_answer_is_waited_for_and_joins_once(self) -> None:
        world = make_world(partitions=2)
        before_logins(world, seed=1)
        undisturbed = make_world(partitions=2)
        before_logins(undisturbed, seed=1)
        expected = undisturbed.worker()
        expected.to_the_end()
        failing: Sequence[Exception] = [Unavailable("down")] * 2
        run = world.worker(traps=Traps(failures={"peek": [*failing], "load": [*failing]}))
        run.to_the_end()
        assert world.pauses >= 4
        assert memories(run) == memories(expected)


def test_a_rebuild_that_fails_leaves_the_user_as_before() -> None:
    """The store is asked for item ids then; the login is tried again, and joins once."""
    world = make_world()
    view(world, "ann", "a")
    view(world, "anon", "x")
    run = world.worker()
    run.tick()
    logins, calls = run.worker._recalling._logins, []
    rebuild = logins._rebuild

    def fails(slots: Any) -> None:
        calls.append(slots)
        if len(calls) < 3:
            raise Unavailable("down")
        rebuild(slots)

    logins._rebuild = fails
    login(world, "ann", "anon")
    run.to_the_end()
    assert len(calls) == 3
    assert memories(run)["ann", 0] == (["a", "x"], 2, 3)
