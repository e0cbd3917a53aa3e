"""A topic that was deleted and made again, and committed offsets that expired: nothing of it is lost without a word."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from stream_worker.core.errors import OffsetLost
from stream_worker.core.events import Outputs
from stream_worker.core.memory_record import header_of, ring_of
from tests.support.worker_world import MODEL, Durable, Killed, Redis, Run, Traps, Twin, World

KINDS = [pytest.param("redis", marks=pytest.mark.redis), "durable", "twin"]
Memory = tuple[int, int, list[str]]


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "redis":
        return World(Redis, url=request.getfixturevalue("redis_url"), group=uuid4().hex)
    return World({"durable": Durable, "twin": Twin}[request.param])


def make_again(world: World, partitions: int = 2) -> None:
    world.topic.make_again(partitions)
    world.topic.ended, world.topic.outputs = False, Outputs()


def remembered(world: World, run: Run) -> dict[tuple[str, int], Memory]:
    """(user, partition) -> counted events, n and ring, of the topic of now."""
    found = {}
    for partition, user, blob in run.store.scan():
        header = header_of(blob)
        if (user, partition) in world.valid():
            ring = [str(item) for item in run.store.item_ids(ring_of(blob))]
            found[user, partition] = header["events"], header["next_offset"], ring
    return found


def expected(world: World, before: dict[str, list[str]]) -> dict[tuple[str, int], Memory]:
    """Counters as of this topic alone; rings go on from what was there before it."""
    return {
        (user, p): (
            len(at),
            at[-1] + 1,
            [*before.get(user, []), *world._items(p, at)][-MODEL.ring_size :],
        )
        for (user, p), at in world.valid().items()
    }


def to_the_end(world: World, start: str = "earliest") -> Run:
    run = world.worker()
    run.source._start = start
    run.to_the_end()
    return run


@pytest.mark.parametrize("events", [10, 90])
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_all_of_it_is_listed_learned_and_remembered(world: World, events: int, start: str) -> None:
    """With fewer records than the one before had, and with more; a user of one partition goes on from what it did."""
    for k in range(40):
        world.send(f"u{k % 5}", f"old{k % 7}", partition=k % 5 % 2)
    to_the_end(world)
    before = {user: ring for (user, _), (_, _, ring) in remembered(world, to_the_end(world)).items()}
    make_again(world)
    for k in range(events):
        world.send(f"u{k % 6}", f"new{k % 5}", partition=k % 6 % 2)
    with capture_logs() as logs:
        run = to_the_end(world, start)
    world.check_contract_1()
    assert remembered(world, run) == expected(world, before)
    assert run.learned == 40 + events
    takeovers = run.worker.status.takeovers
    assert takeovers.unlearned == takeovers.overlap == takeovers.listed_again == 0
    said = [log for log in logs if log["log_level"] == "error" and log.get("before") == "topic-1"]
    assert {log["topic_id"] for log in said} == {"topic-2"}


def test_a_second_start_goes_on_in_it(world: World) -> None:
    """Killed at every step that is durable, and started again."""
    world.send_many(40)
    to_the_end(world)
    make_again(world)
    world.send_many(60)
    for step in ("Y", "L", "records", "M", "claim"):
        if step == "records" and world.kind is Twin:
            continue
        run = world.worker(traps=Traps(kill_at={step: 2 if step in ("Y", "records") else 1}))
        with pytest.raises(Killed):
            run.tick(20)
    run = to_the_end(world)
    world.check_contract_1()
    counted = {key: memory[:2] for key, memory in remembered(world, run).items()}
    assert counted == {key: (len(at), at[-1] + 1) for key, at in world.valid().items()}
    assert run.worker.status.takeovers.listed_again == 0


def test_it_goes_on_within_a_process_that_reads_it(world: World) -> None:
    """Where a source lives on: partitions are lost with the topic, and claimed under another id."""
    world.send_many(40)
    run = world.worker()
    run.tick(8)
    make_again(world)
    world.send_many(50)
    run.to_the_end()
    world.check_contract_1()
    assert run.learned == 90


def test_with_fewer_partitions_users_are_found_where_they_were() -> None:
    world = World(Durable, partitions=4)
    for k in range(40):
        world.send(f"u{k % 8}", f"old{k % 8}", partition=k % 4)
    to_the_end(world)
    make_again(world, 2)
    for k in range(16):
        world.send(f"u{k % 8}", "new", partition=k % 8 // 4)
    run = to_the_end(world)
    assert {user: memory[2][-3:] for (user, _), memory in remembered(world, run).items()} == {
        f"u{k}": [f"old{k}", "new", "new"] for k in range(8)
    }
    assert {memory[0] for memory in remembered(world, run).values()} == {2}


def expire(world: World) -> None:
    world.topic.committed.clear()
    world.topic.marks.clear()
    world.topic.ended = False


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_after_committed_offsets_expired_it_goes_on_where_memories_end(world: World, start: str) -> None:
    """Also what came while nobody was there is listed, whatever the setting says of a first start."""
    world.send_many(40)
    to_the_end(world)
    expire(world)
    world.send_many(30)
    run = to_the_end(world, start)
    world.check_contract_1()
    world.check_memories(run.store)
    assert run.worker.status.takeovers.listed_again == 0


def test_what_is_listed_again_is_counted(world: World) -> None:
    """Killed between L and M: its last events are in two lists, and no other is. The twin's M is written with L."""
    world.send_many(40)
    run = world.worker(traps=Traps(kill_at={"L": 4}))
    with pytest.raises(Killed):
        run.tick(20)
    run.close()
    listed = sum(made.events for made in world.topic.outputs.recommendations)
    expire(world)
    run = to_the_end(world, "latest")
    again = sum(made.events for made in world.topic.outputs.recommendations) - sum(map(len, world.valid().values()))
    assert run.worker.status.takeovers.listed_again == again
    assert again == 0 if world.kind is Twin else 0 < again < listed
    counts: Counter[tuple[str, int]] = Counter()
    for made in world.topic.outputs.recommendations:
        counts[made.user, made.partition] += made.events
    assert all(counts[key] >= len(at) for key, at in world.valid().items())


