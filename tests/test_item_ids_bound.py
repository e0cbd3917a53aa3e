"""More item ids than there is room for: the dictionary and the worker stop growing, and go on with all else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from stream_worker.assembly import make_line, memory_layout, simulated_worker
from stream_worker.backends.in_memory import InMemoryCheckpoints, InMemoryMemoryStore, InMemorySource, InMemoryTopic
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.config import Settings
from stream_worker.core.interfaces import MemoryStore
from stream_worker.loop.worker import Worker
from tests.test_bounds import ITEMS, Forgetful, feed, held, settle, small_settings

_ROOM = 4 * ITEMS


def _worker(settings: Settings, topic: InMemoryTopic, store: MemoryStore, checkpoints: InMemoryCheckpoints) -> Worker:
    worker = simulated_worker(
        settings,
        InMemorySource(topic),
        Forgetful(topic),
        make_line(settings, "bounds"),
        store=store,
        checkpoints=checkpoints,
        checkpoint_seconds=0.05,
    )
    worker.start(checkpoints.load_newest(), own=False)
    return worker


def _said(lines: list[Any]) -> list[Any]:
    return [
        line for line in lines if line["log_level"] == "warning" and "the dictionary of items is full" in line["event"]
    ]


@pytest.mark.redis
def test_of_more_ids_than_the_bound_redis_and_the_worker_stop_growing_and_lists_go_on(redis_url: str) -> None:
    """Three times as many ids as fit, through a worker; what was remembered before stays as it was."""
    settings = small_settings()
    settings = replace(settings, memory=replace(settings.memory, redis_url=redis_url, max_item_ids=_ROOM))
    store, server = RedisMemoryStore(settings.memory, "many-ids:topic"), redis.Redis.from_url(redis_url)
    dictionary = [f"stream-worker:{{many-ids:topic:items}}:{name}" for name in ("ids", "names")]

    def taken() -> list[Any]:
        return [(server.hlen(key), server.memory_usage(key, samples=0)) for key in dictionary]

    topic = InMemoryTopic()
    with capture_logs() as lines:
        worker = _worker(settings, topic, store, InMemoryCheckpoints())
        feed(worker, topic, 0, 5_500)
        settle(worker)
        full, at_the_bound = taken(), held(worker)
        lists = len(topic.outputs.recommendations)
        not_remembered = worker.status.memory.events_not_remembered
        feed(worker, topic, 5_500, 9_000)
        settle(worker)
    assert [count for count, _ in full] == [_ROOM, _ROOM]
    assert taken() == full
    assert held(worker) < 1.1 * at_the_bound
    assert worker.status.catalogue.ids_used == 1.0
    assert worker.status.memory.events_not_remembered - not_remembered > 8_000
    assert worker.status.consuming.events == 14_500
    assert worker._outside.sink.lists > lists  # type: ignore[attr-defined]
    assert len(_said(lines)) == 1
    newest = [blob for _, _, blob in store.scan("u3600")]
    record = memory_layout(settings).decode(newest)[0]
    assert record["events"] > 0, "it counts"
    assert not record["number"].any(), "it is not remembered"


def test_a_start_from_a_checkpoint_with_more_items_than_there_is_room_for_goes_on() -> None:
    """All of the catalogue is numbered at once; those without a number are listed like the others."""
    settings, topic, checkpoints = small_settings(), InMemoryTopic(), InMemoryCheckpoints()
    first = _worker(settings, topic, InMemoryMemoryStore(settings.memory), checkpoints)
    feed(first, topic, 0, 1_500)
    first.finish()
    live = len(first.line.learner.catalog)
    tight = replace(settings.memory, twin_items=20)
    with capture_logs() as lines:
        second = _worker(settings, topic, InMemoryMemoryStore(tight), checkpoints)
    catalog = second.line.learner.catalog
    assert len(catalog) == live > 100
    assert (catalog.number_N > 0).sum() == 20
    assert len(_said(lines)) == 1
    feed(second, topic, 1_500, 500)
    assert second.status.consuming.events == 2_000, "none is in memory yet"
    assert second._outside.sink.lists > 0  # type: ignore[attr-defined]
