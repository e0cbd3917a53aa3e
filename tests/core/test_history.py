"""However long a run is, its history has a bounded number of points, evenly spaced, and no clock in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.core.history import History
from stream_worker.core.monitor import Monitor, MonitorConfig
from stream_worker.core.status import Note, Status


def monitor() -> Monitor:
    return Monitor(MonitorConfig(window=50), ("view", "cart"), ("encoder", "own"))


def feed(monitor: Monitor, events: int, first: bool = False) -> None:
    rng = np.random.default_rng(monitor.events)
    monitor.update(
        rng.integers(0, 21, events), np.log(rng.random(events)), np.zeros(events, dtype=np.int64),
        rng.random(events) < 0.5, rng.random(events) < 0.1, np.full(events, first), rng.integers(-1, 300, events),
        rng.integers(-1, 2, events), {"baseline_a": rng.integers(0, 30, events)},
    )  # fmt: skip


def run(batches: Sequence[int], most: int = 500, step: int = 100) -> History:
    history, status = History(monitor(), most=most, step=step), Status()
    for batch in batches:
        feed(history.monitor, batch)
        history.ticked(status)
    return history


@settings(max_examples=50, deadline=None)
@given(batches=st.lists(st.integers(1, 40), min_size=1, max_size=120), most=st.integers(2, 12))
def test_thinned_out_it_is_what_the_wider_step_would_have_taken(batches: list[int], most: int) -> None:
    history = run(batches, most=most, step=5)
    assert len(history.points) <= most
    assert history.points == run(batches, most=10**6, step=history.step).points


def test_points_are_bounded_and_reach_the_end_however_much_comes() -> None:
    history = run([100] * 3_000, most=20)
    history.finish(Status())
    at = [point.at for point in history.points]
    assert 10 <= len(at) <= 21
    assert at[-1] == 300_000
    assert len(set(np.diff(at[:-1]).tolist())) == 1


def test_the_values_are_the_monitors_rolling_ones() -> None:
    history = run([70, 60])
    at, values = history.series("all/hit_rate@20")
    assert (at.tolist(), values.tolist()) == ([130], [history.monitor.tracks["all"].rolling["hit_rate@20"].get()])
    shares = [history.series(f"proposer/{name}")[1][0] for name in ("nowhere", "encoder", "own")]
    assert sum(shares) == pytest.approx(1.0)
    assert {"floor.baseline_a/mrr@20", "cold.baseline_a/mrr@20", "type.view/hit_rate@20"} <= set(history.names())


def test_what_was_never_scored_is_no_point_at_zero() -> None:
    history = History(monitor())
    feed(history.monitor, 200, first=True)
    history.ticked(Status())
    assert history.names() == ["learning_rate"]
    feed(history.monitor, 100)
    history.ticked(Status())
    assert history.series("all/mrr@20")[0].tolist() == [300]
    assert len(history.series("type.cart/mrr@20")[0]) == 0


def test_losses_are_means_of_the_ticks_before_a_point() -> None:
    history, status = History(monitor(), step=100), Status()
    for loss in (1.0, 2.0, 6.0, 4.0):
        status.learning.losses["encoder"] = loss
        feed(history.monitor, 50)
        history.ticked(status)
    assert history.series("loss/encoder")[1].tolist() == [1.5, 5.0]
    status.learning.losses["encoder"] = math.nan
    feed(history.monitor, 100)
    history.ticked(status)
    assert math.isnan(history.series("loss/encoder")[1][-1])


def test_ticks_without_events_leave_nothing() -> None:
    """A worker that waits ticks for hours."""
    history, status = run([30]), Status()
    for _ in range(1_000):
        status.learning.losses["encoder"] = 1.0
        history.ticked(status)
    assert history.points == []
    feed(history.monitor, 100)
    status.learning.losses["encoder"] = 3.0
    history.ticked(status)
    assert history.series("loss/encoder")[1].tolist() == [3.0]


def test_a_run_from_a_checkpoint_begins_where_its_monitor_stands() -> None:
    restored = monitor()
    feed(restored, 950)
    history = History(restored)
    assert history.began == 950
    feed(restored, 10)
    history.ticked(Status())
    assert history.points == []
    feed(restored, 60)
    history.ticked(Status())
    assert [point.at for point in history.points] == [1_020]


def test_notes_are_those_of_the_status() -> None:
    history, status = run([10]), Status()
    status.notes.append(Note(10, "alarm", "all: hit rate 0.5 to 0.3"))
    history.finish(status)
    assert list(history.notes) == [Note(10, "alarm", "all: hit rate 0.5 to 0.3")]
