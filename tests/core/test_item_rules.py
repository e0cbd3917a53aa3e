"""What rules say of items stands in the right bit, column and code, whatever an item lacks."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.item_rules import ItemRules, price_band, scenario_of

CONDITIONS = {
    "lists.filter": "item.price < 10",
    "scenarios.home.filter": 'scenario == "home" && item.stock > 0',
    "scenarios.home.promotions[0].filter": "item.price >= 10",
}
BOOSTS = {"lists.boost": 'item.brand == "acme" ? 2.0 : 0.5', "scenarios.home.boost": "item.stock"}
IF_FAILED = {"lists.filter": True, "scenarios.home.filter": True, "scenarios.home.promotions[0].filter": False}
FIELDS = ["brand", "price_band", "stock"]
MORE = {"stock": "stock"}


def rules() -> ItemRules:
    return ItemRules(CONDITIONS, BOOSTS, FIELDS, IF_FAILED, MORE)


def item(**fields: Any) -> dict[str, Any]:
    return {"tags": [], "available": True, "blocked": False, **fields}


def code(text: str) -> int:
    return zlib.crc32(text.encode())


def test_each_condition_has_its_bit_each_boost_its_column_and_each_field_its_code() -> None:
    values = rules().evaluate([item(price=5.0, stock=3, brand="acme"), item(price=12.0, stock=0, brand="b")])
    assert values.holds_MW.tolist() == [[0b011], [0b100]]
    assert values.factor_MS.tolist() == [[2.0, 3.0], [0.5, 1.0]]
    assert values.group_MF.tolist() == [
        [code("acme"), code("4-8"), code("3")], [code("b"), code("8-16"), code("0")],
    ]  # fmt: skip
    assert [column.dtype.str for column in values] == ["<u8", "<f4", "<u4"]


def test_what_fails_counts_as_it_is_told_to_and_is_counted_by_key() -> None:
    one = rules()
    values = one.evaluate([item(brand="acme"), item(brand="acme", price=20.0), None])
    assert values.holds_MW.tolist() == [[0b011], [0b110], [0b011]]
    assert values.factor_MS.tolist() == [[2.0, 1.0], [2.0, 1.0], [1.0, 1.0]]
    assert one.failures == {
        "lists.filter": 1, "scenarios.home.filter": 2, "scenarios.home.promotions[0].filter": 1,
        "scenarios.home.boost": 2,
    }  # fmt: skip
    assert one.reasons["lists.filter"] == 'Key not found in map : "price"'
    one.evaluate([item(price=5.0, stock=3, brand="acme")])
    assert (one.failures, one.reasons) == ({}, {})


def test_an_item_of_which_nothing_is_known_has_the_values_of_one_without_fields() -> None:
    one = rules()
    for known, empty in zip(one.unknown, one.evaluate([item()]), strict=True):
        np.testing.assert_array_equal(known, empty)


def test_without_rules_columns_have_no_width() -> None:
    none = ItemRules.none()
    assert not none
    assert none.fingerprint == ""
    assert [column.shape for column in none.evaluate([item(), None])] == [(2, 0), (2, 0), (2, 0)]


def test_the_last_of_64_conditions_has_the_highest_bit_and_more_are_refused() -> None:
    conditions = {f"lists.promotions[{e}].filter": f"item.stock == {e}" for e in range(64)}
    many = ItemRules(conditions, {}, (), dict.fromkeys(conditions, False), MORE)
    assert many.evaluate([item(stock=63), item(stock=0)]).holds_MW.tolist() == [[1 << 63], [1]]
    conditions["lists.filter"] = "true"
    with pytest.raises(ValueError, match="at most 64 conditions, got 65"):
        ItemRules(conditions, {}, (), dict.fromkeys(conditions, False), MORE)


@pytest.mark.parametrize("field", ["title", "tags", "price", "nothing", "id"])
def test_groups_are_made_of_fields_that_have_few_values(field: str) -> None:
    with pytest.raises(ValueError, match=rf"'{field}'; known: category, brand, stock, price_band"):
        ItemRules({}, {}, [field], {}, MORE)


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), (3, "3"), (3.0, "3"), (2.5, "2.5"), (True, "true"), (False, "false"), ([1], ""), ({}, ""), ("", "")],
)
def test_the_code_of_a_group_is_that_of_the_value_as_it_is_written(value: Any, text: str) -> None:
    found = ItemRules({}, {}, ["stock"], {}, MORE).evaluate([item(stock=value)])
    assert found.group_MF.tolist() == [[code(text)]]


@given(st.floats(0, 1e38))
def test_a_price_lies_in_its_band(price: float) -> None:
    low, high = map(int, price_band(price).split("-"))
    assert low <= price < high
    assert high == max(1, 2 * low)


def test_a_fingerprint_differs_where_any_value_may() -> None:
    def made(**other: Any) -> str:
        given: dict[str, Any] = {
            "conditions": CONDITIONS, "boosts": BOOSTS, "fields": FIELDS, "if_failed": IF_FAILED, "more_fields": MORE,
        }  # fmt: skip
        return ItemRules(**{**given, **other}).fingerprint

    others = [
        made(conditions=CONDITIONS | {"lists.filter": "item.price < 11"}),
        made(conditions=dict(reversed(CONDITIONS.items()))),
        made(boosts={"lists.boost": "item.stock + 1"}),
        made(fields=["price_band", "brand", "stock"]),
        made(if_failed=IF_FAILED | {"lists.filter": False}),
        made(more_fields={"stock": "inventory.stock"}),
    ]
    assert made() == made()
    assert len({made(), *others}) == 1 + len(others)


def test_a_key_names_its_scenario() -> None:
    assert [scenario_of(key) for key in ("lists.filter", "scenarios.home.boost", "scenarios.a-b.promotions[0].x")] == [
        "default", "home", "a-b",
    ]  # fmt: skip


def test_a_fault_of_an_expression_names_its_key() -> None:
    with pytest.raises(ValueError, match=r"scenarios\.home\.boost: line 1, column 6: no field 'stok'"):
        ItemRules({}, {"scenarios.home.boost": "item.stok"}, (), {}, MORE)


PRICES = st.one_of(st.none(), st.floats(0, 30, width=16))
STOCKS = st.one_of(st.none(), st.integers(0, 3), st.just("many"))


@given(st.lists(st.one_of(st.none(), st.tuples(PRICES, STOCKS)), max_size=20))
def test_columns_are_those_of_plain_python(given: Sequence[tuple[float | None, Any] | None]) -> None:
    items = [
        None if one is None else item(**{k: v for k, v in zip(("price", "stock"), one, strict=True) if v is not None})
        for one in given
    ]
    expected, factors, failed = [], [], 0
    for one in items:
        price: Any = (one or {}).get("price")
        stock: Any = (one or {}).get("stock")
        number = type(stock) is int
        word = 1 if price is None or price < 10 else 0
        word |= 2 if not number or stock > 0 else 0
        word |= 4 if price is not None and price >= 10 else 0
        expected.append(word)
        factors.append(float(stock) if number and stock > 0 else 1.0)
        failed += 0 if one is None else 2 * (price is None) + (not number) + (not number or stock == 0)
    all_of = ItemRules(CONDITIONS, {"scenarios.home.boost": "item.stock"}, (), IF_FAILED, MORE)
    values = all_of.evaluate(items)
    assert values.holds_MW[:, 0].tolist() == expected
    assert values.factor_MS[:, 0].tolist() == factors
    assert all_of.failures.total() == failed
