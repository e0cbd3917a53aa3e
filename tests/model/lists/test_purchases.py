"""Milk is bought again and a toilet isn't."""

from __future__ import annotations

import numpy as np
import pytest

from model.batch import SESSION_ENDS
from model.lists import purchases
from model.lists.rules import PURCHASE, VIEW

_ROLE_T = np.array([VIEW, PURCHASE] + [0] * 14, np.int8)
_MILK, _TOILET, _SINK, _BREAD = range(4)
_CATEGORY_N = np.array([7, 8, 8, 7], np.uint32)
_DAY = 86_400.0
_DAY_GAP = int(np.log2(1 + _DAY))


def _buy(counted: purchases.Purchases, row: int, ring: list[tuple[int, int, int]], gap: int = _DAY_GAP) -> None:
    """A purchase after a ring of (row, type, gap bucket), `gap` after its last event."""
    rows, types, gaps = ([entry[column] for entry in ring] for column in range(3))
    purchases.count(
        counted, _ROLE_T, np.array([rows or [-1]], np.int32), np.array([types or [0]], np.uint8),
        np.array([gaps or [0]], np.uint8), np.array([gap], np.uint8), np.array([row], np.int32),
        np.array([1], np.uint8), np.array([True]), _CATEGORY_N,
    )  # fmt: skip


def _shop() -> purchases.Purchases:
    counted = purchases.empty(4)
    for _ in range(40):
        _buy(counted, _MILK, [(_MILK, 1, 5)])
        _buy(counted, _TOILET, [(_TOILET, 0, 5)])
    return counted


def test_what_is_bought_again_comes_back_and_what_is_not_does_not() -> None:
    """After half of the usual time: the milk of a minute ago is no gift either."""
    counted = _shop()
    assert purchases.are_over(counted, _TOILET, 8, 30 * _DAY)
    assert purchases.are_over(counted, _MILK, 7, 60.0)
    assert not purchases.are_over(counted, _MILK, 7, 2 * _DAY)


def test_an_item_of_which_nothing_is_known_goes_by_its_category() -> None:
    counted = _shop()
    assert purchases.are_over(counted, _SINK, 8, 30 * _DAY)
    assert not purchases.are_over(counted, _BREAD, 7, 2 * _DAY)


def test_where_nothing_was_ever_bought_twice_all_is_left_out() -> None:
    assert purchases.are_over(purchases.empty(1), 0, 0, 1e9)


def test_pieces_of_one_purchase_are_one() -> None:
    """Shops write an event for each piece; a view of the item is no purchase."""
    counted = purchases.empty(4)
    _buy(counted, _TOILET, [])
    _buy(counted, _TOILET, [(_TOILET, 1, 5)], gap=3)
    _buy(counted, _TOILET, [(_TOILET, 1, 5), (_SINK, 0, SESSION_ENDS - 1)], gap=3)
    assert (counted.bought_N[_TOILET], counted.again_N[_TOILET]) == (1, 0)
    _buy(counted, _TOILET, [(_TOILET, 1, 5), (_SINK, 0, SESSION_ENDS)], gap=3)
    assert (counted.bought_N[_TOILET], counted.again_N[_TOILET]) == (2, 1)


def test_the_counts_survive_a_state_and_those_of_evicted_rows_do_not() -> None:
    counted = purchases.from_state(purchases.state_of(_shop()), 9)
    assert len(counted.bought_N) == 9
    assert not purchases.are_over(counted, _MILK, 7, 2 * _DAY)
    purchases.forget(counted, np.array([_MILK]))
    assert (counted.bought_N[_MILK], counted.bought_1[0]) == (0, 80)
    assert purchases.from_state({}, 5).bought_1 == pytest.approx([0])
