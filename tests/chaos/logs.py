"""What the scenarios send: a real log where one is given, else a made-up one, as records of the canonical form."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from stream_worker.backends.files.mapping import load_mapping
from stream_worker.backends.files.reading import read_log
from stream_worker.core.codec import encode_event
from tests.support.fleet import Event

START_TS = 1_700_000_000


def recorded(log: Path, mapping: Path, limit: int) -> list[Event]:
    """The first `limit` rows, as `produce` would send them; all have to be events."""
    rows = islice(read_log([log], load_mapping(mapping)), limit)
    return [(user, value, timestamp_ms, True) for user, value, timestamp_ms in rows]


def made_up(seed: int, events: int = 100_000) -> list[Event]:
    """Users in sessions of some ten events, who walk through 3,000 items; one in a hundred comes back later."""
    rng = np.random.default_rng(seed)
    open_users = rng.integers(0, 20_000, size=300)
    places = rng.integers(0, 3_000, size=300)
    made: list[Event] = []
    for k in range(events):
        seat = int(rng.integers(0, 300))
        if rng.random() < 0.1:
            open_users[seat], places[seat] = rng.integers(0, 20_000), rng.integers(0, 3_000)
        places[seat] = (places[seat] + rng.integers(1, 4)) % 3_000
        user, item, ts = f"u{open_users[seat]}", f"i{places[seat]}", START_TS + k
        made.append((user, encode_event(user, item, "view", ts), ts * 1000, True))
    return made
