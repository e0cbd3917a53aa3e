"""What is told of items is found by id, is forgotten as told, takes little room, and is the same after a restart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.items import content_table
from model.items.content_table import BLOCKED, GONE, UNAVAILABLE, ContentTable, Descriptions


def described(*items: str, **columns: Any) -> Descriptions:
    """Return descriptions of these items; a column that is not given says nothing."""
    count = len(items)
    plain: dict[str, Any] = {
        "title": [""] * count, "brand": [""] * count, "category": [""] * count, "tags": [()] * count,
        "vectors": [{}] * count, "gone_M": [False] * count, "price_M": [np.nan] * count,
        "available_M": [True] * count, "blocked_M": [False] * count, "held_M": [False] * count,
    }  # fmt: skip
    plain |= columns
    for name in ("gone_M", "available_M", "blocked_M", "held_M"):
        plain[name] = np.array(plain[name], bool)
    plain["price_M"] = np.array(plain["price_M"], np.float32)
    return Descriptions(ids=list(items), **plain)


def gone(*items: str) -> Descriptions:
    return described(*items, gone_M=[True] * len(items))


def test_each_item_has_what_was_told_of_it_last() -> None:
    table = ContentTable()
    table.change(described("a", "b", "a", category=["x", "y", "z"], price_M=[1, 2, 3], brand=["", "k", "k"]))
    table.change(described("c", available_M=[False]))
    a, b, c, nobody = table.find(["a", "b", "c", "d"])
    assert nobody == 0
    assert len(table) == 3
    assert len({a, b, c}) == 3
    assert table.price_N[[a, b]].tolist() == [3.0, 2.0]
    assert table.brand_N[a] == table.brand_N[b] > 0
    assert table.category_N[a] != table.category_N[b]
    assert table.hidden_N[[a, b, c]].tolist() == [0, 0, UNAVAILABLE]


def test_what_a_description_leaves_out_is_not_known_any_more() -> None:
    table = ContentTable()
    table.change(described("a", category=["x"], brand=["k"], title=["a red lamp"], price_M=[5], blocked_M=[True]))
    slot = table.find(["a"])[0]
    assert table.hidden_N[slot] == BLOCKED
    table.change(described("a"))
    assert table.find(["a"])[0] == slot
    assert (table.category_N[slot], table.brand_N[slot], table.hidden_N[slot]) == (0, 0, 0)
    assert np.isnan(table.price_N[slot])
    assert not table.vector_ND[slot].any()


def test_an_item_that_is_gone_is_hidden_until_it_is_told_of_again() -> None:
    table = ContentTable()
    table.change(described("a", "b", category=["x", "y"]))
    table.change(gone("a", "never heard of"))
    assert table.hidden_N[table.find(["a", "never heard of"])].tolist() == [GONE, GONE]
    assert table.category_N[table.find(["a"])].tolist() == [0]
    assert len(table) == 1
    table.change(described("a"))
    assert table.hidden_N[table.find(["a"])].tolist() == [0]
    assert len(table) == 2


def test_of_items_that_are_gone_only_the_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slots of the others are used again, and nothing else finds them."""
    monkeypatch.setattr(content_table, "_MOST_GONE", 10)
    table = ContentTable()
    for day in range(30):
        items = [f"{day}.{k}" for k in range(5)]
        table.change(described(*items, category=items))
        table.change(gone(*items))
    assert table.find([f"29.{k}" for k in range(5)]).min() > 0
    assert table.find([f"{day}.{k}" for day in range(25) for k in range(5)]).max() == 0
    assert table.find(["29.0"])[0] < 25
    _, used_again = table.change(described("new"))
    assert used_again.tolist() == table.find(["new"]).tolist()


def test_a_state_is_restored_to_the_bit_and_goes_on_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_table, "_MOST_GONE", 4)
    table = ContentTable()
    table.change(described(*"abcdefgh", title=[f"lamp {item}" for item in "abcdefgh"], category=list("xyxyxyxy")))
    table.change(gone(*"fedcb"))
    other = ContentTable()
    other.load_state_dict({name: array.copy() for name, array in table.state_dict().items()})
    for each in (table, other):
        each.change(described("i", "c"))
        each.change(gone("a", "g"))
        each.change(described("j", "k"))
    for name, array in table.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name], err_msg=name)
    asked = list("abcdefghijk")
    assert table.find(asked).tolist() == other.find(asked).tolist()


