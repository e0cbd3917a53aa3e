"""Whatever the rules, the catalogue and the user: no list names what the rules leave out, and quotas hold."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.batch import NO_GAP, SESSION_ENDS
from model.counting.tables import SECONDS
from model.counting.walk import Users
from model.lists import purchases
from model.lists.arranging import REASONS, ItemColumns, arrange, working_memory
from model.lists.rules import (
    CART,
    FOR_A_TIME,
    FRESH,
    GROUP,
    KEPT,
    LEARNED,
    NO_END,
    PROMOTED,
    PURCHASE,
    REMOVE,
    SEEN,
    VIEW,
    ListRules,
    best_alone,
    quotas_of,
)

_ROLE_T = np.array([0, VIEW, CART, REMOVE, PURCHASE], np.int8)
_NOW = 2e6
T = TypeVar("T")
_ROWS, _RING = 24, 12


@dataclass
class _Ring:
    """One user's events, oldest first: rows, types, gap buckets before each, and the seconds since the last one."""

    rows: list[int]
    types: list[int]
    gaps: list[int]
    idle: float

    def users(self) -> Users:
        empty = _RING - len(self.rows)
        return Users(
            np.array([[-1] * empty + self.rows], np.int32),
            np.array([[0] * empty + self.types], np.uint8),
            np.array([[0] * empty + self.gaps], np.uint8),
            np.array([math.log1p(self.idle)], np.float32),
            np.zeros(1, np.float32),
        )

    def past(self) -> list[tuple[int, int, float, bool]]:
        """(row, role, seconds ago, in this session) of each event, newest first."""
        seconds, inside, found = math.expm1(np.float32(math.log1p(self.idle))), True, []
        inside = seconds < 2**SESSION_ENDS
        for row, kind, gap in reversed(list(zip(self.rows, self.types, self.gaps, strict=True))):
            found.append((row, int(_ROLE_T[kind]), seconds, inside))
            inside = inside and gap < SESSION_ENDS
            seconds += float(SECONDS[gap]) if gap < NO_GAP else 0.0
        return found


