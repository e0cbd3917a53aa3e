"""The baselines rank exactly what plain Python counting would, see nothing early, and stay bounded."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_worker.core.baselines import TOP, CoVisitation, RecentPopularity
from stream_worker.core.own_baselines import OwnLast, OwnMost

Log = tuple[NDArray[np.int32], NDArray[np.int32]]


def _log(events: int, items: int, users: int = 50, seed: int = 0, ring: int = 7) -> Log:
    """Windows of `ring` (oldest first, -1 in front) and items of a skewed random log with habits."""
    rng = np.random.default_rng(seed)
    histories: dict[int, list[int]] = defaultdict(list)
    windows_BW, items_B = np.full((events, ring), -1, dtype=np.int32), np.zeros(events, dtype=np.int32)
    for k in range(events):
        history = histories[int(rng.integers(users))]
        follows = history and rng.random() < 0.6
        items_B[k] = (history[-1] * 7 + rng.integers(3)) % items if follows else int(items * rng.random() ** 3)
        if history:
            windows_BW[k, -min(ring, len(history)) :] = history[-ring:]
        history.append(int(items_B[k]))
    return windows_BW, items_B


class PlainPopularity:
    """The same baseline with a Counter; ties go to the item that has been remembered for longest."""

    def __init__(self) -> None:
        self.recent: deque[int] = deque(maxlen=5_000)
        self.top: list[int] = []
        self.learned = 0

    def learn(self, item: int) -> None:
        self.recent.append(item)
        self.learned += 1
        if self.learned % 200 == 0:
            self.top = [item for item, _ in Counter(self.recent).most_common(TOP)]


class PlainCoVisitation:
    """The same baseline with dictionaries, without a bound on neighbours."""

    def __init__(self) -> None:
        self.popularity = PlainPopularity()
        self.pairs: dict[int, dict[int, np.float32]] = defaultdict(dict)
        self.totals: dict[int, float] = defaultdict(float)

    def rank(self, window: list[int]) -> list[int]:
        scores: dict[int, float] = {}
        decay = 1.0
        for row in reversed(window[-5:]):
            share = decay / self.totals[row] if self.totals[row] else 0.0
            for item, weight in self.pairs[row].items():
                scores[item] = scores.get(item, 0.0) + share * float(weight)
            decay *= 0.6
        best = heapq.nlargest(TOP, scores, key=scores.__getitem__)
        return list(dict.fromkeys(best + [item for item in self.popularity.top if item not in scores]))[:TOP]

    def learn(self, window: list[int], item: int) -> None:
        decay = 1.0
        for row in reversed(window[-5:]):
            self.pairs[row][item] = np.float32(self.pairs[row].get(item, np.float32(0)) + np.float32(decay))
            self.totals[row] += decay
            decay *= 0.6
        self.popularity.learn(item)


def _in_batches(
    baseline: Any,
    log: tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]],
    size: int,
    learn_B: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    windows_BW, items_B = log
    learn_B = np.ones(len(items_B), dtype=np.bool_) if learn_B is None else learn_B
    parts = [slice(start, start + size) for start in range(0, len(items_B), size)]
    return np.concatenate([baseline.rank_then_learn(windows_BW[p], items_B[p], learn_B[p]) for p in parts])


def _place(ranked: list[int], item: int) -> int:
    return ranked.index(item) + 1 if item in ranked else 0


def _assert_same_state(one: Any, other: Any) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


class PlainOwnLast:
    """The same baseline with lists and dictionaries."""

    def __init__(self) -> None:
        self.popularity = PlainPopularity()
        self.followers: dict[int, Counter[int]] = defaultdict(Counter)

    def rank(self, window: list[int]) -> list[int]:
        followers = [item for item, _ in self.followers[window[-1]].most_common()] if window else []
        return list(dict.fromkeys([*window[::-1][:8], *followers, *self.popularity.top]))[:TOP]

    def learn(self, window: list[int], item: int) -> None:
        if window:
            self.followers[window[-1]][item] += 1
        self.popularity.learn(item)


class PlainOwnMost:
    """The same baseline with a Counter; of equal ones the newer item stands first."""

    def __init__(self) -> None:
        self.popularity = PlainPopularity()

    def rank(self, window: list[int]) -> list[int]:
        own = [item for item, _ in Counter(window[::-1]).most_common()]
        return list(dict.fromkeys([*own, *self.popularity.top]))[:TOP]

    def learn(self, window: list[int], item: int) -> None:
        self.popularity.learn(item)


both_baselines = pytest.mark.parametrize("baseline", [RecentPopularity, CoVisitation, OwnLast, OwnMost])


def test_popularity_ranks_like_a_counter_of_the_last_5000_events() -> None:
    log = _log(events=12_000, items=300)
    plain, expected = PlainPopularity(), []
    for item in log[1].tolist():
        expected.append(_place(plain.top, item))
        plain.learn(item)
    assert _in_batches(RecentPopularity(), log, 256).tolist() == expected
    assert set(expected) == set(range(TOP + 1))


def test_covisitation_ranks_like_dictionaries_do_and_fills_up_with_popularity() -> None:
    log = _log(events=6_000, items=60, users=1_500)  # fewer items than neighbours: the bound does not bite
    plain, expected, filled = PlainCoVisitation(), [], 0
    for window, item in zip(log[0].tolist(), log[1].tolist(), strict=True):
        known = [row for row in window if row >= 0]
        ranked = plain.rank(known)
        expected.append(_place(ranked, item))
        filled += not known and item in ranked
        plain.learn(known, item)
    assert _in_batches(CoVisitation(), log, 256).tolist() == expected
    assert filled > 0
    assert set(expected) == set(range(TOP + 1))


@pytest.mark.parametrize(("fast", "plain"), [(OwnLast, PlainOwnLast), (OwnMost, PlainOwnMost)])
def test_a_users_own_items_rank_like_lists_and_counters_do(fast: type[Any], plain: type[Any]) -> None:
    """With few items for the bound on neighbours not to bite, and with many for what is popular to stand behind."""
    log, slow, expected = _log(events=6_000, items=30, users=1_500, ring=40), plain(), []
    for window, item in zip(log[0].tolist(), log[1].tolist(), strict=True):
        known = [row for row in window if row >= 0]
        expected.append(_place(slow.rank(known), item))
        slow.learn(known, item)
    assert _in_batches(fast(), log, 256).tolist() == expected
    assert set(expected) == set(range(TOP + 1))


@both_baselines
def test_the_events_of_a_set_are_ranked_before_any_of_them_is_counted(baseline: type[Any]) -> None:
    """Each as if it had been alone, and counted after the same window, in the order in which they stand."""
    windows_BW, items_B = _log(events=3_000, items=40)
    within_B = (np.arange(3_000) % 5).astype(np.int16)
    windows_BW = windows_BW[np.arange(3_000) - within_B]
    learn_B = np.arange(3_000) % 7 > 0
    sets, alone = baseline(), baseline()
    ranks = sets.rank_then_learn(windows_BW, items_B, learn_B, within_B)
    expected = []
    for start in range(0, 3_000, 5):
        of_set = slice(start, start + 5)
        looked_at = windows_BW[of_set], items_B[of_set]
        expected += alone.rank_then_learn(*looked_at, np.zeros(5, np.bool_)).tolist()
        alone.rank_then_learn(*looked_at, learn_B[of_set])
    assert ranks.tolist() == expected
    assert ranks.tolist() != baseline().rank_then_learn(windows_BW, items_B, learn_B).tolist()
    _assert_same_state(sets, alone)


@both_baselines
def test_the_size_of_batches_changes_nothing(baseline: type[Any]) -> None:
    log = _log(events=3_000, items=3_000)
    single, batched, whole = baseline(), baseline(), baseline()
    ranks = [_in_batches(each, log, size).tolist() for each, size in ((single, 1), (batched, 77), (whole, 3_000))]
    assert ranks[0] == ranks[1] == ranks[2]
    _assert_same_state(single, batched)
    _assert_same_state(single, whole)


@both_baselines
def test_changing_later_events_changes_no_earlier_rank_inside_a_batch_either(baseline: type[Any]) -> None:
    windows_BW, items_B = _log(events=2_000, items=40)
    changed_B = items_B.copy()
    changed_B[1_500:] = 39 - changed_B[1_500:]
    first = _in_batches(baseline(), (windows_BW, items_B), 2_000)
    second = _in_batches(baseline(), (windows_BW, changed_B), 2_000)
    np.testing.assert_array_equal(first[:1_500], second[:1_500])
    assert (first[1_500:] != second[1_500:]).any()


@both_baselines
def test_what_must_not_be_learned_is_ranked_and_leaves_no_trace(baseline: type[Any]) -> None:
    windows_BW, items_B = _log(events=4_000, items=200)
    learn_B = np.random.default_rng(1).random(4_000) < 0.5
    mixed, learned_only = baseline(), baseline()
    ranks = _in_batches(mixed, (windows_BW, items_B), 256, learn_B)
    kept = _in_batches(learned_only, (windows_BW[learn_B], items_B[learn_B]), 256)
    np.testing.assert_array_equal(ranks[learn_B], kept)
    assert (ranks[~learn_B] > 0).any()
    _assert_same_state(mixed, learned_only)


@both_baselines
def test_no_item_ranks_nowhere_and_is_not_learned(baseline: type[Any]) -> None:
    none = baseline()
    ranks = _in_batches(none, (np.full((300, 5), -1, np.int32), np.full(300, -1, np.int32)), 300)
    assert not ranks.any()
    _assert_same_state(none, baseline())


@both_baselines
def test_a_loaded_baseline_goes_on_like_the_saved_one(baseline: type[Any]) -> None:
    windows_BW, items_B = _log(events=9_000, items=2_500)
    saved, loaded = baseline(), baseline()
    _in_batches(saved, (windows_BW[:6_100], items_B[:6_100]), 256)
    loaded.load_state_dict(saved.state_dict())
    _assert_same_state(saved, loaded)
    rest = (windows_BW[6_100:], items_B[6_100:])
    np.testing.assert_array_equal(_in_batches(saved, rest, 256), _in_batches(loaded, rest, 256))
    _assert_same_state(saved, loaded)


@both_baselines
def test_a_saved_state_does_not_move_on_with_the_baseline(baseline: type[Any]) -> None:
    windows_BW, items_B = _log(events=2_000, items=100)
    running = baseline()
    _in_batches(running, (windows_BW[:1_000], items_B[:1_000]), 256)
    state = running.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    _in_batches(running, (windows_BW[1_000:], items_B[1_000:]), 256)
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_full_row_lets_its_weakest_neighbour_go_and_keeps_64() -> None:
    baseline = CoVisitation()
    followers = np.concatenate([np.repeat(np.arange(1, 65), 2), [100, 101, 101, 101]]).astype(np.int32)
    baseline.rank_then_learn(
        np.zeros((len(followers), 1), np.int32), followers, np.ones(len(followers), dtype=np.bool_)
    )
    state = baseline.state_dict()
    kept = state["neighbours"][: state["lengths"][0]].tolist()
    assert len(kept) == 64
    assert 101 in kept
    assert 100 not in kept  # the weakest when 101 came
    assert state["totals"][0] == len(followers)


def test_a_forgotten_item_leaves_every_list_and_its_row_starts_afresh() -> None:
    windows_BW, items_B = _log(events=6_000, items=60)
    baseline = CoVisitation()
    _in_batches(baseline, (windows_BW, items_B), 256)
    gone = np.array([0, 1, 2, 50_000])
    assert {0, 1, 2} <= set(baseline.popularity.top_K.tolist())
    baseline.forget(gone)
    state = baseline.state_dict()
    assert not np.isin(state["neighbours"], gone).any()
    assert not np.isin(state["popularity.recent"], gone).any()
    assert not np.isin(state["popularity.top"], gone).any()
    assert not state["lengths"][:3].any()
    assert not state["totals"][:3].any()
    probe = np.array([0, 1, 2], dtype=np.int32)
    windows = np.full((3, 5), 7, dtype=np.int32)
    assert not baseline.rank_then_learn(windows, probe, np.zeros(3, dtype=np.bool_)).any()
    twin = CoVisitation()
    twin.load_state_dict(state)
    np.testing.assert_array_equal(
        _in_batches(baseline, (windows_BW, items_B), 256), _in_batches(twin, (windows_BW, items_B), 256)
    )


@both_baselines
def test_it_grows_by_doubling_when_asked_and_when_needed(baseline: type[Any]) -> None:
    grown = baseline()
    log = _log(events=1_000, items=500)
    ranks = _in_batches(grown, log, 100)
    grown.grow(5_000)
    counts = grown.popularity.count_N if isinstance(grown, CoVisitation) else grown.count_N
    assert len(counts) == 8_192
    plain = baseline()
    np.testing.assert_array_equal(_in_batches(plain, log, 100), ranks)
    _assert_same_state(plain, grown)
    far = np.array([20_000], dtype=np.int32)
    assert grown.rank_then_learn(far[:, None] - 1, far, np.ones(1, dtype=np.bool_)).tolist() == [0]


def test_the_state_is_bounded_by_rows_however_many_events_come() -> None:
    baseline, sizes = CoVisitation(), []
    for seed in range(6):
        _in_batches(baseline, _log(events=5_000, items=200, seed=seed), 500)
        sizes.append(sum(array.nbytes for array in baseline.state_dict().values()))
    assert sizes[-1] <= 200 * (64 * 8 + 12) + 5_000 * 4 + 20 * 4 + 8
    assert sizes[-1] < 1.1 * sizes[1]


def test_foreign_layouts_of_columns_are_ranked_alike() -> None:
    windows_BW, items_B = _log(events=1_000, items=100)
    ring = np.asfortranarray(windows_BW.astype(np.int64))
    frozen = items_B.astype(np.int64)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(
        _in_batches(CoVisitation(), (ring, frozen), 300), _in_batches(CoVisitation(), (windows_BW, items_B), 300)
    )
