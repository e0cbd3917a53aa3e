"""Ranking metrics keep River's promises: the general checks that River ships, and those its own metrics are held to."""

from __future__ import annotations

import copy
import doctest
import inspect
import math
import pickle
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import checks, linear_model, metrics, reco, utils

from stream_worker.core import ranking_metrics
from stream_worker.core.ranking_metrics import MRR, NDCG, BatchRolling, HitRate, LogLoss, RankCounts, rank_of

ITEMS = "abcdefgh"
CLASSES: list[tuple[type[Any], dict[str, Any]]] = [
    (HitRate, {"k": 3}),
    (MRR, {"k": 3}),
    (NDCG, {"k": 3}),
    (LogLoss, {}),
]
each_metric = pytest.mark.parametrize(("cls", "params"), CLASSES, ids=lambda value: getattr(value, "__name__", ""))


def _general_checks() -> list[Callable[[Any], None]]:
    """Every check of River's that takes just the object. Those with data train an estimator: no metric has them.

    `check_tags` is left out as River's own metrics have no tags either (asserted below).
    """
    found = [
        check for name, check in inspect.getmembers(checks.common, inspect.isfunction) if name.startswith("check_")
    ]
    plain = [check for check in found if list(inspect.signature(check).parameters) == ["model"]]
    return [check for check in plain if check.__name__ != "check_tags"]


def _case(cls: type[Any], n: int, seed: int) -> list[tuple[Any, Any]]:
    """n pairs (y_true, y_pred), as River makes random labels for its classification metrics."""
    rng = random.Random(seed)
    if cls is LogLoss:
        return [(rng.choice(ITEMS), math.log(rng.random())) for _ in range(n)]
    return [(rng.choice(ITEMS), rng.sample(ITEMS, 5)) for _ in range(n)]


def _reference(cls: type[Any], pairs: Sequence[tuple[Any, Any]], weights: Sequence[float] | None = None) -> float:
    """The definition, without a stream: the weighted mean of what each event is worth."""
    worth: dict[type[Any], Callable[[Any, Any], float]] = {
        HitRate: lambda came, ranked: came in ranked[:3],
        MRR: lambda came, ranked: 1 / (ranked.index(came) + 1) if came in ranked[:3] else 0,
        NDCG: lambda came, ranked: 1 / math.log2(ranked.index(came) + 2) if came in ranked[:3] else 0,
        LogLoss: lambda came, logprob: -logprob,
    }
    return float(np.average([worth[cls](*pair) for pair in pairs], weights=weights))


@pytest.mark.parametrize("check", _general_checks(), ids=lambda check: check.__name__)
@each_metric
def test_rivers_general_checks_pass(cls: type[Any], params: dict[str, Any], check: Callable[[Any], None]) -> None:
    check(cls(**params))
    check(metrics.MAE())  # the check does apply to metrics: River's own passes it too


def test_the_checks_of_river_were_found_and_only_tags_is_left_out() -> None:
    names = {check.__name__ for check in _general_checks()}
    assert {"check_repr", "check_str", "check_clone_same_class", "check_pickling_supports_roundtrip"} <= names
    assert len(names) >= 12
    assert not hasattr(metrics.MAE(), "_tags")


@each_metric
def test_an_updated_metric_pickles_copies_and_prints(cls: type[Any], params: dict[str, Any]) -> None:
    metric = cls(**params)
    for came, predicted in _case(cls, 10, seed=1):
        metric.update(came, predicted)
        assert repr(metric) == str(metric)
        assert repr(metric).startswith(f"{cls.__name__}: ")
    for twin in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)):
        assert twin.get() == metric.get() != 0


@each_metric
def test_it_equals_its_definition_at_every_step_with_and_without_weights(
    cls: type[Any], params: dict[str, Any]
) -> None:
    rng = random.Random(2)
    pairs, weights = _case(cls, 40, seed=2), [rng.random() for _ in range(40)]
    plain, weighted = cls(**params), cls(**params)
    assert weighted.works_with_weights
    for n, (pair, weight) in enumerate(zip(pairs, weights, strict=True), start=1):
        plain.update(*pair)
        weighted.update(y_true=pair[0], y_pred=pair[1], w=weight)
        assert plain.get() == pytest.approx(_reference(cls, pairs[:n]), abs=1e-6)
        assert weighted.get() == pytest.approx(_reference(cls, pairs[:n], weights[:n]), abs=1e-6)


@pytest.mark.parametrize("window", [1, 2, 5, 10])
@each_metric
def test_in_rivers_rolling_it_equals_the_definition_of_the_window(
    cls: type[Any], params: dict[str, Any], window: int
) -> None:
    metric = utils.Rolling(cls, window_size=window, **params)
    recent: deque[tuple[Any, Any]] = deque(maxlen=window)
    for pair in _case(cls, 30, seed=3):
        metric.update(y_true=pair[0], y_pred=pair[1])
        recent.append(pair)
        assert metric.obj.get() == pytest.approx(_reference(cls, list(recent)), abs=1e-6)
        assert str(metric).startswith(cls.__name__)


@each_metric
def test_reverting_undoes_updating_to_the_bit(cls: type[Any], params: dict[str, Any]) -> None:
    metric = cls(**params)
    first, later = _case(cls, 20, seed=4), _case(cls, 500, seed=5)
    for pair in first:
        metric.update(*pair)
    before = metric.get()
    for pair in later:
        metric.update(*pair)
    assert metric.get() != before
    for pair in later:
        metric.revert(*pair)
    assert metric.get() == before


