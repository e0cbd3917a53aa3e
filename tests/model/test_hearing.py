"""Events of partitions that other workers own: what they count for, and what they never do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model import examining
from model.batch import Batch
from model.learner_state import state_of
from model.pace import Pace
from model.state import Arrays
from tests.model.lines import SMALL, Event, Line, markov_log

_COUNTED_ONLY = Pace(heard_one_in=0)
_SIZE = 48


def _hashed(user: str) -> int:
    return sum(user.encode())


def _own(events: Sequence[Event], owned: int = 2) -> list[bool]:
    """One user in `owned` is of an owned partition."""
    return [_hashed(event.user) % owned == 0 for event in events]


def _fed(line: Line, events: Sequence[Event], owned: int = 2) -> Line:
    for start in range(0, len(events), _SIZE):
        part = events[start : start + _SIZE]
        line.feed(part, own=_own(part, owned))
    return line


def _counts(line: Line) -> Arrays:
    """The counting tables; what the catalogue notes by mini-batch is not among them."""
    arrays = state_of(line.learner)[0]
    return {name: array for name, array in arrays.items() if name.startswith("counting.")}


def _line(pace: Pace = _COUNTED_ONLY) -> Line:
    line = Line(max_heard=500)
    line.pace = pace
    return line


def test_what_is_counted_does_not_depend_on_who_owns_it() -> None:
    log = markov_log(3, 480, items=40)
    plain, hearing = Line(), _fed(_line(), log)
    for start in range(0, len(log), _SIZE):
        plain.feed(log[start : start + _SIZE])
    counted, heard = _counts(plain), _counts(hearing)
    assert counted.keys() == heard.keys()
    for name in counted:
        np.testing.assert_allclose(heard[name], counted[name], rtol=1e-9, err_msg=name)
    assert hearing.learner.events == plain.learner.events == len(log)


def test_a_line_that_examines_what_it_hears_learns_as_one_that_owns_all() -> None:
    log = markov_log(4, 480, items=40)
    plain, hearing = Line(), _fed(_line(Pace(heard_one_in=1)), log)
    for start in range(0, len(log), _SIZE):
        plain.feed(log[start : start + _SIZE])
    one, other = (state_of(line.learner)[0] for line in (plain, hearing))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert hearing.learner.examined == len(log)


def test_heard_events_are_never_scored() -> None:
    log = markov_log(5, 48, items=40)
    line = _line(Pace(heard_one_in=1))
    own = _own(log)
    tick = line.feed(log, own=own)
    assert 0 < len(tick.outcome.scored(tick.batch)) == sum(own) < len(log)
    assert tick.outcome.examined_B.all()


def test_own_events_and_examined_heard_ones_set_the_pace_of_learning() -> None:
    log = markov_log(6, 480, items=40)
    own = sum(_own(log))
    assert _fed(_line(), log).learner.examined == own
    some = _fed(_line(Pace(heard_one_in=4)), log).learner.examined - own
    assert (len(log) - own) / 8 < some < (len(log) - own) / 2


def test_an_examined_heard_event_does_not_see_its_own_count() -> None:
    """A pair that was never seen is no candidate of its own event, neither in a list nor by its rank."""
    line = _line(Pace(heard_one_in=1))
    _fed(line, markov_log(7, 96, items=20))
    new = [Event("heard", "before", 1e6), Event("heard", "brand new", 1e6 + 1)]
    tick = line.feed(new, own=[False, False])
    assert tick.ranks == [0, 0]
    assert all("brand new" not in names for names in tick.lists)


def test_users_of_heard_events_are_not_dirty_and_the_lstm_reads_them_only_if_some_are_examined() -> None:
    log = [event for event in markov_log(8, 96, items=40) if not _own([event])[0]][:60]
    for pace, reads in ((_COUNTED_ONLY, False), (Pace(heard_one_in=16), True)):
        line = _line(pace)
        line.feed(log, own=[False] * len(log))
        users = line.learner.users
        assert not users.dirty_S.any()
        assert users.count(heard=True) == len({event.user for event in log})
        assert bool(users.h_SH.any()) == reads
        assert users.events_S.sum() == len(log)


@pytest.mark.parametrize("one_in", [0, 1, 4])
def test_heard_events_that_were_learned_before_are_remembered_at_any_pace(one_in: int) -> None:
    log = markov_log(8, 96, items=40)
    line = _fed(_line(Pace(heard_one_in=one_in)), log)
    remembered = line.learner.users.events_S.sum()
    again = line.batch(log[:_SIZE], own=_own(log[:_SIZE]))
    line.learner.remember(replace(again, learn_B=np.zeros(_SIZE, np.bool_)), line.pace)
    assert line.learner.users.events_S.sum() == remembered + _SIZE
    assert line.learner.events == len(log)


def test_a_heard_event_moves_the_clock_no_further_than_its_record() -> None:
    line = _line()
    line.feed([Event("own", "a", 1_000.0)], own=[True])
    ahead = line.batch([Event("heard", "b", 90_000.0)], own=[False])
    line.learner.learn(replace(ahead, clock_B=np.array([1_010.0])), line.pace)
    assert line.learner.clock_ts == 1_010.0


def test_what_is_heard_ten_minutes_late_is_not_hot_but_counts_for_pairs_and_for_ever() -> None:
    log = markov_log(9, 96, items=20)
    end = max(event.ts for event in log)
    late = [Event("late", "old", end - 601.0), Event("late", "older", end - 600.5)]
    line = _fed(_line(), log)
    popularity = line.learner.counting.tables.popularity
    newest = popularity.newest_P.copy()
    line.feed(late, own=[False, False])
    assert popularity.newest_P[:-1].tolist() == newest[:-1].tolist()
    assert popularity.newest_P[-1] > newest[-1]
    rows = line.learner.catalog.find(["old", "older"])
    assert popularity.weight_PN[:-1, rows].sum() == 0
    assert (popularity.weight_PN[-1, rows] > 0).all()
    assert line.learner.counting.tables.rows.total_TN[:, rows[0]].sum() > 0
    on_time = [Event("late", "old", end - 590.0)]
    line.feed(on_time, own=[False])
    assert popularity.weight_PN[0, rows[0]] > 0


@pytest.mark.parametrize(("thinning", "heard_one_in"), [(1, 0), (1, 1), (1, 4), (2, 8), (3, 0)])
def test_a_mini_batch_holds_as_many_examined_events_whoever_owns_them(thinning: int, heard_one_in: int) -> None:
    rng = np.random.default_rng(thinning)
    own_B = rng.random(4_000) < 0.25
    batch = _batch(own_B)
    pace = Pace(thinning, heard_one_in=heard_one_in)
    pieces = list(examining.mini_batches(batch, pace, 64))
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert (pieces[0].start, pieces[-1].stop) == (0, len(batch))
    share = 1 / heard_one_in if heard_one_in else 0.0
    for piece in pieces[:-1]:
        own = own_B[piece]
        examined = own.sum() / thinning + (~own).sum() * share
        assert 64 <= examined < 64 + 1


def test_a_long_stretch_of_counted_events_is_cut() -> None:
    pieces = list(examining.mini_batches(_batch(np.zeros(5_000, np.bool_)), _COUNTED_ONLY, 64))
    assert max(piece.stop - piece.start for piece in pieces) == 4_096
    assert pieces[-1].stop == 5_000


def test_events_that_only_fill_rings_are_never_examined() -> None:
    batch = replace(_batch(np.zeros(100, np.bool_)), learn_B=np.zeros(100, np.bool_))
    drawn = examining.drawn(batch, Pace(heard_one_in=1), np.random.default_rng(0))
    assert not isinstance(drawn, slice)
    assert len(drawn) == 0


def test_owned_rows_are_not_evicted_for_heard_ones() -> None:
    line = Line(max_users=4, max_heard=4)
    line.pace = _COUNTED_ONLY
    line.feed([Event(f"own {n}", "a", n) for n in range(4)], own=[True] * 4)
    for turn in range(5):
        line.feed([Event(f"heard {turn} {n}", "a", 10 + turn) for n in range(3)], own=[False] * 3)
    users = line.learner.users
    assert (users.find([f"own {n}" for n in range(4)]) >= 0).all()
    assert users.count(heard=True) <= 4


def _batch(own_B: NDArray[np.bool_]) -> Batch:
    line = Line(replace(SMALL, max_items=8_192), max_users=len(own_B), max_heard=len(own_B))
    return line.batch([Event(f"u{n}", "a", float(n)) for n in range(len(own_B))], own=own_B.tolist())