_rings = st.integers(0, _RING).flatmap(
    lambda n: st.builds(
        _Ring,
        st.lists(st.integers(0, _ROWS - 1), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
        st.lists(st.integers(0, 16), min_size=n, max_size=n),
        st.floats(0, 1e5),
    )
)


def _column(values: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    return st.lists(values, min_size=_ROWS, max_size=_ROWS)


@st.composite
def _items(draw: st.DrawFn) -> ItemColumns:
    return ItemColumns(
        hidden_N=np.array(draw(_column(st.booleans()))) & np.array(draw(_column(st.booleans()))),
        holds_N=np.array(draw(_column(st.integers(0, 7))), np.uint64),
        factor_NS=np.array(draw(_column(st.sampled_from([0.25, 1.0, 4.0]))), np.float32)[:, None],
        group_NF=np.array(draw(_column(st.integers(0, 3))), np.uint32)[:, None],
        category_N=np.array(draw(_column(st.integers(0, 3))), np.uint32),
        born_ts_N=np.array(draw(_column(st.sampled_from([0.0, 1e6, 1.9e6, 1.99e6])))),
    )


@st.composite
def _rules(draw: st.DrawFn) -> ListRules:
    length = draw(st.integers(1, 10))
    quotas = [
        (SEEN, 0, 0, 0.0, 0, draw(st.integers(0, length))),
        (PROMOTED, 2, 0, draw(st.sampled_from([NO_END, 1e6])), draw(st.integers(0, length // 3)), length),
        (FRESH, 0, 0, 86_400.0, draw(st.integers(0, length // 3)), length),
        (GROUP, 1, 1, 0.0, draw(st.integers(0, length // 3)), draw(st.integers(length // 3, length))),
    ]
    return best_alone(length)._replace(
        bought=draw(st.sampled_from([KEPT, LEARNED, FOR_A_TIME])),
        bought_seconds=draw(st.sampled_from([NO_END, 3_600.0])),
        in_session=draw(st.booleans()),
        in_cart=draw(st.booleans()),
        clicks=draw(st.integers(0, 3)),
        holds=np.uint64(draw(st.sampled_from([0, 1]))),
        boost=draw(st.sampled_from([-1, 0])),
        diversity=draw(st.sampled_from([0.0, 0.5, 1.0])),
        cap_F=np.array([draw(st.integers(0, 3)), draw(st.integers(0, 3))], np.int64),
        quotas=quotas_of(quotas),
    )


@dataclass
class _Made:
    rows: list[int]
    left: dict[str, int]
    promoted: list[bool]


def _made(rules: ListRules, items: ItemColumns, ring: _Ring, order: list[int], bought: purchases.Purchases) -> _Made:
    rows_UM = np.array([order], np.int32)
    value_UM = np.log(np.linspace(0.9, 0.1, len(order)))[None]
    vectors = np.random.default_rng(0).normal(size=(1, len(order), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    picks_UK = np.full((1, rules.length), 7, np.int32)
    promoted_UK, left_UR = np.zeros((1, rules.length), np.bool_), np.zeros((1, len(REASONS)), np.int32)
    arrange(
        rules, items, bought, np.pad(_ROLE_T, (0, 11)), ring.users(), _NOW, rows_UM, value_UM, vectors,
        working_memory(len(order), len(rules.quotas.kind_Q)), picks_UK, promoted_UK, left_UR,
    )  # fmt: skip
    picks = [pick for pick in picks_UK[0].tolist() if pick >= 0]
    assert picks_UK[0, len(picks) :].tolist() == [-1] * (rules.length - len(picks))
    return _Made(
        [order[pick] for pick in picks],
        dict(zip(REASONS, left_UR[0].tolist(), strict=True)),
        promoted_UK[0, : len(picks)].tolist(),
    )


_orders = st.permutations(range(_ROWS)).map(lambda order: [*order, -1, order[0], order[5]])


def _left_out(rules: ListRules, items: ItemColumns, ring: _Ring, row: int) -> bool:
    """True if the rules leave a row out, told in plain words."""
    mine = [(role, seconds, inside) for at, role, seconds, inside in ring.past() if at == row]
    roles = [role for role, _, _ in mine]
    bought = [seconds for role, seconds, _ in mine if role == PURCHASE]
    basket = [role for role in roles if role in (CART, REMOVE, PURCHASE)]
    return (
        bool(items.hidden_N[row])
        or bool(rules.holds and not int(items.holds_N[row]) & 1)
        or bool(bought and rules.bought == LEARNED)
        or bool(bought and rules.bought == FOR_A_TIME and bought[0] < rules.bought_seconds)
        or bool(rules.in_cart and basket and basket[0] == CART)
        or (rules.in_session and any(inside for _, _, inside in mine))
        or (0 < rules.clicks <= roles.count(VIEW) and not bought)
    )


@given(_rules(), _items(), _rings, _orders)
def test_no_list_names_what_the_rules_leave_out(
    rules: ListRules, items: ItemColumns, ring: _Ring, order: list[int]
) -> None:
    """Nor an item twice. Nothing was ever bought again, so whatever was bought is left out where that is learned."""
    made = _made(rules, items, ring, order, purchases.empty(_ROWS))
    assert len(set(made.rows)) == len(made.rows) <= rules.length
    assert not any(_left_out(rules, items, ring, row) for row in made.rows)


def _members(rules: ListRules, items: ItemColumns, ring: _Ring, q: int) -> set[int]:
    kind, until = int(rules.quotas.kind_Q[q]), float(rules.quotas.seconds_Q[q])
    if kind == SEEN:
        return {row for row in ring.rows if row >= 0}
    if kind == PROMOTED:
        return {row for row in range(_ROWS) if int(items.holds_N[row]) & 2 and until > _NOW}
    if kind == FRESH:
        return {row for row in range(_ROWS) if (born := items.born_ts_N[row]) > 0 and _NOW - born < until}
    return {row for row in range(_ROWS) if items.group_NF[row, 0] == 1}


@given(_rules(), _items(), _rings, _orders)
def test_caps_and_quotas_hold(rules: ListRules, items: ItemColumns, ring: _Ring, order: list[int]) -> None:
    """Never more than the most. The least is there, or every other item of the quota may not stand in the list."""
    made = _made(rules, items, ring, order, purchases.empty(_ROWS))
    groups = items.category_N, items.group_NF[:, 0]
    for cap, group_N in zip(rules.cap_F.tolist(), groups, strict=True):
        counted = Counter(code for row in made.rows if (code := int(group_N[row])))
        assert not cap or max(counted.values(), default=0) <= cap
    stood = Counter[int]()
    closed = set[int]()
    members = [_members(rules, items, ring, q) for q in range(len(rules.quotas.kind_Q))]
    for q, of in enumerate(members):
        stood[q] = len(of & set(made.rows))
        assert stood[q] <= rules.quotas.most_Q[q]
        closed |= of if stood[q] == rules.quotas.most_Q[q] else set()
    for cap, group_N in zip(rules.cap_F.tolist(), groups, strict=True):
        full = {code for code in (1, 2, 3) if cap and sum(int(group_N[row]) == code for row in made.rows) == cap}
        closed |= {row for row in range(_ROWS) if int(group_N[row]) in full}
    for q, of in enumerate(members):
        if stood[q] < rules.quotas.least_Q[q] and len(made.rows) == rules.length:
            # Other quotas were behind as well: then each has all but what the others took.
            lacking = int(rules.quotas.least_Q[q]) - stood[q]
            free = {row for row in of - closed - set(made.rows) if not _left_out(rules, items, ring, row)}
            assert not free or lacking <= 1


@given(_rules(), _items(), _rings, _orders)
def test_a_short_list_says_why(rules: ListRules, items: ItemColumns, ring: _Ring, order: list[int]) -> None:
    """Every item that might have stood there was left out, for a reason that is counted."""
    made = _made(rules, items, ring, order, purchases.empty(_ROWS))
    assert all(count >= 0 for count in made.left.values())
    if len(made.rows) < rules.length:
        assert len(made.rows) + sum(made.left.values()) == _ROWS


@given(_items(), _rings, _orders, st.integers(1, 10))
def test_without_rules_the_best_candidates_are_the_list(
    items: ItemColumns, ring: _Ring, order: list[int], length: int
) -> None:
    """All but hidden ones, in their order."""
    made = _made(best_alone(length), items, ring, order, purchases.empty(_ROWS))
    assert made.rows == [row for row in order[:_ROWS] if not items.hidden_N[row]][:length]


def test_a_promotion_is_spread_over_the_list() -> None:
    """Two of eight places are the third and the seventh; where an item stands there anyway, it counts."""
    items = _nothing_special()._replace(holds_N=np.array([0] * 20 + [2] * 4, np.uint64))
    rules = best_alone(8)._replace(quotas=quotas_of([(PROMOTED, 2, 0, NO_END, 2, 8)]))
    made = _made(rules, items, _Ring([], [], [], 0.0), list(range(_ROWS)), purchases.empty(_ROWS))
    assert made.rows == [0, 20, 1, 2, 3, 21, 4, 5]
    assert made.promoted == [row >= 20 for row in made.rows]


def test_a_boost_reorders_and_a_dial_spreads() -> None:
    items = _nothing_special()._replace(factor_NS=np.array([[1.0]] * 23 + [[50.0]], np.float32))
    nobody = _Ring([], [], [], 0.0)
    boosted = _made(best_alone(3)._replace(boost=0), items, nobody, list(range(_ROWS)), purchases.empty(_ROWS))
    assert boosted.rows == [23, 0, 1]


def _nothing_special() -> ItemColumns:
    nothing: NDArray[np.uint32] = np.zeros(_ROWS, np.uint32)
    return ItemColumns(
        np.zeros(_ROWS, np.bool_), np.zeros(_ROWS, np.uint64), np.ones((_ROWS, 1), np.float32),
        np.zeros((_ROWS, 1), np.uint32), nothing, np.zeros(_ROWS),
    )  # fmt: skip
