"""Histories as runs leave them, of made-up scores."""

from __future__ import annotations

import numpy as np

from stream_worker.core.history import History
from stream_worker.core.monitor import Monitor, MonitorConfig
from stream_worker.core.status import Learning, Note, Status

PROPOSERS = ("encoder", "own", "hot")


def run(events: int = 4_000, seed: int = 0, types: int = 2) -> tuple[History, Status]:
    """A run of which the second half is worse; an alarm, an answer, and something without a sign of its own."""
    monitor = Monitor(MonitorConfig(window=500), ("view", "cart", "never"), PROPOSERS)
    history, status, rng = History(monitor), Status(learning=Learning(rate=0.003)), np.random.default_rng(seed)
    for start in range(0, events, 50):
        rate = 0.6 if start < events / 2 else 0.3
        status.learning.losses |= {"encoder": rng.random() + 5, "ranker": rng.random() + 2}
        monitor.update(
            np.where(rng.random(50) < rate, rng.integers(1, 21, 50), 0), np.log(rng.random(50)),
            rng.integers(0, types, 50), rng.random(50) < 0.4, rng.random(50) < 0.1, np.zeros(50, dtype=np.bool_),
            rng.integers(-1, 300, 50), rng.integers(-1, 3, 50), {"co_visitation": rng.integers(0, 60, 50)},
        )  # fmt: skip
        status.consuming.events += 50
        history.ticked(status)
    status.notes.append(Note(events // 2 + 300, "alarm", "all: hit rate <b>0.6</b> to 0.3"))
    status.notes.append(Note(events // 2 + 350, "answer", "rate up"))
    status.notes.append(Note(events // 2 + 500, "moon", "full"))
    history.finish(status)
    return history, status
