"""The monitor's figures are River's, split as promised, beside the baselines; its state resumes to the bit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from river import utils
from river.metrics.base import Metric

from stream_worker.core.drift import Alarm
from stream_worker.core.monitor import Monitor, MonitorConfig
from stream_worker.core.ranking_metrics import MRR, NDCG, HitRate, LogLoss

TYPES = ("view", "cart", "odd.name")
PROPOSERS = ("encoder", "own", "hot")


@dataclass
class Stream:
    """Columns of scored events, and the ranks of two baselines."""

    ranks: NDArray[np.int32]
    logprob: NDArray[np.float64]
    type: NDArray[np.int16]
    repeat: NDArray[np.bool_]
    last: NDArray[np.bool_]
    first: NDArray[np.bool_]
    age: NDArray[np.int64]
    source: NDArray[np.int8]
    baseline: NDArray[np.int32]

    def part(self, where: Any) -> Stream:
        return Stream(**{name: column[where] for name, column in vars(self).items()})

    def feed(self, monitor: Monitor, batch: int) -> list[Alarm]:
        alarms = []
        for start in range(0, len(self.ranks), batch):
            b = self.part(slice(start, start + batch))
            baselines = {"recent-pop": b.baseline, "covis-5": b.ranks}
            columns = b.ranks, b.logprob, b.type, b.repeat, b.last, b.first, b.age, b.source
            alarms += monitor.update(*columns, baselines)
        return alarms


def _stream(events: int, seed: int = 0, rate: float = 0.5) -> Stream:
    rng = np.random.default_rng(seed)
    place = rng.integers(1, 21, events)
    return Stream(
        ranks=np.where(rng.random(events) < rate, place, 0).astype(np.int32),
        logprob=np.where(rng.random(events) < 0.1, np.nan, np.log(rng.random(events))),
        type=rng.choice([0, 0, 0, 2], events).astype(np.int16),
        repeat=rng.random(events) < 0.3,
        last=rng.random(events) < 0.1,
        first=rng.random(events) < 0.1,
        age=rng.integers(-1, 200, events),
        source=rng.integers(-1, len(PROPOSERS), events).astype(np.int8),
        baseline=rng.integers(0, 40, events).astype(np.int32),
    )


def _same_state(one: Monitor, other: Monitor) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), events=st.integers(1, 200), window=st.integers(1, 80), batch=st.integers(1, 90))
def test_every_rolling_figure_equals_rivers_rolling_exactly(seed: int, events: int, window: int, batch: int) -> None:
    stream, monitor = _stream(events, seed), Monitor(MonitorConfig(window=window), TYPES)
    stream.feed(monitor, batch)
    scored = stream.part(~stream.first)
    everything = np.ones(len(scored.ranks), dtype=np.bool_)
    groups = {"all": everything, "type.view": scored.type == 0, "type.odd.name": scored.type == 2}
    groups |= {"repeat": scored.repeat, "new": ~scored.repeat, "type.cart": ~everything}
    groups |= {"new_known": ~scored.repeat & (scored.age >= 0)}
    groups |= {"not_last": ~scored.last, "not_last.type.view": ~scored.last & (scored.type == 0)}
    groups |= {"unseen": scored.age < 0, "cold": (scored.age >= 0) & (scored.age < 100), "warm": scored.age >= 100}
    for name, members in groups.items():
        part, track = scored.part(members), monitor.tracks[name]
        for cls, k in ((HitRate, 10), (HitRate, 20), (MRR, 20), (NDCG, 20)):
            rivers = utils.Rolling(cls, window_size=window, k=k)
            for rank in part.ranks.tolist():
                rivers.update(None, rank)
            assert track.rolling[cls(k).name].get() == rivers.obj.get()
        rivers_loss = utils.Rolling(LogLoss, window_size=window)
        for logprob in part.logprob.tolist():
            rivers_loss.update(None, logprob)
        assert track.rolling["log_loss"].get() == rivers_loss.obj.get()


def test_total_figures_are_those_of_all_scored_events() -> None:
    stream, monitor = _stream(3_000), Monitor(MonitorConfig(window=100), TYPES)
    stream.feed(monitor, 256)
    scored, report = stream.part(~stream.first), monitor.report()
    hit = scored.ranks > 0
    assert report.events == 3_000
    assert report.all.total.events == len(hit)
    assert report.all.rolling.events == 100
    assert report.all.total.metrics["hit_rate@20"] == pytest.approx(hit.mean())
    assert report.all.total.metrics["hit_rate@10"] == pytest.approx((hit & (scored.ranks <= 10)).mean())
    assert report.all.total.metrics["mrr@20"] == pytest.approx((hit / np.maximum(scored.ranks, 1)).mean())
    assert report.all.total.metrics["ndcg@20"] == pytest.approx((hit / np.log2(np.maximum(scored.ranks, 1) + 1)).mean())
    assert report.all.total.metrics["log_loss"] == pytest.approx(-np.nanmean(scored.logprob), abs=1e-6)
    assert report.by_repeat["new"].total.metrics["hit_rate@20"] == pytest.approx(hit[~scored.repeat].mean())
    assert report.by_type["view"].total.events == (scored.type == 0).sum()
    assert report.by_type["cart"].total.events == 0


def test_baselines_stand_beside_it_scored_on_the_same_events() -> None:
    stream, monitor = _stream(2_000), Monitor(MonitorConfig(), TYPES)
    stream.feed(monitor, 100)
    baselines, scored = monitor.report().baselines, stream.part(~stream.first)
    within = (scored.baseline > 0) & (scored.baseline <= 20)  # a rank beyond 20 is no hit
    assert baselines["recent-pop"].total.metrics["hit_rate@20"] == pytest.approx(within.mean())
    assert baselines["recent-pop"].total.metrics["mrr@20"] == pytest.approx(
        (within / np.maximum(scored.baseline, 1)).mean()
    )
    assert baselines["covis-5"].rolling.metrics["hit_rate@20"] == monitor.report().all.rolling.metrics["hit_rate@20"]
    assert "log_loss" not in baselines["covis-5"].total.metrics


def test_baselines_stand_beside_it_on_cold_items_too() -> None:
    """An item at its first event is not cold: nothing could have proposed it."""
    stream, monitor = _stream(2_000), Monitor(MonitorConfig(cold_events=50), TYPES)
    stream.feed(monitor, 100)
    cold = stream.part(~stream.first & (stream.age >= 0) & (stream.age < 50))
    baseline = monitor.tracks["cold.recent-pop"].report().total
    assert baseline.events == monitor.report().by_age["cold"].total.events == len(cold.ranks)
    assert baseline.metrics["hit_rate@20"] == pytest.approx(((cold.baseline > 0) & (cold.baseline <= 20)).mean())
    assert monitor.baseline_names == ["covis-5", "recent-pop"]


def test_baselines_stand_beside_it_on_what_could_be_discovered() -> None:
    """New to the user, and known to somebody: a baseline that returns to the user's own items finds nothing of it."""
    stream, monitor = _stream(2_000), Monitor(MonitorConfig(), TYPES)
    stream.feed(monitor, 100)
    new = stream.part(~stream.first & ~stream.repeat & (stream.age >= 0))
    worker, baseline = (monitor.tracks[name].report().total for name in ("new_known", "new_known.recent-pop"))
    assert worker.events == baseline.events == len(new.ranks)
    assert worker.metrics["hit_rate@20"] == pytest.approx((new.ranks > 0).mean())
    assert baseline.metrics["hit_rate@20"] == pytest.approx(((new.baseline > 0) & (new.baseline <= 20)).mean())
    names = [str(row["name"]) for row in monitor.summary_rows()]
    assert {"worker, new and known", "recent-pop, new and known"} <= set(names)