def test_an_item_takes_less_than_400_bytes() -> None:
    """Also of ids of 100 letters: a million items take less than 400 MB."""
    table = ContentTable()
    items = [f"{k:0100}" for k in range(4_000)]
    table.change(described(*items, title=items))
    assert table.nbytes / len(items) < 400


UNKNOWN = (np.array([[0b100]], np.uint64), np.array([[0.5, 2.0]], np.float32), np.array([[7]], np.uint32))


def said(*numbers: int) -> list[Any]:
    """Return values of rules that tell each number apart."""
    column = np.array(numbers).reshape(-1, 1)
    return [column.astype(np.uint64), np.tile(column, 2).astype(np.float32), column.astype(np.uint32)]


def rules_of(table: ContentTable, *items: str) -> list[list[float]]:
    slots = table.find(items)
    holds, factors, groups = (
        column[slots] for column in (table.rules.holds_NW, table.rules.factor_NS, table.rules.group_NF)
    )
    return [[*map(float, row)] for row in np.concatenate([holds, factors, groups], axis=1)]


def test_what_rules_say_of_an_item_is_what_they_said_last() -> None:
    table = ContentTable(UNKNOWN)
    table.change(described("a", "b", "a", rules=said(1, 2, 3)))
    table.change(described("c", rules=said(4)))
    nobody = [4.0, 0.5, 2.0, 7.0]
    assert rules_of(table, "a", "b", "c", "d") == [[3.0] * 4, [2.0] * 4, [4.0] * 4, nobody]
    table.change(described("b"))
    assert rules_of(table, "b") == [nobody]


def test_rules_are_the_same_after_a_restart_and_begin_anew_where_their_number_is_another() -> None:
    table = ContentTable(UNKNOWN)
    items = [f"i{k}" for k in range(3_000)]
    table.change(described(*items, rules=said(*range(3_000))))
    state = {name: array.copy() for name, array in table.state_dict().items()}
    other = ContentTable(UNKNOWN)
    other.load_state_dict(state)
    assert rules_of(other, *items, "x") == rules_of(table, *items, "x")
    fewer = ContentTable((UNKNOWN[0], UNKNOWN[1][:, :1], UNKNOWN[2]))
    fewer.load_state_dict(state)
    assert rules_of(fewer, "i5", "x") == [[5.0, 0.5, 5.0], [4.0, 0.5, 7.0]]
    older = ContentTable(UNKNOWN)
    older.load_state_dict({name: array for name, array in state.items() if "holds" not in name and "fa" not in name})
    assert rules_of(older, "i5") == [[4.0, 0.5, 2.0, 5.0]]


def test_without_rules_nothing_is_kept_of_them() -> None:
    table = ContentTable()
    table.change(described("a"))
    assert table.rules.nbytes == 0
    assert set(table.state_dict()) == {
        "key_N", "category_N", "brand_N", "price_N", "hidden_N", "vector_ND", "gone",
    }  # fmt: skip


ITEMS = [*"abcdefgh"]
STEPS = st.lists(st.lists(st.tuples(st.sampled_from(ITEMS), st.booleans(), st.integers(0, 9)), max_size=6), max_size=12)


@given(STEPS)
def test_rules_of_items_are_those_of_a_plain_dictionary(steps: list[list[tuple[str, bool, int]]]) -> None:
    """Changes in any order, items that go and come back, slots that others had, and a restart after each step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_table, "_MOST_GONE", 2)
        table, plain = ContentTable(UNKNOWN), dict[str, int]()
        for step in steps:
            ids, gone, numbers = [list(column) for column in zip(*step, strict=True)] if step else ([], [], [])
            table.change(described(*ids, gone_M=gone, rules=said(*numbers)))
            plain |= dict(zip(ids, numbers, strict=True))
            state, table = table.state_dict(), ContentTable(UNKNOWN)
            table.load_state_dict({name: array.copy() for name, array in state.items()})
            for item, number in plain.items():
                forgotten = table.find([item])[0] == 0  # it is gone, and others went after it
                assert rules_of(table, item) == [[4.0, 0.5, 2.0, 7.0] if forgotten else [float(number)] * 4]
