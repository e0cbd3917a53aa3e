"""Runs a throw-away line on made-up events, so that numba compiles its kernels before the worker joins its group.

The first time takes one to three minutes; afterwards the kernels come from numba's cache on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import orjson

from stream_worker.assembly import make_line, simulated_worker
from stream_worker.backends.in_memory import (
    InMemoryItems,
    InMemorySink,
    InMemorySource,
    InMemoryTopic,
)
from stream_worker.config import Settings
from stream_worker.core.codec import encode_event
from stream_worker.core.decisions import HOLD, Decision, encode_decision
from stream_worker.core.item_config import ItemsConfig

_EVENTS = 240  # more than the 200 events after which the popularity baseline ranks anew
_USERS, _ITEMS = 12, 40  # few, so that users come back and have items in common (not tuned)


def warm_up(settings: Settings) -> None:
    """Compile, or load from the cache, all kernels that a worker with these settings runs. Leaves nothing behind."""
    topic, described = InMemoryTopic(), bool(settings.kafka.items_topic)
    decided = bool(settings.kafka.decisions_topic)
    settings = replace(settings, items=ItemsConfig(fields=settings.items.fields))
    _fill(topic, next(iter(settings.events.named)), with_ids=bool(settings.events.sources("id")))
    worker = simulated_worker(
        settings,
        InMemorySource(topic),
        InMemorySink(topic),
        make_line(settings, "warm-up", described, decided=decided),
        checkpoint_seconds=settings.checkpoint.interval_seconds,
        items=InMemoryItems(_told_of_items()) if described else None,
        decisions=InMemoryItems(_decided()) if decided else None,
    )
    with _quietly():
        worker.start()
        while worker.status.consuming.events < _EVENTS:
            worker.run_once()
        worker.finish()


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the throw-away worker, whose log lines would be taken for the real one's."""
    logger = logging.getLogger("stream_worker")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _fill(topic: InMemoryTopic, kind: str, *, with_ids: bool) -> None:
    for number in range(_EVENTS):
        user, ts = f"user-{number % _USERS}", 1_700_000_000 + number
        value = encode_event(user, f"item-{number % _ITEMS}", kind, ts, id=number if with_ids else None)
        topic.append(user.encode(), value, ts * 1000)


def _told_of_items() -> InMemoryTopic:
    """Return an items topic that tells everything of every second item, under contract 1's names."""
    topic = InMemoryTopic()
    for number in range(0, _ITEMS, 2):
        content = {"title": f"a title {number}", "category": f"c{number % 3}", "brand": f"b{number % 5}", "price": 9.5}
        value = orjson.dumps({**content, "tags": ["one", "two"], "vectors": {"text": [1.0, float(number)]}})
        topic.append(f"item-{number}".encode(), value, 1_700_000_000_000)
    return topic


def _decided() -> InMemoryTopic:
    """Return a topic of one decision."""
    topic = InMemoryTopic()
    topic.append(b"item-1", encode_decision(Decision("item-1", HOLD, "warm-up", "warm-up", 1.7e9)), 1_700_000_000_000)
    return topic
