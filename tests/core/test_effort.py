"""How the effort follows the lag: down while batches pile up, back when half of the time is spent waiting."""

from __future__ import annotations

from stream_worker.core.effort import Effort, EffortConfig

_BATCH = 100
_BEHIND, _AT_REST = 100_000, 0


def _effort(**settings: float) -> Effort:
    return Effort(EffortConfig(**settings), follows=True)  # type: ignore[arg-type]


def _tick(effort: Effort, lag: int, waited: float = 0.0, worked: float = 1.0, records: int = _BATCH) -> int:
    effort.ticked(lag, records, _BATCH, waited, worked)
    return effort.thinning


def test_at_rest_everything_is_learned_from() -> None:
    effort = _effort()
    assert [_tick(effort, lag, waited=0.5) for lag in (0, 50, 100, 0)] == [1, 1, 1, 1]


def test_behind_it_doubles_at_each_tick_up_to_its_bound() -> None:
    effort = _effort(most_thinning=16)
    assert [_tick(effort, _BEHIND) for _ in range(6)] == [2, 4, 8, 16, 16, 16]


def test_how_far_behind_is_counted_in_seconds_of_work() -> None:
    effort = _effort(behind_seconds=2)
    assert _tick(effort, 1_000, records=1_000, worked=1.0) == 1
    assert _tick(effort, 2_000, records=1_000, worked=1.0) == 1
    assert _tick(effort, 2_001, records=1_000, worked=1.0) == 2


def test_a_slow_tick_among_quick_ones_is_not_behind() -> None:
    """The pace is that of the last seconds: the weights make a step in some ticks only."""
    effort = _effort(behind_seconds=1)
    assert _tick(effort, 0, records=1_000, worked=1.0) == 1
    assert _tick(effort, 500, records=100, worked=0.5) == 1
    assert _tick(effort, 900, records=100, worked=0.5) == 2


def test_what_one_batch_can_hold_is_not_behind() -> None:
    """A tick of a few events tells too little about the pace."""
    effort = _effort()
    assert _tick(effort, _BATCH, records=1, worked=1.0) == 1
    assert _tick(effort, _BATCH + 1, records=1, worked=1.0) == 2


def _ticks_of_rest(effort: Effort) -> int:
    """How many idle seconds it takes to come back to 1, at most 1,000."""
    return next(k for k in range(1, 1_000) if _tick(effort, _AT_REST, waited=1.0, worked=0.0) == 1)


def test_a_halving_that_did_not_hold_makes_the_next_one_wait_longer() -> None:
    effort = _effort(calm_seconds=2)
    waits = []
    for _ in range(7):
        _tick(effort, _BEHIND)
        waits.append(_ticks_of_rest(effort))
    assert waits == [2, 4, 8, 16, 32, 32, 32]


def test_a_halving_that_held_is_forgotten() -> None:
    effort = _effort(calm_seconds=2)
    for _ in range(3):
        _tick(effort, _BEHIND)
        _ticks_of_rest(effort)
    for _ in range(100):
        _tick(effort, _AT_REST, waited=1.0, worked=0.0)
    _tick(effort, _BEHIND)
    assert _ticks_of_rest(effort) == 2


def test_caught_up_it_comes_back_step_by_step_when_there_is_time_for_twice_as_much() -> None:
    effort = _effort(calm_seconds=3, idle_share=0.5)
    for _ in range(2):
        _tick(effort, _BEHIND)
    assert [_tick(effort, _AT_REST, waited=0.5, worked=0.5) for _ in range(7)] == [4, 4, 2, 2, 2, 1, 1]


def test_it_stays_where_it_only_just_keeps_up() -> None:
    effort = _effort(calm_seconds=3, idle_share=0.5)
    _tick(effort, _BEHIND)
    assert {_tick(effort, _AT_REST, waited=0.4, worked=0.6) for _ in range(50)} == {2}