def test_what_the_rates_are_without_the_view_just_before() -> None:
    """Events of the user's last item are left out, in all and of each type, of the baselines, too."""
    stream, monitor = _stream(2_000), Monitor(MonitorConfig(), TYPES)
    stream.last |= stream.ranks == 1  # an easy one
    stream.feed(monitor, 100)
    others, report = stream.part(~stream.first & ~stream.last), monitor.report()
    views = others.part(others.type == 0)
    assert report.not_last.total.metrics["hit_rate@20"] == pytest.approx((others.ranks > 0).mean())
    assert report.not_last_by_type["view"].total.metrics["hit_rate@20"] == pytest.approx((views.ranks > 0).mean())
    assert report.not_last_by_type["view"].total.events == len(views.ranks)
    assert report.baselines_by_part["not_last"]["covis-5"].total.events == len(others.ranks)
    assert report.not_last.total.metrics["hit_rate@20"] < report.all.total.metrics["hit_rate@20"]


def test_sources_share_what_came_between_them() -> None:
    """Shares are of the window and of all events; what no source proposed has its share, too."""
    stream, monitor = _stream(2_000), Monitor(MonitorConfig(window=300), TYPES, PROPOSERS)
    stream.feed(monitor, 100)
    scored, shares = stream.part(~stream.first), monitor.proposers.report()
    assert list(shares["total"]) == ["nowhere", *PROPOSERS]
    for number, name in enumerate(shares["total"], start=-1):
        assert shares["total"][name] == pytest.approx((scored.source == number).mean())
        assert shares["rolling"][name] == pytest.approx((scored.source[-300:] == number).mean())


def test_what_is_exposed_are_river_metrics() -> None:
    monitor = Monitor(MonitorConfig(hit_rate_k=(5,)), TYPES)
    track = monitor.tracks["all"]
    assert list(track.rolling) == ["hit_rate@5", "mrr@5", "ndcg@5", "log_loss"]
    assert all(isinstance(metric, Metric) for metric in (*track.rolling.values(), *track.total.values()))


def test_first_ever_events_are_counted_but_not_scored() -> None:
    stream, monitor = _stream(100), Monitor(MonitorConfig(), TYPES)
    stream.first[:] = True
    assert stream.feed(monitor, 10) == []
    assert (monitor.report().events, monitor.report().all.total.events) == (100, 0)
    assert monitor.report().all.total.metrics["hit_rate@20"] == 0.0


