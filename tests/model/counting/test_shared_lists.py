"""Lists that belong to no user: against the same lists made slowly, and what never stands in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model.counting import popularity, tables
from model.counting.shared_lists import ALL, MOST_CATEGORIES, PLACES, POPULAR, Hottest, similar
from model.counting.tables import FORWARD, WIDE, Tables

_ROWS = 60


def _counted(seed: int, events: int = 400) -> Tables:
    """Users who walk through 60 items of five categories, the last of which has none."""
    rng = np.random.default_rng(seed)
    counted = tables.with_room(tables.empty(_ROWS, 12), events)
    counted.category_N[:] = np.arange(_ROWS) % 5 + 100
    counted.category_N[-1] = 0
    mark_N, types, gaps = np.full(_ROWS, -1, np.int64), np.zeros(8, np.uint8), np.zeros(8, np.uint8)
    windows = np.full((6, 8), -1, np.int32)
    for _ in range(events):
        user, item = rng.integers(6), int(_ROWS * rng.random() ** 2)
        tables.learn(counted, windows[user], types, gaps, 0.0, item, 0, False, mark_N)
        windows[user] = np.append(windows[user, 1:], item)
    return counted


def _row(counted: Tables, table: int, row: int) -> dict[int, float]:
    """The neighbours of a row with their weights."""
    start = counted.rows.start_TN[table, row]
    at = slice(start, start + counted.rows.width_TN[table, row])
    return dict(zip(counted.rows.item_X[at].tolist(), counted.rows.weight_X[at].tolist(), strict=True))


def _slowly(counted: Tables, row: int, allowed_N: NDArray[np.bool_]) -> dict[int, float]:
    """The score of each neighbour by its formula."""
    total, follows = counted.rows.total_TN, _row(counted, FORWARD, row)
    return {
        other: weight / (math.sqrt(total[WIDE, row] * total[WIDE, other]) + 1.0)
        + 0.5 * follows.get(other, 0.0) / total[FORWARD, row]
        for other, weight in _row(counted, WIDE, row).items()
        if other >= 0 and other != row and allowed_N[other]
    }


@pytest.mark.parametrize("seed", range(3))
def test_what_goes_with_an_item_is_what_the_formula_says(seed: int) -> None:
    """The best first, and nothing that is not allowed, nor the item itself."""
    counted, allowed_N = _counted(seed), np.random.default_rng(seed).random(_ROWS) < 0.7
    rows = np.arange(_ROWS, dtype=np.int32)
    ranked = similar(counted, rows, allowed_N)
    assert (ranked.rows_MK >= 0).sum() > 100
    for row, rows_K, score_K in zip(rows.tolist(), ranked.rows_MK, ranked.score_MK, strict=True):
        wanted = _slowly(counted, row, allowed_N)
        named = rows_K[rows_K >= 0].tolist()
        assert len(set(named)) == len(named) == min(PLACES, len(wanted))
        assert score_K[: len(named)] == pytest.approx(sorted(wanted.values(), reverse=True)[:PLACES])
        assert score_K[: len(named)] == pytest.approx([wanted[other] for other in named])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_popular_is_the_hottest_of_each_category(seed: int) -> None:
    """As a full sort finds it, whether it was kept from the beginning or begun in the middle."""
    counted, kept, begun = _counted(seed, 0), Hottest(), Hottest()
    rng, allowed_N = np.random.default_rng(seed), np.random.default_rng(seed).random(_ROWS) < 0.7
    for tick in range(60):
        rows = np.unique((_ROWS * rng.random(8) ** 2).astype(np.int32))
        for row in rows.tolist():
            popularity.count(counted.popularity, row, False)
        if tick == 30:
            begun.begin(counted, np.arange(_ROWS))
        for one in (kept, *([begun] if tick > 30 else [])):
            one.see(counted, rows)
    weight_N = counted.popularity.weight_PN[POPULAR]
    for one in (kept, begun):
        assert sorted(one.code_C.tolist()) == [0, 100, 101, 102, 103, 104]
        for place, code in enumerate(one.code_C.tolist()):
            [named] = one.lists(counted, np.array([place]), allowed_N).rows_MK
            of_it_N = (counted.category_N == code) | (place == ALL)
            best = np.sort(weight_N[of_it_N & allowed_N & (weight_N > 0)])[::-1][:PLACES]
            assert weight_N[named[named >= 0]] == pytest.approx(best)
            assert of_it_N[named[named >= 0]].all()


def test_a_score_is_the_share_of_all_events() -> None:
    counted, hottest = _counted(0, 0), Hottest()
    for row in (7, 7, 8, 7):
        popularity.count(counted.popularity, row, False)
        hottest.see(counted, np.array([row], np.int32))
    ranked = hottest.lists(counted, np.array([ALL]), np.ones(_ROWS, np.bool_))
    assert ranked.rows_MK[0, :3].tolist() == [7, 8, -1]
    assert ranked.score_MK[0, 0] == pytest.approx(popularity.share(counted.popularity, POPULAR, 7), rel=1e-6)


def test_an_item_of_another_category_leaves_the_list_of_its_former_one() -> None:
    counted, hottest = _counted(0, 0), Hottest()
    for row in (7, 12):
        popularity.count(counted.popularity, row, False)
        [_, place] = hottest.see(counted, np.array([row], np.int32))
    counted.category_N[12] = 100
    ranked = hottest.lists(counted, np.array([place]), np.ones(_ROWS, np.bool_))
    assert ranked.rows_MK[0, :2].tolist() == [7, -1]


def test_more_categories_than_there_is_room_for_have_no_list() -> None:
    rows = MOST_CATEGORIES + 5
    counted, hottest = tables.empty(rows, 4), Hottest()
    counted.category_N[:] = np.arange(rows) + 1
    for row in range(rows):
        popularity.count(counted.popularity, row, False)
    places = hottest.see(counted, np.arange(rows, dtype=np.int32))
    assert places.tolist() == list(range(MOST_CATEGORIES + 1))
    assert len(hottest.code_C) == MOST_CATEGORIES + 1