@each_metric
def test_a_clone_starts_empty_and_shares_nothing(cls: type[Any], params: dict[str, Any]) -> None:
    metric = cls(**params)
    for pair in _case(cls, 10, seed=6):
        metric.update(*pair)
    clone = metric.clone()
    assert clone.get() == 0
    assert clone._get_params().keys() == metric._get_params().keys()
    value = metric.get()
    for pair in _case(cls, 10, seed=7):
        clone.update(*pair)
    assert metric.get() == value


def test_metrics_compose_among_themselves_and_forward_weights() -> None:
    together = HitRate(3) + MRR(3) + LogLoss()
    alone = HitRate(3)
    for came, ranked, weight in [("a", ["a", "b"], 1.0), ("c", ["a", "b"], 3.0)]:
        together[0].update(came, ranked, weight)
        alone.update(came, ranked, weight)
    assert isinstance(together, metrics.base.Metrics)
    assert together[0].get() == alone.get() == 0.25
    both = HitRate(3) + MRR(3)
    both.update("c", ["a", "c"], 2.0)
    assert both.get() == [1.0, 0.5]
    with pytest.raises(ValueError, match="not compatible"):
        HitRate(3) + metrics.MAE()


def test_they_judge_rankers_and_know_which_way_is_better() -> None:
    for metric in (HitRate(), MRR(), NDCG(), LogLoss()):
        assert metric.works_with(reco.RandomNormal(seed=1))
        assert not metric.works_with(linear_model.LinearRegression())
    good, bad = HitRate(), HitRate()
    good.update("a", ["a"])
    bad.update("a", ["b"])
    assert good.bigger_is_better
    assert good.is_better_than(bad)
    sure, unsure = LogLoss(), LogLoss()
    sure.update("a", -0.1)
    unsure.update("a", -2.0)
    assert not sure.bigger_is_better
    assert sure.is_better_than(unsure)


def test_a_list_and_its_rank_count_the_same() -> None:
    assert [rank_of("b", ["a", "b"]), rank_of("z", ["a", "b"]), rank_of("z", 7), rank_of("z", np.int32(4))] == [
        2,
        0,
        7,
        4,
    ]
    by_list, by_rank = NDCG(20), NDCG(20)
    by_list.update("b", ["a", "b"])
    by_rank.update(None, 2)
    assert by_list.get() == by_rank.get()


def test_the_examples_in_the_docstrings_are_true() -> None:
    tried = doctest.testmod(ranking_metrics)
    assert tried.attempted > 0
    assert tried.failed == 0


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        HitRate(k=0)


def test_one_table_of_ranks_serves_several_metrics() -> None:
    counts = RankCounts()
    ten, twenty = HitRate(10, counts), HitRate(20, counts)
    counts.update_many(np.array([1, 15, 0, 21], dtype=np.int32))
    assert (ten.get(), twenty.get()) == (0.25, 0.5)


def test_log_loss_bounds_the_impossible_and_leaves_out_what_has_no_probability() -> None:
    metric = LogLoss()
    metric.update_many(np.array([-np.inf, np.nan, -1.0]))
    assert metric.total == 2
    assert metric.get() == pytest.approx((-math.log(1e-15) + 1.0) / 2, abs=1e-6)


ranks = st.lists(st.integers(0, 25), max_size=60)
logprobs = st.lists(st.floats(max_value=0.0) | st.just(math.nan), max_size=60)


@given(ranks, st.lists(st.integers(0, 60), max_size=5))
def test_batches_of_ranks_count_like_single_events_however_they_are_cut(values: list[int], cuts: list[int]) -> None:
    for cls in (HitRate, MRR, NDCG):
        single, batched = cls(k=20), cls(k=20)
        for rank in values:
            single.update(None, rank)
        for part in np.split(np.array(values, dtype=np.int32), sorted(cuts)):
            batched.update_many(part)
        assert batched.get() == single.get()


@given(values=ranks, cuts=st.lists(st.integers(0, 60), max_size=5), window=st.integers(1, 70))
def test_a_batched_window_of_ranks_equals_rivers_rolling_exactly(
    values: list[int], cuts: list[int], window: int
) -> None:
    for cls in (HitRate, MRR, NDCG):
        rivers = utils.Rolling(cls, window_size=window, k=20)
        ours = BatchRolling(RankCounts(), window)
        for part in np.split(np.array(values, dtype=np.int32), sorted(cuts)):
            for rank in part.tolist():
                rivers.update(None, rank)
            ours.update_many(part)
            assert cls(20, ours.obj).get() == rivers.obj.get()
        assert ours.values().tolist() == values[-window:]


@given(values=logprobs, cuts=st.lists(st.integers(0, 60), max_size=5), window=st.integers(1, 70))
def test_a_batched_window_of_log_probabilities_equals_rivers_rolling_exactly(
    values: list[float], cuts: list[int], window: int
) -> None:
    rivers, ours = utils.Rolling(LogLoss, window_size=window), BatchRolling(LogLoss(), window)
    for part in np.split(np.array(values, dtype=np.float64), sorted(cuts)):
        for logprob in part.tolist():
            rivers.update(None, logprob)
        ours.update_many(part)
        assert ours.obj.get() == rivers.obj.get()
    assert len(ours) == min(len(values), window)


@each_metric
def test_a_loaded_metric_goes_on_like_the_saved_one(cls: type[Any], params: dict[str, Any]) -> None:
    saved, loaded = cls(**params), cls(**params)
    for pair in _case(cls, 50, seed=8):
        saved.update(*pair)
    loaded.load_state_dict(saved.state_dict())
    assert loaded.get() == saved.get()
    saved.update("a", -3.0 if cls is LogLoss else 1)
    assert loaded.get() != saved.get()
    loaded.update("a", -3.0 if cls is LogLoss else 1)
    assert loaded.get() == saved.get()