class TestOffsetsWithoutRecords:
    def emptied(self, world: World) -> None:
        for partition, records in enumerate(world.topic.partitions):
            world.topic.trim(partition, len(records))
        world.topic.ended = False

    @pytest.mark.parametrize("ticks_between", [0, 3])
    def test_at_the_end_of_an_emptied_topic_nothing_is_lost(self, world: World, ticks_between: int) -> None:
        """Written with the events before them, or, where only they came since, alone."""
        world.send_many(20)
        run = world.worker()
        run.tick(ticks_between)
        for partition in (0, 0, 1):
            world.topic.append_marker(partition)
        run.tick(4)
        run.finish()
        self.emptied(world)
        world.send("u1", "later", partition=0)
        run = to_the_end(world)
        assert sum(made.events for made in world.topic.outputs.recommendations) == 21

    def test_they_alone_cost_a_durable_store_no_checkpoint(self) -> None:
        world = World(Durable)
        world.send_many(20)
        run = world.worker()
        run.tick(6)
        checkpoints = run.traps.steps.count("L")
        world.topic.append_marker(0)
        run.tick(3)
        assert run.traps.steps.count("L") == checkpoints
        assert run.store.kept([0])[0].stood == len(world.topic.partitions[0])
        floors = run.traps.steps.count("M")
        run.tick(3)
        assert run.traps.steps.count("M") == floors
        run.finish()

    def test_a_record_that_retention_took_is_still_missed(self, world: World) -> None:
        world.send_many(20)
        world.topic.append_marker(0)
        to_the_end(world)
        world.send("u1", "unread", partition=0)
        self.emptied(world)
        with pytest.raises(OffsetLost):
            to_the_end(world)
