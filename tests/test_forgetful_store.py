"""A memory store that forgets while workers live, and a topic that grows: memories are read again, lists are not."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.memory_record import MemoryFormat
from tests.support.worker_world import BATCH, MODEL, Durable, Traps, World

ROUNDS = 6


@pytest.fixture
def world() -> World:
    return World(Durable)


def items_of(world: World, user: str) -> set[str]:
    """The items in the user's rings, by all of its records."""
    layout, store = MemoryFormat(MODEL.ring_size, MODEL.dim), world.shared
    rings = [layout.decode([blob])[0]["number"] for _, _, blob in store.scan(user)]
    return {str(item) for ring in rings for item in store.item_ids([int(number) for number in ring if number])}


def somebody_claims(world: World, partition: int) -> None:
    """And is gone, as a start that was killed at once."""
    InMemoryMemoryStore.claim(world.shared, [partition])


def test_a_wiped_store_is_filled_again_from_the_log_and_nothing_is_published_twice(world: World) -> None:
    world.send_many(60)
    run = world.worker()
    run.tick(ROUNDS)
    world.shared.fall_back()
    world.send_many(20)
    run.to_the_end()
    world.check_contract_1()
    world.check_memories(run.store)
    assert run.worker.status.takeovers.memories_lost == 2  # both partitions
    assert run.learned == 80
    assert run.worker.status.takeovers.unlearned == run.worker.status.takeovers.overlap == 0


def test_a_store_put_back_to_an_earlier_state_is_brought_up_to_date(world: World) -> None:
    """Its M is earlier, too; items that were numbered since get other numbers, and nobody mixes them up."""
    run = world.worker()
    world.send_many(20)
    run.tick(ROUNDS)
    earlier = InMemoryMemoryStore.state_dict(world.shared)
    for k in range(20):
        world.send(f"u{k % 5}", f"new{k}", partition=k % 2)
    run.tick(ROUNDS)
    world.shared.fall_back(earlier)
    for k in range(20):
        world.send(f"u{k % 5}", f"newer{19 - k}", partition=k % 2)
    run.to_the_end()
    world.check_contract_1()
    world.check_memories(run.store)
    assert run.learned == 60


def test_a_store_that_is_lost_between_two_writes_of_the_background_is_begun_again(world: World) -> None:
    """What was being written then had the old numbers: it is not counted as written."""
    world.send_many(60)
    run = world.worker()
    run.tick(2)
    save, calls = run.store.save, Counter[str]()

    def lose_at_the_second(*args: object) -> object:
        calls["save"] += 1
        if calls["save"] == 2:
            run.store.fall_back()
        return save(*args)

    run.store.save = lose_at_the_second
    run.to_the_end()
    world.check_contract_1()
    world.check_memories(run.store)


@pytest.mark.parametrize("workers", [1, 2])
def test_only_so_much_is_read_again_as_is_asked_for(world: World, workers: int) -> None:
    """Counters then begin there, and say so by being smaller than the log's."""
    world.send_many(80)
    runs = [world.worker(str(slot), rebuild_records=5) for slot in range(workers)]
    for _ in range(12):
        for run in runs:
            run.tick()
    world.shared.fall_back()
    for partition in (0, 1):  # whoever has nothing to do does not notice
        world.send("u1", "i1", partition)
    for run in runs:
        run.tick(3)
    world.check_contract_1()
    layout = MemoryFormat(MODEL.ring_size, MODEL.dim)
    counted = Counter(p for p, _, blob in world.shared.scan() for _ in range(layout.decode([blob])[0]["events"]))
    assert all(0 < counted[p] <= 6 for p in (0, 1)), counted
    for run in runs:
        run.finish()


def test_a_partition_that_was_refused_and_is_still_owned_is_claimed_again(world: World) -> None:
    world.send_many(60)
    run = world.worker()
    run.tick(2)
    somebody_claims(world, 1)
    run.to_the_end()
    world.check_contract_1()
    world.check_memories(run.store)
    assert run.worker.status.memory.stale_writes == 1
    assert run.learned == 60