def test_the_size_of_batches_changes_nothing() -> None:
    stream = _stream(2_000)
    single, batched = Monitor(MonitorConfig(window=300), TYPES), Monitor(MonitorConfig(window=300), TYPES)
    stream.feed(single, 1)
    stream.feed(batched, 256)
    assert _same_state(single, batched)
    assert single.report() == batched.report()


@pytest.mark.parametrize("at", [0, 150, 1_234])
def test_a_restored_monitor_is_identical_to_the_bit_and_goes_on_so(at: int) -> None:
    config, stream = MonitorConfig(window=300, drift_memory=20), _stream(3_000)
    whole, saved, loaded = (Monitor(config, TYPES, PROPOSERS) for _ in range(3))
    stream.feed(whole, 3_000)
    stream.part(slice(0, at)).feed(saved, 50)
    _stream(500, seed=9).feed(loaded, 100)  # what it held before must not show through
    loaded.load_state_dict(saved.state_dict())
    assert _same_state(saved, loaded)
    assert loaded.report() == saved.report()
    stream.part(slice(at, None)).feed(loaded, 70)
    assert _same_state(whole, loaded)
    assert loaded.report() == whole.report()


def test_a_saved_state_does_not_move_on_with_the_monitor() -> None:
    monitor = Monitor(MonitorConfig(window=50), TYPES)
    _stream(400).feed(monitor, 100)
    state = monitor.state_dict()
    before = {name: array.tobytes() for name, array in state.items()}
    _stream(400, seed=1).feed(monitor, 100)
    assert {name: array.tobytes() for name, array in state.items()} == before


def test_a_state_survives_other_event_types_and_a_shorter_window() -> None:
    saved, stream = Monitor(MonitorConfig(window=300), TYPES), _stream(1_000)
    stream.feed(saved, 100)
    loaded = Monitor(MonitorConfig(window=80), ("view", "play"))
    loaded.load_state_dict(saved.state_dict())
    fresh = Monitor(MonitorConfig(window=80), TYPES)
    stream.feed(fresh, 100)
    assert loaded.report().all.rolling == fresh.report().all.rolling
    assert loaded.report().all.total == saved.report().all.total
    assert loaded.report().by_type["play"].total.events == 0


def test_a_drop_of_one_type_alarms_for_it_and_is_remembered() -> None:
    good, bad = _stream(12_000, rate=0.6), _stream(12_000, seed=1, rate=0.6)
    bad.ranks[bad.type == 2] = 0
    monitor = Monitor(MonitorConfig(), TYPES)
    assert good.feed(monitor, 256) == []
    alarms = bad.feed(monitor, 256)
    assert "odd.name" in {alarm.stream for alarm in alarms} <= {"odd.name", "all"}
    assert all(alarm.after < alarm.before for alarm in alarms)
    assert monitor.alarm_count == len(alarms)
    restored = Monitor(MonitorConfig(), TYPES)
    restored.load_state_dict(monitor.state_dict())
    assert list(restored.alarms) == alarms


def test_the_report_has_plain_numbers() -> None:
    """Metrics of nothing are 0.0, never NaN."""
    stream, monitor = _stream(20_000, rate=0.7), Monitor(MonitorConfig(), TYPES)
    stream.ranks[10_000:] = 0
    assert stream.feed(monitor, 256)
    report = asdict(monitor.report())
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_summary_has_the_worker_the_baselines_and_the_groups_that_have_events() -> None:
    monitor = Monitor(MonitorConfig(), TYPES)
    assert [row["name"] for row in monitor.summary_rows()] == ["worker"]
    _stream(1_000).feed(monitor, 100)
    rows = monitor.summary_rows()
    assert [row["name"] for row in rows] == [
        *("worker", "covis-5", "recent-pop"),
        *("worker, view", "worker, odd.name", "worker, repeat", "worker, new", "worker, new and known"),
        *("worker, warm", "worker, cold", "worker, unseen"),
        *("worker, not the last item", "worker, view, not the last item", "worker, odd.name, not the last item"),
        *("covis-5, repeat", "recent-pop, repeat", "covis-5, new and known", "recent-pop, new and known"),
        *("covis-5, not the last item", "recent-pop, not the last item", "covis-5, cold", "recent-pop, cold"),
    ]
    assert list(rows[0]) == ["name", "events", "hit_rate@10", "hit_rate@20", "mrr@20", "ndcg@20", "log_loss"]


def test_memory_stays_flat_however_many_events_come() -> None:
    monitor, sizes = Monitor(MonitorConfig(window=200, drift_memory=20), TYPES), []
    for seed in range(8):
        _stream(2_000, seed=seed).feed(monitor, 250)
        sizes.append(sum(array.nbytes for array in monitor.state_dict().values()))
    most_drift = 4 * (20 * 8 + 31 + 8)
    assert max(sizes[1:]) - min(sizes[1:]) <= most_drift + 20 * 200
