"""A partition whose memories are ahead of L is heard before it is claimed, whoever remembered: nothing is in a gap."""

from __future__ import annotations

import pytest

from stream_worker.core.interfaces import Snapshot
from stream_worker.core.memory_record import header_of
from stream_worker.loop.hearing import Hearing
from tests.support.two_workers import check_counts, hearing_world, owned, tick, two
from tests.support.worker_world import Killed, Run, World


@pytest.fixture
def world() -> World:
    return hearing_world()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What begins to be heard; it is only noted."""
    noted: list[object] = []
    monkeypatch.setattr(Hearing, "begin", lambda self, only=None: noted.append(only))
    return noted


def newest(world: World, slot: str) -> Snapshot:
    found = world.checkpoints[slot].load_newest()
    assert found is not None
    return found


def remembered(world: World, partition: int) -> int:
    """The highest n."""
    return max(int(header_of(blob)["next_offset"]) for p, _, blob in world.shared.scan() if p == partition)


def killed_at(world: World, slot: str, run: Run, step: str, times: int) -> None:
    """kill -9 at a later step of this name; the group notices it."""
    run.traps.kill_at = {step: run.traps.steps.count(step) + times}
    with pytest.raises(Killed):
        run.tick(20)
    world.topic.leave(slot, run.source)


def check_all(world: World, run: Run) -> None:
    check_counts(world, run)
    assert run.worker.status.takeovers.unlearned == 0
    world.check_contract_1()
    world.check_memories(run.store)


def claimed_after_another_one(last: str = "M") -> None:
    """A line owned partition 0 and died; the other one took it over, remembered more, and died. Then it is back."""
    world = hearing_world()
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    first.close()
    world.topic.leave("a", first.source)
    world.send_many(40)
    killed_at(world, "b", second, last, 3)
    assert 0 not in newest(world, "a").meta["heard"]
    again = world.worker("a")
    assert again.worker.line.offsets[0] < remembered(world, 0)
    again.to_the_end()
    check_all(world, again)


@pytest.mark.parametrize("last", ["records", "M"])
def test_what_another_one_remembered_meanwhile_is_heard_before_the_former_owner_claims_it(last: str) -> None:
    """The other one died after it had written memories, or M, too."""
    claimed_after_another_one(last)


def test_it_is_heard_first_also_if_the_claim_is_tried_again_after_a_death(world: World) -> None:
    """The claim itself leaves nothing behind that would let the next start claim at once."""
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    first.close()
    world.topic.leave("a", first.source)
    world.send_many(40)
    killed_at(world, "b", second, "M", 3)
    for times in (1, 2):
        killed_at(world, "a", world.worker("a"), "claim", times)
    again = world.worker("a")
    again.to_the_end()
    check_all(world, again)


@pytest.mark.parametrize("own", [True, False])
def test_a_line_from_an_older_or_another_ones_checkpoint_hears_what_was_remembered_since(
    world: World, own: bool
) -> None:
    world.send_many(60)
    first = world.worker("a")
    first.tick(20)
    older = newest(world, "a")
    world.send_many(40)
    first.tick(20)
    first.finish()
    world.send_many(20)
    slot = "a" if own else "c"
    world.checkpoints[slot].save(older)
    again = world.worker(slot, own=own)
    again.tick()
    assert owned(again) == []
    again.to_the_end()
    check_all(world, again)


def test_a_line_without_a_checkpoint_counts_all_from_where_it_begins(world: World) -> None:
    """The last owner died before it could write M: what it remembered past M is heard first."""
    world.send_many(60)
    first = world.worker("a")
    first.tick(2)
    killed_at(world, "a", first, "records", 1)
    assert remembered(world, 0) > (world.shared.kept([0])[0].floor or 0)
    again = world.worker("c")
    again.to_the_end()
    assert not again.worker.line.counted.gap.total()
    world.check_contract_1()
    world.check_memories(again.store)


@pytest.mark.parametrize("step", ["Y", "L", "records", "M", "claim", "nothing"])
@pytest.mark.parametrize("wiped", [False, True])
def test_one_that_is_alone_claims_at_once_after_any_death(
    world: World, begun: list[object], step: str, wiped: bool
) -> None:
    """Nothing is read twice for it, also where the store was wiped meanwhile."""
    world.send_many(60)
    first = world.worker("a")
    first.tick(4)
    if step == "nothing":
        first.finish()
    elif step == "claim":
        first.close()
        world.topic.leave("a", first.source)
        killed_at(world, "a", world.worker("a"), step, 1)
    else:
        killed_at(world, "a", first, step, 2)
    if wiped:
        world.shared = world._store()
    again = world.worker("a")
    again.tick()
    assert owned(again) == [0, 1]
    again.to_the_end()
    assert begun == []
    check_all(world, again)


def test_one_that_claims_again_what_it_has_lost_for_a_moment_hears_nothing(world: World, begun: list[object]) -> None:
    """Its own token was refused: L in memory is past all that it has written."""
    world.send_many(60)
    run = world.worker("a")
    run.tick(4)
    world.shared.claim([0])
    run.to_the_end()
    assert begun == []
    check_all(world, run)