def test_a_long_calm_does_not_hide_that_the_last_seconds_were_busy() -> None:
    effort = _effort(calm_seconds=3, idle_share=0.5)
    _tick(effort, _BEHIND)
    _tick(effort, _AT_REST, waited=0.0, worked=3.0)
    assert _tick(effort, _AT_REST, waited=1.0, worked=1.0) == 2
    assert _tick(effort, _AT_REST, waited=1.0, worked=0.0) == 1


def test_it_comes_back_to_what_is_configured_and_no_further() -> None:
    effort = _effort(thinning=2, most_thinning=4, calm_seconds=1, idle_share=0.5)
    assert effort.thinning == 2
    assert _tick(effort, _BEHIND) == 4
    assert [_tick(effort, _AT_REST, waited=9.0) for _ in range(3)] == [2, 2, 2]


def test_a_worker_that_may_not_follow_stays() -> None:
    """In a replay the result may not depend on how fast the machine is."""
    effort = Effort(EffortConfig(thinning=2), follows=False)
    assert not effort.ticked(_BEHIND, _BATCH, _BATCH, 0.0, 1.0)
    assert (effort.thinning, effort.most) == (2, 2)


def _first_start(**settings: float) -> Effort:
    effort = _effort(**settings)
    effort.begin_without_a_past()
    return effort


def test_a_line_without_a_past_learns_from_all_of_a_backlog() -> None:
    """Until it has caught up for the first time; from then on as ever."""
    effort = _first_start(learn_backlog=10_000)
    assert [_tick(effort, lag) for lag in (10_000, 9_000, 5_000, 1_000, 500, 101)] == [1] * 6
    assert effort.catch_up_left > 0
    assert _tick(effort, _BATCH) == 1
    assert (effort.catch_up_left, effort.caught_up) == (0, True)
    assert [_tick(effort, 1_000) for _ in range(3)] == [2, 4, 8]


def test_what_is_older_than_a_backlog_to_be_learned_is_thinned() -> None:
    effort = _first_start(learn_backlog=10_000, most_thinning=8)
    assert [_tick(effort, lag) for lag in (14_000, 13_000, 12_000, 10_001)] == [2, 4, 8, 8]
    assert [_tick(effort, lag) for lag in (10_000, 9_000)] == [1, 1]


def test_without_a_backlog_to_be_learned_it_thins_at_once() -> None:
    effort = _first_start(learn_backlog=0)
    assert effort.catch_up_left == 0
    assert [_tick(effort, _BEHIND) for _ in range(3)] == [2, 4, 8]


def test_a_first_catch_up_that_never_catches_up_ends() -> None:
    """More comes in than can be learned from in full: after twice as many records the usual rule holds."""
    effort = _first_start(learn_backlog=1_000)
    assert [_tick(effort, 900) for _ in range(20)] == [1] * 19 + [2]
    assert (effort.catch_up_left, effort.caught_up) == (0, False)


def test_not_knowing_what_is_unread_is_not_having_caught_up() -> None:
    """Before partitions are claimed nothing is unread, as far as is known."""
    effort = _first_start(learn_backlog=10_000)
    effort.ticked(0, 0, _BATCH, 1.0, 0.0, known=False)
    assert [_tick(effort, lag) for lag in (9_000, 8_000)] == [1, 1]


def test_a_first_catch_up_survives_a_restart() -> None:
    effort = _first_start(learn_backlog=1_000)
    _tick(effort, 900)
    resumed = _effort(learn_backlog=1_000)
    resumed.load_state_dict(effort.state_dict())
    assert resumed.catch_up_left == effort.catch_up_left == 1_900
    assert _tick(resumed, 800) == 1
    older = _effort(learn_backlog=1_000)
    older.load_state_dict({})
    assert _tick(older, 800) == 2


def test_in_a_replay_there_is_no_first_catch_up() -> None:
    effort = Effort(EffortConfig(), follows=False)
    effort.begin_without_a_past()
    assert effort.state_dict() == {"catch_up_left": 0}


def test_it_says_when_it_has_changed() -> None:
    effort = _effort(most_thinning=2)
    assert effort.ticked(_BEHIND, _BATCH, _BATCH, 0.0, 1.0)
    assert not effort.ticked(_BEHIND, _BATCH, _BATCH, 0.0, 1.0)
