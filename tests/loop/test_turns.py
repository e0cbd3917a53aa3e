"""Turns: in the order of waiting, each once, and not more often than once a minute."""

from __future__ import annotations

import numpy as np

from stream_worker.loop.turns import Turns


def _turns(*touched: int) -> Turns:
    turns = Turns()
    turns.grow(6)
    turns.touch(np.array(touched))
    return turns


def test_those_that_waited_longest_come_first_and_each_once() -> None:
    turns = _turns(4, 2)
    turns.touch(np.array([2, 0]))
    assert turns.ready(0.0).tolist() == [4, 2, 0]
    turns.pass_over(np.array([2]))
    assert turns.ready(0.0).tolist() == [4, 0]


def test_the_next_turn_of_a_place_comes_a_minute_later() -> None:
    """Unless it is in a hurry, or is forgotten, as a place that means something else now."""
    turns = _turns(1, 2, 3)
    turns.looked_at(np.array([1, 2, 3]), 100.0)
    assert turns.ready(1_000.0).tolist() == []
    turns.touch(np.array([1, 2, 3]))
    turns.hurry(np.array([2]))
    turns.forget(np.array([3]))
    assert turns.ready(159.9).tolist() == [2, 3]
    assert turns.ready(160.0).tolist() == [1, 2, 3]


def test_what_was_found_stays_until_it_is_forgotten() -> None:
    """With all of it the places that wait for nothing."""
    turns = _turns(1, 2)
    turns.first[[1, 2]] = 7
    turns.grow(9)
    turns.forget_all(kept=np.array([False, True]))
    assert turns.first.tolist() == [0] * 9
    assert turns.queue.tolist() == [2]
