"""Two workers in one process that hear each other, and what has to be so of them."""

from __future__ import annotations

import pytest

from stream_worker.config import Settings
from tests.support.worker_world import SETTINGS, Run, World


def hearing_world(settings: Settings = SETTINGS) -> World:
    world = World(settings=settings)
    world.hears = True
    return world


def valid_events(world: World) -> dict[int, int]:
    """Valid events by partition."""
    counts = dict.fromkeys(range(len(world.topic.partitions)), 0)
    for (_, partition), offsets in world.valid().items():
        counts[partition] += len(offsets)
    return counts


def two(world: World) -> tuple[Run, Run]:
    """Two workers that own a partition each."""
    first = world.worker("a")
    first.tick()
    second = world.worker("b")
    tick(4, first, second)
    assert (owned(first), owned(second)) == ([0], [1])
    return first, second


def owned(run: Run) -> list[int]:
    return run.worker._offsets.owned()


def tick(count: int, *runs: Run) -> None:
    for _ in range(count):
        for run in runs:
            run.tick()


def close(*runs: Run) -> None:
    for run in runs:
        run.close()


def check_counts(world: World, run: Run) -> None:
    """Each event was counted once, owned or heard, and none is missing."""
    counted = run.worker.line.counted
    assert dict(counted.events) == valid_events(world)
    assert not counted.gap.total()
    assert run.learned == sum(valid_events(world).values())


def finish(world: World, *runs: Run) -> None:
    """Everything is read by all, then they leave one after the other."""
    tick(30, *runs)
    for run in runs:
        check_counts(world, run)
        assert run.worker.status.takeovers.listed_again == run.worker.status.takeovers.unlearned == 0
    for run in runs:
        run.finish()
    world.check_contract_1()
    world.check_memories(runs[0].store)


def silence(run: Run) -> pytest.MonkeyPatch:
    """Let nothing come that is heard, as if the broker did not answer, until it is undone."""
    patch = pytest.MonkeyPatch()
    patch.setattr(run.heard, "poll", lambda *_: [])
    return patch
