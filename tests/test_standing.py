"""Where a worker stands, as /readyz tells it: true to what it owns, and to what it waits for."""

from __future__ import annotations

import math

import pytest

from stream_worker.core.errors import RestartNeeded, TransactionAborted, Unavailable
from stream_worker.core.status import DRAINING, NoObserver, Standing, Status
from tests.support.worker_world import Run, Traps, World


class Diary(NoObserver):
    """What the worker told, without repetitions."""

    def __init__(self) -> None:
        self.standings: list[Standing] = []
        self.waits: list[str] = []

    def ticked(self, status: Status) -> None:
        if status.standing not in self.standings[-1:]:
            self.standings.append(status.standing)
        if status.waiting not in self.waits[-1:]:
            self.waits.append(status.waiting)


@pytest.fixture
def world() -> World:
    return World()


def standing(run: Run) -> Standing:
    run.tick()
    return run.worker.status.standing


def test_an_owner_is_ready_and_one_on_its_way_out_is_not(world: World) -> None:
    world.send_many(8)
    diary = Diary()
    run = world.worker(observer=diary)
    run.tick()
    run.finish()
    assert diary.standings == [Standing(True, "owns 2 of the partitions"), DRAINING]


def test_a_standby_is_ready(world: World) -> None:
    """A rolling restart waits for it, and an orchestrator would kill it for ever."""
    runs = [world.worker(slot) for slot in "abc"]
    stands = [standing(run) for run in runs]
    assert [s.ready for s in stands] == [True] * 3
    assert stands[2].words == "standing by"
    for run in runs:
        run.close()


def test_partitions_that_nobody_here_learns_from_are_counted(world: World) -> None:
    """Alone a worker owns them all; beside another one that it does not hear, it learns nothing of the other's."""
    first = world.worker("a")
    first.tick()
    assert first.worker.status.hearing.unheard == 0
    second = world.worker("b")
    for run in (first, second):
        run.tick()
        run.tick()
    hearings = [run.worker.status.hearing for run in (first, second)]
    assert [hearing.unheard for hearing in hearings] == [0 if hearing.on else 1 for hearing in hearings]
    first.close()
    second.close()


def test_one_that_gave_its_partitions_up_in_good_order_stands_by(world: World) -> None:
    first, second = world.worker("a"), world.worker("b")
    assert standing(first).ready
    world.topic.rebalance(dict.fromkeys(range(2), second.source))
    assert standing(first) == Standing(True, "standing by")
    assert standing(second).words == "owns 2 of the partitions"
    first.close()
    second.close()


def test_one_that_lost_its_partitions_is_not_ready_until_the_group_has_spoken_again(world: World) -> None:
    """It was stalled past its session: nobody should take it for an owner."""
    first, second = world.worker("a"), world.worker("b")
    assert standing(first).ready
    world.topic.lose(first.source, second.source)
    lost = standing(first)
    assert not lost.ready
    assert "lost" in lost.words
    world.topic.rebalance({0: first.source, 1: second.source})
    assert standing(first).words == "owns 1 of the partitions"
    first.close()
    second.close()


@pytest.mark.parametrize("step", ["load", "number_items", "Y", "claim"])
def test_what_is_waited_for_is_told_while_it_lasts_and_no_longer(world: World, step: str) -> None:
    world.send_many(8)
    diary = Diary()
    run = world.worker(traps=Traps(failures={step: [Unavailable("redis: down"), Unavailable("redis: full")]}))
    run.worker.observer = diary
    run.to_the_end()
    assert [wait for wait in diary.waits if wait] == ["redis: down", "redis: full"]
    assert diary.waits[-1] == ""


def test_what_no_checkpoint_holds_has_an_age_and_an_idle_worker_none(world: World) -> None:
    run = world.worker(checkpoint_seconds=60.0)
    status = run.worker.status
    run.worker.run_once()
    assert math.isnan(status.checkpoints.unwritten_since)
    world.send_many(4)
    run.worker.run_once()
    began = world.clock.now()
    assert status.checkpoints.unwritten_since == began
    world.clock.sleep(59)
    run.worker.run_once()
    assert status.checkpoints.unwritten_since == began
    world.clock.sleep(2)
    run.tick()
    run.tick()
    assert math.isnan(status.checkpoints.unwritten_since)
    world.clock.sleep(3_600)
    run.tick()
    assert math.isnan(status.checkpoints.unwritten_since)
    run.close()


def test_what_could_not_be_written_stays_as_old_as_it_is(world: World) -> None:
    run = world.worker(traps=Traps(failures={"L": [Unavailable("disk full")] * 2}))
    world.send_many(4)
    run.worker.run_once()
    began = run.worker.status.checkpoints.unwritten_since
    for _ in range(2):
        world.clock.sleep(100)
        run.settle()
        run.worker.run_once()
        assert run.worker.status.checkpoints.unwritten_since == began
    run.settle()
    run.worker.run_once()
    run.settle()
    run.worker.run_once()
    assert math.isnan(run.worker.status.checkpoints.unwritten_since)
    run.close()


def test_what_is_aborted_again_and_again_is_left_alone_for_longer_and_longer(world: World) -> None:
    """Thirty aborts within a second are thirty times the same; the last line names the cause."""
    world.send_many(4)
    diary = Diary()
    faults = [TransactionAborted(f"coordinator busy {n}") for n in range(30)]
    run = world.worker(traps=Traps(failures={"Y": list(faults)}))
    run.worker.observer = diary
    began = world.clock.now()
    with pytest.raises(RestartNeeded, match=r"30 times in a row, at last: coordinator busy 29"):
        run.tick()
    assert 30 < world.clock.now() - began < 90
    assert diary.waits[-1] == "coordinator busy 28"
    run.close()


def test_one_abort_is_sent_again_at_once(world: World) -> None:
    """A rebalance in the middle of a commit is no trouble."""
    world.send_many(4)
    run = world.worker(traps=Traps(failures={"Y": [TransactionAborted("rebalance")]}))
    run.to_the_end()
    assert world.pauses == 0
    world.check_contract_1()
