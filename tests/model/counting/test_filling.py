"""A list has as many items as it may, whatever is left out, and what fills it up stands behind what was proposed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.counting.filling import Filling
from model.learner_config import LearnerConfig
from model.pace import Pace
from tests.model.lines import SMALL, Event, Line, changed, markov_log

_SHORT = changed(SMALL, max_items=200)  # nothing has to leave
_LONG = changed(_SHORT, list_length=40, ring_size=16)


def _seldom_twice(users: int, items: int, events: int) -> list[Event]:
    """Everybody takes each item once, then begins again: by then it is no longer in the ring."""
    return [Event(f"u{k % users}", f"i{(k // users * 7 + k % users) % items}", 1.6e9 + 10.0 * k) for k in range(events)]


def _one_item(events: int) -> list[Event]:
    return [Event(f"u{k % 5}", "i0", 1.6e9 + 10.0 * k) for k in range(events)]


_LOGS = {
    "one item": _one_item(200),
    "nobody returns": _seldom_twice(6, 12, 600),
    "some return": markov_log(3, 600, users=6, items=14),
    "more items than hot ones": markov_log(4, 900, users=6, items=60, noise=0.9),
}


@pytest.mark.parametrize("config", [_SHORT, _LONG], ids=["lists of 5", "lists of 40"])
@pytest.mark.parametrize("thinning", [1, 4])
@pytest.mark.parametrize("name", _LOGS)
def test_every_list_is_as_long_as_it_may_be_and_names_what_was_touched(
    name: str, thinning: int, config: LearnerConfig
) -> None:
    """At every event, from the first batch on, and of users who are asked for."""
    line, touched = Line(config), list[str]()
    line.pace = Pace(thinning)
    for start in range(0, len(_LOGS[name]), 32):
        events = _LOGS[name][start : start + 32]
        tick = line.feed(events)
        for event, named, examined in zip(events, tick.lists, tick.outcome.examined_B, strict=True):
            if examined:
                assert len(set(named)) == len(named) == min(config.list_length, len(set(touched)))
                assert set(named) <= set(touched)
            touched.append(event.item)
    rows_UK = line.recommend(line._recall([event.user for event in _LOGS[name][-8:]] + ["nobody"])).rows_UK
    assert ((rows_UK >= 0).sum(axis=1) == min(config.list_length, len(set(touched)))).all()


def test_the_place_in_the_list_is_the_rank() -> None:
    """Also of what fills it up; what is in no list has none, or one behind it."""
    for log in _LOGS.values():
        line = Line(_SHORT)
        for start in range(0, len(log), 32):
            events = log[start : start + 32]
            tick = line.feed(events)
            for event, named, rank in zip(events, tick.lists, tick.ranks, strict=True):
                assert rank == named.index(event.item) + 1 if event.item in named else not 0 < rank <= 5


def test_what_nobody_returns_to_stands_behind_what_was_not_done_yet() -> None:
    line = Line(SMALL)
    line.run(_seldom_twice(6, 9, 900), 32)
    tick = line.feed([Event("u0", "i0", 1.7e9)])
    done = {line.learner.catalog.ids[row] for row in tick.outcome.windows_BL[0] if row >= 0}
    assert 0 < 9 - len(done) < 5, "a list needs some of them"
    is_done = [item in done for item in tick.lists[0]]
    assert is_done == sorted(is_done)
    assert sum(is_done) == 5 - (9 - len(done))


def test_what_fills_lists_up_is_not_learned_from() -> None:
    """Lists of one item, which need nothing, and of five: the same candidates, the same weights, to the bit."""
    one, five = Line(changed(SMALL, list_length=1)), Line(SMALL)
    for line in (one, five):
        line.run(_seldom_twice(6, 12, 600), 32)
    arrays, others = one.state()[0], five.state()[0]
    assert arrays.keys() == others.keys()
    assert all(np.array_equal(arrays[name], others[name], equal_nan=True) for name in arrays)


def test_a_list_fills_up_again_after_items_left() -> None:
    """What left the catalogue is in no list; what is left fills them."""
    config = changed(SMALL, item_expiry_days=1.0, min_items=2)
    line = Line(config)
    line.run(markov_log(1, 320), 32)
    later = [replace(event, item=f"j{k % 4}", ts=1.6e9 + 3 * 86_400 + k) for k, event in enumerate(markov_log(2, 64))]
    line.run(later, 32)
    rows_UK = line.recommend(line._recall(["u0", "u1"])).rows_UK
    assert {line.learner.catalog.ids[row] for row in rows_UK[0] if row >= 0} == {"j0", "j1", "j2", "j3"}


def test_in_the_first_batch_of_all_a_users_own_items_stand_in_front() -> None:
    """Nobody can say yet what users return to."""
    line = Line(SMALL)
    tick = line.feed([Event("u0", item, 1.6e9 + k) for k, item in enumerate(["i0", "i1", "i0", "i2"])])
    assert tick.lists == [[], ["i0"], ["i1", "i0"], ["i0", "i1"]]
    assert tick.ranks == [0, 0, 2, 0]


@pytest.mark.parametrize(
    ("in_front", "lists", "ranks"),
    [(False, [[1, 2, 7], [3, 8, 9]], [2, 3, 0]), (True, [[7, 1, 2], [8, 9, 3]], [3, 2, 0])],
)
def test_lists_and_ranks_of_what_was_proposed_and_what_was_not(
    in_front: bool, lists: list[list[int]], ranks: list[int]
) -> None:
    filling = Filling(np.array([[7, -1, -1], [8, 9, -1]], np.int32), in_front)
    assert filling.filled_up(np.array([[1, 2, -1], [3, -1, -1]], np.int32)).tolist() == lists
    spare_BK = np.array([[7, -1], [8, 9], [7, -1]], np.int32)
    candidates_BC = np.array([[1, 2, -1], [3, -1, -1], [1, 2, -1]], np.int32)
    found = Filling(spare_BK, in_front).ranks(np.array([2, 0, 0]), candidates_BC, np.array([2, 9, 4], np.int32))
    assert found.tolist() == ranks
