"""How much of what is heard is examined: one in k. k doubles before thinning does, and halves after it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.effort import Effort, EffortConfig

_BATCH, _BEHIND = 100, 100_000
# From all of the effort to the least: (thinning, one in k of what is heard; 0: none).
_LADDER = [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (1, 0), (2, 0), (4, 0), (8, 0), (16, 0)]
_behind, _calm, _busy = "behind", "calm", "busy"
ticks = st.lists(st.sampled_from([_behind, _calm, _busy]), max_size=60)


def _effort(**settings: float) -> Effort:
    return Effort(EffortConfig(calm_seconds=1, **settings), follows=True)  # type: ignore[arg-type]


def _tick(effort: Effort, how: str, *, hears: bool = True) -> tuple[int, int]:
    lag = _BEHIND if how == _behind else 0
    waited, worked = (1.0, 0.0) if how == _calm else (0.0, 1.0)
    effort.ticked(lag, _BATCH, _BATCH, waited, worked, hears=hears)
    return effort.thinning, effort.heard_one_in


def test_behind_it_goes_down_the_whole_ladder_and_calm_up_again() -> None:
    effort = _effort()
    assert [_tick(effort, _behind) for _ in range(11)] == [*_LADDER[1:], _LADDER[-1], _LADDER[-1]]
    back = [_tick(effort, _calm) for _ in range(20)]
    assert list(dict.fromkeys(back)) == _LADDER[-2::-1]


@given(ticks)
def test_it_stands_on_the_ladder_and_moves_by_one_rung_where_there_is_reason_to(happened: list[str]) -> None:
    effort, at = _effort(), 0
    for how in happened:
        rung = _LADDER.index(_tick(effort, how))
        if how == _behind:
            assert rung == min(at + 1, len(_LADDER) - 1)
        else:
            assert rung in ({at, max(0, at - 1)} if how == _calm else {at})
        at = rung


@given(ticks)
def test_after_whatever_happened_rest_leads_back_to_examining_all(happened: list[str]) -> None:
    effort = _effort()
    for how in happened:
        _tick(effort, how)
    for _ in range(16 * len(_LADDER)):
        _tick(effort, _calm)
    assert (effort.thinning, effort.heard_one_in) == _LADDER[0]


@given(ticks)
def test_who_hears_nothing_thins_as_ever(happened: list[str]) -> None:
    effort, plain = _effort(), _effort()
    for how in happened:
        assert _tick(effort, how, hears=False) == (_tick(plain, how, hears=False)[0], 1)


def test_a_worker_that_hears_nothing_any_more_examines_all_of_what_it_hears_next() -> None:
    effort = _effort()
    for _ in range(3):
        _tick(effort, _behind)
    assert _tick(effort, _busy, hears=False) == (1, 1)


def test_a_halving_that_did_not_hold_makes_the_next_one_wait_longer() -> None:
    effort, waits = _effort(), []
    for _ in range(4):
        _tick(effort, _behind)
        waits.append(next(n for n in range(1, 99) if _tick(effort, _calm) == (1, 1)))
    assert waits == [1, 2, 4, 8]


def test_a_first_catch_up_hears_less_and_learns_from_all_own_records() -> None:
    effort = _effort(learn_backlog=_BEHIND)
    effort.begin_without_a_past()
    assert [_tick(effort, _behind) for _ in range(7)] == [*_LADDER[1:6], _LADDER[5], _LADDER[5]]


def test_a_replay_stays_as_it_is_told_to() -> None:
    effort = Effort(EffortConfig(), follows=False, heard_one_in=4)
    assert [_tick(effort, how) for how in (_behind, _calm)] == [(1, 4)] * 2


def test_less_is_examined_so_that_a_tick_takes_more_heard_records() -> None:
    """They get half of the time of what is owned; a worker that owns nothing has all of it for them."""
    effort, most = _effort(), []
    for _ in range(6):
        most.append(effort.most_heard(_BATCH, owns=True))
        assert effort.most_heard(_BATCH, owns=False) >= 2 * most[-1]
        _tick(effort, _behind)
    assert all(less < more for less, more in pairwise(most))
    assert most[0] == _BATCH // 2


@pytest.mark.parametrize("thinning", [1, 4, 16])
def test_heard_records_take_half_of_the_time_of_the_own_ones(thinning: int) -> None:
    """By the cost that it reckons with: 1 for an event that is examined, 1/32 for one that is counted."""
    effort = _effort(thinning=thinning)
    while effort.heard_one_in:
        cost = 1 / effort.heard_one_in + 1 / 32
        own = _BATCH * thinning * (1 / thinning + 1 / 32)
        assert effort.most_heard(_BATCH, owns=True) * cost == pytest.approx(own / 2, rel=0.05)
        _tick(effort, _behind)
