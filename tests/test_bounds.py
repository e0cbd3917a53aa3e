"""Everything that grows has a bound: many more users and items than fit, and the worker's size stays where it was."""

from __future__ import annotations

import gc
import math
import time
import types
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stream_worker.assembly import make_line, simulated_worker
from stream_worker.backends.in_memory import (
    InMemorySink,
    InMemorySource,
    InMemoryTopic,
)
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.config import Settings, load_settings
from stream_worker.core.codec import encode_event
from stream_worker.loop.worker import Worker

USERS, ITEMS, BATCH = 300, 200, 64
_SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.FrameType)


class Forgetful(InMemorySink):
    """A topic is not the worker's memory: what is published leaves the process."""

    def commit(self, outputs: Any, next_offsets: Any, membership: Any, marks: Any = None) -> None:
        self.lists = getattr(self, "lists", 0) + len(outputs.recommendations)
        outputs.recommendations, outputs.dead_letters = [], []
        super().commit(outputs, next_offsets, membership, marks)


def small_settings() -> Settings:
    defaults = load_settings(None, {})
    return replace(
        defaults,
        memory=MemoryConfig(device_users=USERS, twin_users=USERS, twin_items=4 * ITEMS, pending_users=USERS),
        model=replace(
            defaults.model, dim=16, ring_size=20, window=5, max_items=ITEMS, attic_items=ITEMS, replay_capacity=500
        ),
        worker=replace(defaults.worker, batch_size=BATCH),
        monitor=replace(defaults.monitor, window=500, drift_memory=50),
    )


def held(root: object) -> int:
    """Bytes of everything that can be reached from `root`: arrays, tensors, containers, texts."""
    seen: set[int] = set()
    waiting, total = [root], 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _SHARED):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor | np.ndarray):
            total += thing.nbytes
        elif not isinstance(thing, InMemoryTopic):
            total += thing.__sizeof__()
            waiting.extend(gc.get_referents(thing))
    return total


def feed(worker: Worker, topic: InMemoryTopic, first: int, count: int) -> None:
    """Events of a population that moves on: each user and item is seen a few times, then never again."""
    rng = np.random.default_rng(first)
    for k in range(first, first + count):
        user, item = k // 4 + int(rng.integers(0, 50)), k // 6 + int(rng.integers(0, 30))
        ts = 1_700_000_000 + k
        topic.append(f"u{user}".encode(), encode_event(f"u{user}", f"i{item}", "view", ts), ts * 1000)
    while worker.status.consuming.records < first + count:
        worker.run_once()


def settle(worker: Worker) -> None:
    """Until nothing is left to write: a snapshot on its way to the disk is there only for a moment."""
    for _ in range(20):
        time.sleep(0.02)
        worker.run_once()


def test_ten_times_more_users_and_items_than_fit_leave_the_size_as_it_was() -> None:
    """Device table, store, catalogue, counts, replay, monitor and item numbers: all bounded; lists still come."""
    settings, topic = small_settings(), InMemoryTopic()
    sink = Forgetful(topic)
    line = make_line(settings, "bounds")
    worker = simulated_worker(settings, InMemorySource(topic), sink, line, checkpoint_seconds=0.05)
    worker.start()
    feed(worker, topic, 0, 4_000)
    settle(worker)
    at_three_times = held(worker)
    feed(worker, topic, 4_000, 10_000)
    settle(worker)
    assert 10 * USERS < 14_000 / 4
    assert 10 * ITEMS < 14_000 / 6
    assert worker.status.catalogue.items <= ITEMS
    assert worker.status.memory.users_on_device <= USERS
    assert math.isclose(held(worker), at_three_times, rel_tol=0.1), (at_three_times, held(worker))
    assert sink.lists > 0
