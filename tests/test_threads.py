"""What runs beside the loop: lists on several threads, and the weights' step beside the commit."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from stream_worker.assembly import make_line, simulated_worker
from stream_worker.backends.in_memory import (
    InMemorySink,
    InMemorySource,
    InMemoryTopic,
)
from stream_worker.config import Settings
from stream_worker.core.codec import encode_event
from stream_worker.core.errors import RestartNeeded
from stream_worker.core.events import Recommendation
from stream_worker.loop.line import _parts
from tests.support.worker_world import World


def _lists(threads: int, users: int) -> list[Recommendation]:
    topic, settings = InMemoryTopic(1), Settings()
    settings = replace(settings, worker=replace(settings.worker, batch_size=users, threads=threads))
    for k in range(3 * users):
        user, ts = f"u{k % users}", 1_700_000_000 + k
        topic.append(user.encode(), encode_event(user, f"i{k * k % 97}", "view", ts), ts * 1000)
    worker = simulated_worker(settings, InMemorySource(topic), InMemorySink(topic), make_line(settings, "line"))
    worker.start()
    while worker.status.consuming.events < 3 * users:
        worker.run_once()
    worker.finish()
    return topic.outputs.recommendations


@pytest.mark.parametrize("users", [100, 600])
def test_lists_do_not_depend_on_the_number_of_threads(users: int) -> None:
    """Of many users in one tick each thread makes some lists, of few some candidates: to the bit the same."""
    alone = _lists(1, users)
    assert len(alone) == 3 * users
    assert _lists(3, users) == alone


def test_the_step_is_over_when_the_commit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hears of the failure may write or drop weights: nobody may still be changing them. (Other steps are made
    before, between mini-batches, by the loop itself.)"""
    world = World()
    world.send_many(20)
    run = world.worker()
    steps = []

    def step(*_: object, **__: object) -> dict[str, float]:
        beside = threading.current_thread() is not threading.main_thread()
        time.sleep(0.2 if beside else 0.0)
        steps.append("beside the commit" if beside else "before")
        return {}

    def commit(*args: object) -> None:
        raise RestartNeeded("the broker says so")

    monkeypatch.setattr(run.worker.line.learner, "step", step)
    monkeypatch.setattr(run.worker._outside.sink, "commit", commit)
    with pytest.raises(RestartNeeded):
        run.tick()
    assert steps[-1] == "beside the commit"


@pytest.mark.parametrize("users", [129, 200, 256, 257, 1_000])
def test_parts_hold_everybody_in_order_and_two_threads_have_as_much_to_do(users: int) -> None:
    parts = _parts(np.arange(users))
    assert np.concatenate(parts).tolist() == list(range(users))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= 128
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) % 2 == 0
