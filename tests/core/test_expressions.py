"""Expressions mean what CEL says, are refused with the place of the fault, and fail on single items alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.expressions import MOST_CHARACTERS, Expressions, Kind, checked

KEY = "lists.filter"
LAMP = {
    "id": "p1", "title": "Red lamp", "brand": "acme", "category": "lamps", "price": 12.5, "tags": ["red", "new"],
    "available": True, "blocked": False, "stock": 3, "sizes": {"s": 2},
}  # fmt: skip


def expression(text: str, kind: Kind = Kind.CONDITION, scenario: str = "default") -> Expressions:
    return Expressions({KEY: text}, {KEY: kind}, scenario, ["stock", "sizes"])


def value(text: str, kind: Kind = Kind.CONDITION) -> bool | float | None:
    return expression(text, kind).evaluate(LAMP)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('item.brand == "acme" && item.price < 20', True),
        ("item.price >= 12.5 && item.price < 13.0", True),
        ('item.category in ["lamps", "chairs"]', True),
        ('"red" in item.tags && !("old" in item.tags)', True),
        ('item.tags.exists(tag, tag.startsWith("n"))', True),
        ('item.title.matches("(?i)^red")', True),
        ("has(item.stock) && item.stock > 5", False),
        ("has(item.sizes.m) && item.sizes.m > 0", False),
        ("item.sizes.s == 2 // a remark", True),
        ('item.title == "item.nothing"', False),
        ('scenario == "default"', True),
        ("item.available && !item.blocked", True),
    ],
)
def test_conditions_are_true_or_false(text: str, expected: bool) -> None:
    assert value(text) is expected


def test_a_factor_is_a_number_whole_or_not() -> None:
    assert value('item.brand == "acme" ? 2 : 1', Kind.FACTOR) == 2.0
    assert value("1.0 + double(item.stock) / 2.0", Kind.FACTOR) == 2.5


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("item.brand ==", "line 1, column 14", "Syntax error"),
        ('item.brand == "a" &&\n  item.brnd == "b"', "line 2, column 8", "no field 'brnd'; known: id, title"),
        ("item.price < 5 &&\nitem.tags == 3", "line 2, column 11", "no matching overload"),
        ("has(item.brand) && item.title > 3", "line 1, column 31", "no matching overload"),
        ("has(item.nothing)", "line 1, column 10", "no field 'nothing'"),
        ('item["brand"] == "a"', "line 1, column 1", "a dot and the name of a field"),
        ("scenario == 3", "line 1, column 10", "no matching overload"),
        ('item.brand.endsWit("a")', "line 1, column 19", "undeclared reference to 'endsWit'"),
        ("item.brand", "line 1, column 1", "must give true or false, got a value of type string"),
        ("", "line 1, column 1", "Syntax error"),
        ("now() > 3", "line 1, column 4", "undeclared reference to 'now'"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_key_and_place(text: str, place: str, words: str) -> None:
    with pytest.raises(ValueError, match=KEY) as refused:
        expression(text)
    assert f"{KEY}: {place}: " in str(refused.value)
    assert words in str(refused.value)


def test_a_boost_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="must give a number from 1e-30 to 1e30, got a value of type bool"):
        expression("item.available", Kind.FACTOR)


def test_an_expression_has_at_most_1000_characters() -> None:
    text = 'item.brand == "' + "x" * (MOST_CHARACTERS - 16) + '"'
    assert value(text) is False
    with pytest.raises(ValueError, match=r"lists\.filter: must have at most 1000 characters, got 1001"):
        expression(text + " ")


def test_loops_end_after_10000_steps() -> None:
    nested = "item.tags.all(a, item.tags.all(b, item.tags.all(c, a + b + c != '')))"
    long = expression(nested)
    assert long.evaluate({"tags": ["x"] * 64}) == [None]
    assert "Iteration budget exceeded" in long.reasons[KEY]
    assert long.evaluate({"tags": ["x"] * 4}) == [True]


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("item.price < 5", Kind.CONDITION, 'Key not found in map : "price"'),
        ("item.stock > 5", Kind.CONDITION, "No matching overloads"),
        ("item.stock", Kind.CONDITION, "must give true or false, got 'many'"),
        ("item.sizes.s / 0 == 1", Kind.CONDITION, "divide by zero"),
        ("item.sizes.s - 2", Kind.FACTOR, "must give a number from 1e-30 to 1e30, got 0"),
        ("-1.0", Kind.FACTOR, "got -1.0"),
        ("1.0 / 0.0", Kind.FACTOR, "got inf"),
        ("0.0 / 0.0", Kind.FACTOR, "got nan"),
        ("item.sizes.s", Kind.FACTOR, ""),
    ],
)
def test_what_fails_on_an_item_gives_nothing_and_says_why(text: str, kind: Kind, reason: str) -> None:
    item = {"stock": "many", "sizes": {"s": 2}}
    one = expression(text, kind)
    found = one.evaluate(item)
    if reason:
        assert (found, one.failures) == ([None], {KEY: 1})
        assert reason in one.reasons[KEY]
    else:
        assert (found, one.failures, one.reasons) == ([2.0], {}, {})


def test_one_that_fails_leaves_the_others_as_they_are() -> None:
    texts = {"a": "item.price < 5", "b": "item.available", "c": "item.stock > 1", "d": "true // the end"}
    together = Expressions(texts, dict.fromkeys(texts, Kind.CONDITION), "home", ["stock"])
    for _ in range(3):
        assert together.evaluate({"available": True, "stock": 2}) == [None, True, True, True]
        assert together.evaluate({"available": False, "price": 1.0}) == [True, False, None, True]
        assert together.evaluate({"available": True, "stock": "?"}) == [None, True, None, True]
    assert together.failures == {"a": 6, "c": 6}


def test_a_text_can_t_end_the_list_in_which_all_are_evaluated() -> None:
    with pytest.raises(ValueError, match="Syntax error"):
        checked(KEY, "true), (false", Kind.CONDITION)


Answer = bool | None
Meaning = Callable[[dict[str, Any]], Answer]


def _compared(name: str, sign: str, number: int) -> tuple[str, Meaning]:
    signs: dict[str, Callable[[Any], bool]] = {
        "<": lambda had: had < number, ">=": lambda had: had >= number, "==": lambda had: had == number,
    }  # fmt: skip
    return f"item.{name} {sign} {number}", lambda item: signs[sign](item[name]) if name in item else None


def _both(left: tuple[str, Meaning], right: tuple[str, Meaning], ends: bool) -> tuple[str, Meaning]:
    """Return `&&` (ends: False) or `||` (ends: True): either side may decide, also where the other one fails."""

    def meaning(item: dict[str, Any]) -> Answer:
        answers = left[1](item), right[1](item)
        return ends if ends in answers else (None if None in answers else not ends)

    return f"({left[0]} {'||' if ends else '&&'} {right[0]})", meaning


def _not(one: tuple[str, Meaning]) -> tuple[str, Meaning]:
    return f"!({one[0]})", lambda item: None if (answer := one[1](item)) is None else not answer


NUMBERS = st.sampled_from(["price", "stock"])
LEAVES: st.SearchStrategy[tuple[str, Meaning]] = st.one_of(
    st.builds(_compared, NUMBERS, st.sampled_from(["<", ">=", "=="]), st.integers(0, 3)),
    st.builds(lambda name: (f"has(item.{name})", lambda item: name in item), NUMBERS),
    st.builds(lambda tag: (f'"{tag}" in item.tags', lambda item: tag in item["tags"]), st.sampled_from("ab")),
    st.builds(
        lambda brand: (f'item.brand == "{brand}"', lambda item: item["brand"] == brand if "brand" in item else None),
        st.sampled_from("ab"),
    ),
)
CONDITIONS = st.recursive(
    LEAVES, lambda inner: st.one_of(st.builds(_not, inner), st.builds(_both, inner, inner, st.booleans())), max_leaves=6
)
ITEMS = st.fixed_dictionaries(
    {"tags": st.lists(st.sampled_from("ab"), max_size=2)},
    optional={
        "price": st.floats(0, 4).map(lambda price: round(price, 1)), "stock": st.integers(0, 3),
        "brand": st.sampled_from("ab"),
    },
)  # fmt: skip


@given(st.lists(CONDITIONS, min_size=1, max_size=8), st.lists(ITEMS, max_size=12))
def test_conditions_are_those_of_plain_python(
    conditions: list[tuple[str, Meaning]], items: list[dict[str, Any]]
) -> None:
    """Random conditions on random items, of which any field may be missing."""
    texts = {f"lists.promotions[{place}].filter": text for place, (text, _) in enumerate(conditions)}
    found = Expressions(texts, dict.fromkeys(texts, Kind.CONDITION), "default", ["stock"])
    expected = [[meaning(item) for _, meaning in conditions] for item in items]
    assert [found.evaluate(item) for item in items] == expected
    assert found.failures.total() == sum(answers.count(None) for answers in expected)
