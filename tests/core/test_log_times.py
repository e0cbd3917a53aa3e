"""A time is too late where nothing leads to it; a log with gaps, or in another order than time's, keeps all rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.log_times import ROWS_IN_A_ROW, YEAR_SECONDS, judged

T = 1_600_000_000.0
LATER = 4_070_908_800.0  # 2099
DAY = 86_400.0


def late(times: list[float]) -> list[int]:
    return [row for row, too_late in enumerate(judged(times)) if too_late]


@pytest.mark.parametrize("place", [0, 6, 1_234, 2_999])
def test_one_row_of_the_future_is_too_late_wherever_it_stands(place: int) -> None:
    times = [T + row for row in range(3_000)]
    times[place] = LATER
    assert late(times) == [place]


def test_so_are_some_of_many() -> None:
    rng = np.random.default_rng(0)
    places = sorted(rng.choice(20_000, 400, replace=False).tolist())
    times = [LATER + row if row in set(places) else T + row for row in range(20_000)]
    assert late(times) == places


@pytest.mark.parametrize("behind", [10, 100, 499, 500, 501, 2_000])
@pytest.mark.parametrize("before", [3, 499, 750, 1_001])
def test_a_log_may_have_a_gap_of_years(before: int, behind: int) -> None:
    times = [T + row for row in range(before)] + [T + 3 * YEAR_SECONDS + row for row in range(behind)]
    assert late(times) == []


def test_a_log_may_be_in_the_order_of_users() -> None:
    """Each over fifteen years of their own."""
    rng = np.random.default_rng(1)
    users = [np.sort(rng.uniform(T - 15 * YEAR_SECONDS, T, size=rng.integers(1, 40))) for _ in range(500)]
    assert late(np.concatenate(users).tolist()) == []


def test_a_log_may_be_read_backwards() -> None:
    assert late([T - 10 * DAY * row for row in range(3_000)]) == []


def test_a_time_within_a_year_is_taken() -> None:
    times = [T + row for row in range(100)]
    assert late([*times, T + 99 + YEAR_SECONDS]) == []
    assert late([*times, T + 100 + YEAR_SECONDS]) == [100]


def test_fewer_rows_than_ten_in_a_row_are_no_new_time() -> None:
    times = [T + row for row in range(2_000)]
    times[700 : 700 + ROWS_IN_A_ROW - 1] = [LATER] * (ROWS_IN_A_ROW - 1)
    assert late(times) == list(range(700, 700 + ROWS_IN_A_ROW - 1))


def test_unknown_times_are_neither_late_nor_in_the_way() -> None:
    assert late([math.nan] * 5) == []
    assert late([math.nan, LATER, T, math.nan, T + 1]) == [1]
    moved = [T] * 30 + [time for row in range(10) for time in (LATER + row, math.nan)]
    assert late(moved) == []
    assert late([]) == []


@given(st.lists(st.floats(T, T + 5 * YEAR_SECONDS) | st.just(math.nan) | st.just(LATER)), st.integers(1, 50))
def test_every_row_is_judged_once_whatever_the_blocks(times: list[float], block: int) -> None:
    assert len(list(judged(times, block, 10))) == len(times)
