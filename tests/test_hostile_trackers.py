"""Damaged records of trackers: whatever stands in them, a record is events, a dead letter or nothing, and no error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest

from stream_worker.core.decoder import Decoder
from stream_worker.core.event_fields import ERRORS, REGISTRY_ERRORS, SNOWPLOW_ERRORS
from stream_worker.core.event_times import OLDEST_SECONDS
from stream_worker.core.events import Record
from tests.test_presets import NOON, PRESETS, preset, records, seconds

DAMAGES = 80  # of each record
JUNK: list[Any] = [
    None, True, 0, -1, 7.5, 1e300, 2**63, "", " ", "x", "ü" * 300, "\u0000", "9" * 400, "yesterday", "1e999",
    [], {}, [[]], [None], [{}], [1, "a"], {"": {}}, {"id": {}}, {"0": []}, [{"id": 5}] * 300,
]  # fmt: skip


def damaged(value: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield the record with a value replaced, removed or put under another name, and with bytes cut or changed."""
    for _ in range(DAMAGES):
        try:
            document = orjson.loads(value)
        except ValueError:
            document = None
        if document is not None and rng.random() < 0.8:
            for _ in range(rng.randint(1, 3)):
                document = changed(document, rng)
            yield orjson.dumps(document)
        else:
            at = rng.randrange(len(value) + 1)
            yield value[:at] + rng.choice([b"", b"\xff", b"\t", b"{", b"\\", b'"', b"\x00"]) + value[at + 1 :]


def changed(tree: Any, rng: random.Random) -> Any:
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.2:
        return deepcopy(rng.choice(JUNK))
    key: Any = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
    if isinstance(tree, dict) and rng.random() < 0.1:
        return {name: value for name, value in tree.items() if name != key}
    tree[key] = changed(tree[key], rng)
    return tree


@pytest.mark.parametrize("name", PRESETS)
def test_damaged_records_are_events_dead_letters_or_nothing(name: str) -> None:
    decoder, rng = Decoder(preset(name)), random.Random(name)
    newest = seconds(NOON) + 86_400
    for record in records(name)[0]:
        for n, value in enumerate(damaged(record.value or b"", rng)):
            before = decoder.ignored.total()
            events, dead = decoder.decode([Record(0, n, record.timestamp_ms, b"k", value, headers=record.headers)])
            assert len(events) or dead or decoder.aliases or decoder.ignored.total() > before
            assert len(dead) <= 1
            assert all(letter.error and letter.reason for letter in dead)
            assert all(OLDEST_SECONDS <= ts <= newest for ts in events.ts_B.tolist())
            assert all(0 < len(text.encode()) <= 256 for text in [*events.users, *events.items])
            assert len(events) <= 256


def test_damage_makes_all_kinds_of_faults() -> None:
    """Otherwise the test above would hold of nothing."""
    rng, errors = random.Random(1), set()
    for name in PRESETS:
        decoder = Decoder(preset(name))
        for record in records(name)[0]:
            for value in damaged(record.value or b"", rng):
                _, dead = decoder.decode([Record(0, 0, record.timestamp_ms, None, value)])
                errors |= {letter.error for letter in dead}
    assert errors <= {*ERRORS, *REGISTRY_ERRORS, *SNOWPLOW_ERRORS}
    assert errors >= {"NotJson", "MissingField", "WrongType", "BadId", "BadTimestamp", "TooManyElements", "NotSnowplow"}
