"""A value out of bounds is refused by its section, key, bound and value, before anything is built."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stream_worker.config import settings_of
from stream_worker.core.errors import ConfigurationError

_CHECKPOINT: list[tuple[dict[str, Any], str]] = [
    ({"path": ""}, 'path: must not be empty, got ""'),
    ({"keep": 0}, "keep: must be above 0, got 0"),
    ({"interval_seconds": 0.0}, "interval_seconds: must be above 0, got 0.0"),
    ({"interval_seconds": 3601.0}, "interval_seconds: must be at most 3600, got 3601.0"),
    ({"interval_seconds": math.nan}, "interval_seconds: must be at most 3600, got nan"),
]
_DRIFT: list[tuple[dict[str, Any], str]] = [
    ({"answers": ["rates"]}, "answers.0: must be 'fade', 'rate', 'replay' or 'rebuild', got \"rates\""),
    ({"rate_factor": 0.0}, "rate_factor: must be above 0, got 0.0"),
    ({"rate_factor": 101}, "rate_factor: must be at most 100, got 101"),
    ({"fade_share": 0.0}, "fade_share: must be above 0, got 0.0"),
    ({"rate_events": 0}, "rate_events: must be above 0, got 0"),
    ({"replay_events": 0}, "replay_events: must be above 0, got 0"),
    ({"replay_share": -1.0}, "replay_share: must be at least 0, got -1.0"),
    ({"collapse_skips": 0}, "collapse_skips: must be above 0, got 0"),
    ({"collapse_hit_rate": 1.5}, "collapse_hit_rate: must be at most 1, got 1.5"),
]
_EFFORT: list[tuple[dict[str, Any], str]] = [
    ({"thinning": 0}, "thinning: must be at least 1, got 0"),
    ({"thinning": 300}, "thinning: must be at most 256, got 300"),
    ({"thinning": 8, "most_thinning": 4}, "most_thinning: must be at least thinning (8), got 4"),
    ({"most_thinning": 300}, "most_thinning: must be at most 256, got 300"),
    ({"behind_seconds": 0.0}, "behind_seconds: must be above 0, got 0.0"),
    ({"calm_seconds": 0.0}, "calm_seconds: must be above 0, got 0.0"),
    ({"learn_backlog": -1}, "learn_backlog: must be at least 0, got -1"),
    ({"idle_share": 0.4}, "idle_share: must be at least 0.5, got 0.4"),
    ({"idle_share": 1.0}, "idle_share: must be below 1, got 1.0"),
]
_EVENTS: list[tuple[dict[str, Any], str]] = [
    ({"user": ""}, "user: must be a field name of its own, got ''"),
    ({"format": "jsn"}, "format: must be 'json' or 'snowplow', got \"jsn\"; did you mean 'json'?"),
    ({"types": {}}, "types: must hold at least one type"),
    ({"types": {"view": {"reward": math.nan}}}, "types.view.reward: must be a finite number, got NaN"),
    ({"default_type": "look"}, "default_type: must be one of view, click, cart, purchase, rating or empty, got 'look'"),
]
_KAFKA: list[tuple[dict[str, Any], str]] = [
    ({"bootstrap_servers": " "}, "bootstrap_servers: must not be empty"),
    ({"group_id": ""}, "group_id: must not be empty"),
    ({"group_protocol": "new"}, "group_protocol: must be 'classic' or 'consumer', got a text"),
    ({"start": "now"}, "start: must be 'earliest' or 'latest', got a text"),
    ({"on_lost_offset": "skip"}, "on_lost_offset: must be 'fail', 'earliest' or 'latest', got a text"),
    ({"session_timeout_ms": 999}, "session_timeout_ms: must be at least 1000, got 999"),
    ({"session_timeout_ms": 1_800_001}, "session_timeout_ms: must be at most 1800000, got 1800001"),
]
_MEMORY: list[tuple[dict[str, Any], str]] = [
    ({"device_users": 1}, "device_users: must be at least 2, got 1"),
    ({"pending_users": 0}, "pending_users: must be above 0, got 0"),
    ({"twin_users": 0}, "twin_users: must be above 0, got 0"),
    ({"twin_items": 0}, "twin_items: must be above 0, got 0"),
    ({"max_item_ids": 0}, "max_item_ids: must be above 0, got 0"),
    ({"expire_seconds": -1.0}, "expire_seconds: must be at least 0, got -1.0"),
    ({"expire_seconds": 0.5}, "expire_seconds: must be 0 (never) or at least 1, got 0.5"),
    ({"expire_seconds": math.nan}, "expire_seconds: must be at least 0, got nan"),
    ({"expire_seconds": math.inf}, "expire_seconds: must be 0 (never) or at least 1, got inf"),
    ({"rebuild_records": -1}, "rebuild_records: must be at least 0, got -1"),
    ({"namespace": ""}, "namespace: must be a name without braces, got ''"),
    ({"namespace": "a{b"}, "namespace: must be a name without braces, got 'a{b'"),
]
_METRICS: list[tuple[dict[str, Any], str]] = [
    ({"port": -1}, "port: must be at least 0, got -1"),
    ({"port": 65536}, "port: must be at most 65535, got 65536"),
    ({"host": ""}, 'host: must not be empty, got ""'),  # it would mean every interface
]
_MODEL: list[tuple[dict[str, Any], str]] = [
    ({"dim": 3}, "dim: must be at least 4, got 3"),
    ({"mini_batch": 0}, "mini_batch: must be above 0, got 0"),
    ({"ring_size": 1}, "ring_size: must be at least 2, got 1"),
    ({"ring_size": 256}, "ring_size: must be at most 255, got 256"),
    ({"window": 256}, "window: must be at most ring_size (255), got 256"),
    ({"burn_in": 248}, "burn_in: must be at most ring_size - window (247), got 248"),
    ({"burn_in": -1}, "burn_in: must be at least 0, got -1"),
    ({"stale_steps": -1}, "stale_steps: must be at least 0, got -1"),
    ({"list_length": 129}, "list_length: must be at most candidates (128), got 129"),
    ({"list_length": 0}, "list_length: must be above 0, got 0"),
    ({"max_items": 63}, "max_items: must be at least 64, got 63"),
    ({"min_items": -1}, "min_items: must be at least 0, got -1"),
    ({"item_expiry_days": -0.5}, "item_expiry_days: must be at least 0, got -0.5"),
    ({"attic_items": -1}, "attic_items: must be at least 0, got -1"),
    ({"neighbours": 3}, "neighbours: must be at least 4, got 3"),
    ({"dropout": 1.0}, "dropout: must be below 1, got 1.0"),
    ({"encoder_learning_rate": 0}, "encoder_learning_rate: must be above 0, got 0"),
    ({"loss": "bpr"}, "loss: must be 'softmax' or 'bpr_max', got \"bpr\""),
    ({"targets": 256}, "targets: must be at most 255, got 256"),
    ({"ranker_hard": -1}, "ranker_hard: must be at least 0, got -1"),
    ({"ranker_drawn": 0}, "ranker_drawn: must be above 0, got 0"),
    ({"ranker_replayed": -1}, "ranker_replayed: must be at least 0, got -1"),
    ({"ranker_examples": 0}, "ranker_examples: must be above 0, got 0"),
    ({"item_vectors": "random"}, "item_vectors: must be 'learned' or 'hashed', got \"random\""),
]
_MONITOR: list[tuple[dict[str, Any], str]] = [
    ({"window": 0}, "window: must be above 0, got 0"),
    ({"cold_events": -1}, "cold_events: must be at least 0, got -1"),
    ({"drift_block": 0}, "drift_block: must be above 0, got 0"),
    ({"drift_memory": 3}, "drift_memory: must be at least 20, got 3"),
    ({"hit_rate_k": []}, "hit_rate_k: must not be empty, got []"),
    ({"hit_rate_k": [10, 0]}, "hit_rate_k.1: must be above 0, got 0"),
    ({"drift_delta": 1.0}, "drift_delta: must be below 1, got 1.0"),
]
_WORKER: list[tuple[dict[str, Any], str]] = [
    ({"slot": ""}, "slot: must be of letters, digits, '_', '-' and '.', got ''"),
    ({"slot": "a/b"}, "slot: must be of letters, digits, '_', '-' and '.', got 'a/b'"),
    ({"threads": 65}, "threads: must be at most 64, got 65"),
    ({"batch_size": 0}, "batch_size: must be at least 1, got 0"),
    ({"batch_size": 100_001}, "batch_size: must be at most 100000, got 100001"),
    ({"batch_size": 25_001}, "batch_size: must be at most half of memory.device_users (50000), got 25001"),
    ({"poll_seconds": 0.0}, "poll_seconds: must be above 0, got 0.0"),
    ({"poll_seconds": math.nan}, "poll_seconds: must be at most 10, got nan"),
    ({"shutdown_seconds": 121}, "shutdown_seconds: must be at most 120, got 121"),
]
_REFUSED = {
    "checkpoint": _CHECKPOINT,
    "drift": _DRIFT,
    "effort": _EFFORT,
    "events": _EVENTS,
    "kafka": _KAFKA,
    "log": [({"level": "loud"}, "level: must be 'debug', 'info', 'warning' or 'error', got \"loud\"")],
    "memory": _MEMORY,
    "metrics": _METRICS,
    "model": _MODEL,
    "monitor": _MONITOR,
    "worker": _WORKER,
}


@pytest.mark.parametrize(
    ("section", "given", "message"),
    [(section, given, message) for section, refused in _REFUSED.items() for given, message in refused],
)
def test_a_value_out_of_bounds_is_refused_with_its_key_and_bound(
    section: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_of({section: given})
    assert str(refused.value).startswith(f"{section}.{message}")


def test_a_section_that_is_no_table_is_refused_as_such() -> None:
    with pytest.raises(ConfigurationError, match=r"^worker: must be a table, \[worker\], got 3$"):
        settings_of({"worker": 3})
