"""The hottest rows are kept in order, event by event, without a look at the others."""

from __future__ import annotations

import numpy as np
import pytest

from model.counting import popularity
from model.counting.popularity import HALF_LIVES, HOTTEST


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rows", [10, 200])
def test_the_hottest_are_those_of_a_full_sort(seed: int, rows: int) -> None:
    """After every event, and of each half-life; also after rows were recycled."""
    rng, hot = np.random.default_rng(seed), popularity.empty(rows)
    for k, row in enumerate((rows * rng.random(600) ** 3).astype(int)):
        popularity.count(hot, row, False)
        if k == 300:
            popularity.forget(hot, rng.permutation(rows)[:5])
        for weight_N, hottest_Q in zip(hot.weight_PN, hot.hottest_PQ, strict=True):
            best = np.sort(weight_N[weight_N > 0])[::-1][:HOTTEST]
            named = hottest_Q[hottest_Q >= 0]
            assert np.array_equal(weight_N[named], best)
            assert len(set(named.tolist())) == len(named)


def test_growth_and_state_change_nothing() -> None:
    """Grown in the middle, or written and read again: the same rows with the same shares."""
    plain, grown, resumed = popularity.empty(8), popularity.empty(8), popularity.empty(8)
    for row in (1, 2, 2, 7):
        for each in (plain, grown, resumed):
            popularity.count(each, row, False)
    grown = popularity.grown(grown, 16)
    resumed = popularity.empty(0)._replace(**popularity.state_of(resumed))
    for row in (3, 1, 1):
        for each in (plain, grown, resumed):
            popularity.count(each, row, False)
    for p in range(len(HALF_LIVES)):
        for row in range(8):
            assert popularity.share(plain, p, row) == popularity.share(grown, p, row)
    assert np.array_equal(plain.hottest_PQ, grown.hottest_PQ)
    assert np.array_equal(plain.hottest_PQ, resumed.hottest_PQ)
    assert np.array_equal(plain.weight_PN, resumed.weight_PN)
