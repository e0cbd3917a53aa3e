"""A difference is tested on the same events, users being what is independent."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stream_worker.core.monitor import Monitor, MonitorConfig
from stream_worker.core.paired import Scores, compared, difference, groups, in_common

TYPES = ("view", "cart")


def scores(events: int, seed: int = 0, rate: float = 0.5) -> Scores:
    """Users and parts are the same for every seed, ranks are not."""
    parts, rng = np.random.default_rng(99), np.random.default_rng(seed)
    return Scores(
        offset_E=np.arange(events) * 2,
        user_E=parts.integers(0, max(1, events // 8), events),
        type_E=parts.choice([0, 0, 1], events).astype(np.uint8),
        repeat_E=parts.random(events) < 0.4,
        age_E=parts.integers(-1, 300, events),
        rank_E=np.where(rng.random(events) < rate, rng.integers(1, 31, events), 0),
        log_probability_E=np.log(rng.random(events)),
    )


def clustered(
    rng: np.random.Generator, users: int, gain: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Hits of A and B: each user is either easy for both or has a side of its own, over some 20 events."""
    user_E = np.repeat(np.arange(users, dtype=np.int64), rng.integers(10, 30, users))
    side_U = rng.normal(0, 0.15, users)
    a_E, b_E = (
        (rng.random(len(user_E)) < 0.5 + sign * side_U[user_E] + shift).astype(np.float64)
        for sign, shift in ((-1, 0.0), (1, gain))
    )
    return a_E, b_E, user_E


def test_it_is_the_difference_of_the_means_with_its_interval_around() -> None:
    a, b = scores(2_000), scores(2_000, seed=1, rate=0.6)
    hits_a, hits_b = (run.values([20])["hit_rate@20"] for run in (a, b))
    found = difference(hits_a, hits_b, a.user_E)
    assert (found.events, found.users) == (2_000, 250)
    assert (found.a, found.b) == (hits_a.mean(), hits_b.mean())
    assert found.low < found.b - found.a < found.high
    assert found.p < 0.01
    other = difference(hits_b, hits_a, a.user_E)
    assert (other.low, other.high, other.p) == pytest.approx((-found.high, -found.low, found.p), abs=1e-12)


def test_the_same_run_twice_is_no_difference() -> None:
    hits = scores(500).values([20])["hit_rate@20"]
    found = difference(hits, hits, scores(500).user_E)
    assert (found.low, found.high, found.p) == (0.0, 0.0, 1.0)


def test_luck_is_seldom_taken_for_more_where_a_test_of_events_often_does() -> None:
    """No difference but users with sides of their own: p < 0.05 in about one of twenty, by events far more often."""
    rng = np.random.default_rng(5)
    wrong, wrong_by_events = 0, 0
    for _ in range(100):
        a_E, b_E, user_E = clustered(rng, users=60, gain=0.0)
        wrong += difference(a_E, b_E, user_E).p < 0.05
        won, lost = int(((b_E - a_E) > 0).sum()), int(((b_E - a_E) < 0).sum())
        wrong_by_events += stats.binomtest(won, won + lost).pvalue < 0.05  # McNemar, exact
    assert wrong <= 12
    assert wrong_by_events > 2 * wrong


def test_a_true_difference_is_found() -> None:
    rng = np.random.default_rng(6)
    found = [difference(*clustered(rng, users=300, gain=0.06)) for _ in range(20)]
    assert sum(one.p < 0.05 for one in found) >= 15
    assert sum(one.low < 0.06 < one.high for one in found) >= 16


def test_a_handful_of_users_tell_nothing() -> None:
    found = difference(np.zeros(90), np.ones(90), np.arange(90) % 9)
    assert (found.a, found.b) == (0.0, 1.0)
    assert all(math.isnan(value) for value in (found.low, found.high, found.p))


def test_only_events_that_every_run_scored_are_compared() -> None:
    whole = scores(100)
    late, sparse = whole.at(whole.offset_E >= 40), whole.at(whole.offset_E % 3 == 0)
    one, two, three = in_common([whole, late, sparse])
    assert one.offset_E.tolist() == two.offset_E.tolist() == three.offset_E.tolist()
    assert one.offset_E.tolist() == [offset for offset in range(40, 200, 2) if offset % 3 == 0]
    assert one.rank_E.tolist() == two.rank_E.tolist() == three.rank_E.tolist()


def test_every_mean_is_what_the_monitor_reports_of_the_same_events() -> None:
    """By metric and by group, under the same names."""
    run, monitor = scores(3_000), Monitor(MonitorConfig(), TYPES)
    none, source_E = np.zeros(3_000, dtype=np.bool_), np.zeros(3_000, dtype=np.int64)
    known = run.type_E, run.repeat_E, none, none, run.age_E, source_E
    monitor.update(run.rank_E, run.log_probability_E, *known, {})
    rows = list(compared([run], [run], (10, 20), TYPES, 100))
    assert [row.metric for row in rows[:5]] == ["hit_rate@10", "hit_rate@20", "mrr@20", "ndcg@20", "log_loss"]
    assert {row.group for row in rows} == {
        "all",
        "type.view",
        "type.cart",
        "repeat",
        "new",
        "new_known",
        "warm",
        "cold",
    }
    for row in rows:
        total = monitor.tracks[row.group].report().total
        assert row.found.events == total.events
        assert row.found.a == pytest.approx(total.metrics[row.metric], abs=1e-6)


def test_one_event_type_is_no_part_of_its_own() -> None:
    assert {"type.view", "type.cart"} <= groups(scores(100), TYPES, 100).keys()
    one = scores(100).at(scores(100).type_E == 0)
    assert [name for name in groups(one, TYPES, 100) if name.startswith("type.")] == []


def test_several_seeds_count_with_their_mean_and_show_their_spread() -> None:
    a, b = [scores(1_000, seed) for seed in (0, 1, 2)], [scores(1_000, seed, 0.6) for seed in (3, 4, 5)]
    row = next(row for row in compared(a, b, (20,), TYPES, 100) if row.metric == "hit_rate@20")
    rates = [run.values([20])["hit_rate@20"].mean() for run in a]
    assert row.found.a == pytest.approx(np.mean(rates))
    assert row.spread[0] == pytest.approx(np.std(rates, ddof=1))
    assert row.spread[1] > 0
    single = next(compared(a[:1], b[:1], (20,), TYPES, 100))
    assert all(math.isnan(spread) for spread in single.spread)