def test_a_write_that_is_refused_for_a_claim_of_before_costs_the_new_claim_nothing(world: World) -> None:
    """While a write is under way, the partition is found to be refused, let go and claimed again: the old write is
    refused, too, and what is claimed now goes on."""
    world.send_many(16)
    run = world.worker()
    run.tick(2)
    save, may_go_on = run.checkpoints.save, threading.Event()

    def wait_and_save(snapshot: Snapshot) -> None:
        assert may_go_on.wait(10)
        save(snapshot)

    run.checkpoints.save = wait_and_save  # type: ignore[method-assign]
    world.send("u1", "i1", partition=1)
    run.worker.run_once()
    assert run.worker._persistence.checkpointer.busy()
    old = run.worker._memories.tokens[1]
    somebody_claims(world, 1)
    world.send("a newcomer", "i2", partition=1)
    run.worker.run_once()  # asks the store for the newcomer
    run.worker.run_once()
    claimed = run.worker._memories.tokens[1]
    assert claimed > old
    may_go_on.set()
    run.settle()
    assert run.worker.status.memory.stale_writes == 1
    assert run.worker._memories.tokens[1] == claimed
    assert 1 in run.worker._offsets, "still owned, by the newer claim"
    run.to_the_end()
    assert run.worker._memories.tokens[1] == claimed
    world.check_contract_1()
    world.check_memories(run.store)


def test_a_claim_that_the_store_does_not_answer_ends_in_good_order_when_asked_to(world: World) -> None:
    world.send_many(10)

    def stop(_: float) -> None:
        run.worker.request_stop()

    run = world.worker(traps=Traps(failures={"claim": [Unavailable("down")] * 9}), pause=stop)
    run.worker.run()
    assert world.topic.outputs.recommendations == []
    world.worker().to_the_end()
    world.check_contract_1()


@pytest.mark.parametrize("workers", [1, 2])
def test_users_move_with_their_memories_when_the_topic_grows(world: World, workers: int) -> None:
    """In the new partition the ring goes on where it stood; counters begin at 0, and their sum is the log's."""
    for k in range(20):
        world.send(f"u{k % 4}", f"old{k % 4}", partition=k % 2)
    runs = [world.worker(str(slot)) for slot in range(workers)]
    for _ in range(ROUNDS):
        for run in runs:
            run.tick()
    world.topic.grow(4)
    for k in range(20):
        world.send(f"u{k % 4}", f"young{k % 4}", partition=2 + k % 2)
    world.send("u0", "young0", partition=1)
    for _ in range(ROUNDS):
        for run in runs:
            run.tick()
    world.check_contract_1()
    layout = MemoryFormat(MODEL.ring_size, MODEL.dim)
    for user in ("u0", "u1", "u2", "u3"):
        records = [layout.decode([blob])[0] for _, _, blob in world.shared.scan(user)]
        assert sum(int(record["events"]) for record in records) == 10 + (user == "u0")
        assert items_of(world, user) == {user.replace("u", "old"), user.replace("u", "young")}
        moved = [p for p, _, _ in world.shared.scan(user) if p >= 2]
        ring = [blob for p, _, blob in world.shared.scan(user) if p == moved[0]]
        numbers = [int(number) for number in layout.decode(ring)[0]["number"] if number]
        assert user.replace("u", "old") in world.shared.item_ids(numbers)
    for run in runs:
        run.finish()


def test_a_partition_that_was_added_is_read_from_its_beginning(world: World) -> None:
    """Also where the group itself began at the end of the topic."""
    world.send_many(10)
    run = world.worker()
    run.source._start = "latest"
    run.tick(2)
    assert world.topic.outputs.recommendations == []
    world.topic.grow(3)
    world.send("u", "x", partition=2)
    run.tick(2)
    assert [made.partition for made in world.topic.outputs.recommendations] == [2]
    run.finish()


def test_one_tick_of_the_world_is_one_batch() -> None:
    """The numbers of ticks above rest on it."""
    assert BATCH == 8
