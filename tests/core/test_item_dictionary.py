"""The rule of the dictionary of item numbers: how long an id is kept, and that no number ever means two."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.core.item_dictionary import LAST_NUMBER, ItemDictionary, numbers_kept_seconds


def test_an_id_is_kept_for_at_least_the_time_after_it_was_asked_for_last() -> None:
    dictionary = ItemDictionary(most=10, kept_seconds=100.0)
    assert dictionary.numbers(["a", "b"], 0.0) == [1, 2]
    assert dictionary.numbers(["a"], 99.0) == [1]
    for now in (100.0, 150.0, 199.0):
        dictionary.numbers([], now)
        assert dictionary.ids([1, 2]) == ["a", "b"]


def test_an_id_that_nobody_asks_for_is_forgotten_before_twice_the_time_is_over() -> None:
    """It comes again under a new number; what its former number named is unknown."""
    dictionary = ItemDictionary(most=10, kept_seconds=100.0)
    dictionary.numbers(["a", "b"], 0.0)
    dictionary.numbers(["a"], 100.0)
    assert dictionary.numbers([], 200.0) == []
    assert dictionary.ids([1, 2]) == ["a", None]
    assert len(dictionary) == 1
    assert dictionary.numbers(["b", "a"], 200.0) == [3, 1]
    assert dictionary.ids([1, 2, 3]) == ["a", None, "b"]


def test_an_id_of_the_old_generation_keeps_its_number_when_it_is_asked_for() -> None:
    dictionary = ItemDictionary(most=10, kept_seconds=100.0)
    dictionary.numbers(["a"], 0.0)
    for now in range(100, 2_000, 100):
        assert dictionary.numbers(["a"], float(now)) == [1]


def test_what_is_forgotten_makes_room() -> None:
    dictionary = ItemDictionary(most=2, kept_seconds=100.0)
    assert dictionary.numbers(["a", "b", "c"], 0.0) == [1, 2, 0]
    assert dictionary.numbers(["a", "c"], 150.0) == [1, 0], "b is still there"
    assert dictionary.numbers(["a", "c"], 250.0) == [1, 3]


def test_without_a_time_nothing_is_forgotten() -> None:
    dictionary = ItemDictionary(most=10)
    dictionary.numbers(["a"], 0.0)
    assert dictionary.numbers(["a"], 1e12) == [1]


def test_a_clock_that_is_put_forward_forgets_nothing_that_it_had_kept_by_then() -> None:
    """One step, however large, makes one new generation; one that is put back begins to count anew."""
    dictionary = ItemDictionary(most=10, kept_seconds=100.0)
    dictionary.numbers(["a"], 0.0)
    assert dictionary.numbers(["a"], 1e9) == [1]
    dictionary.numbers(["b"], 50.0)
    dictionary.numbers([], 149.0)
    assert dictionary.ids([1, 2]) == ["a", "b"]


def test_numbers_end_where_a_place_in_a_ring_does() -> None:
    """The last one is given; behind it there is none, and no number comes round again."""
    dictionary = ItemDictionary(most=10)
    dictionary.restore([(7, "a", False)], counter=LAST_NUMBER - 1)
    assert dictionary.numbers(["b", "c", "a", "b"]) == [LAST_NUMBER, 0, 7, LAST_NUMBER]


def test_a_restored_dictionary_has_the_same_generations() -> None:
    first = ItemDictionary(most=10, kept_seconds=100.0)
    first.numbers(["a", "b"], 0.0)
    first.numbers(["b", "c"], 100.0)
    entries = list(first.entries())
    assert entries == [(1, "a", True), (2, "b", False), (3, "c", False)]
    again = ItemDictionary(most=10, kept_seconds=100.0)
    again.restore(entries, first.counter)
    assert list(again.entries()) == entries
    again.numbers([], 1_000.0)
    again.numbers(["d"], 1_100.0)
    assert again.ids([1, 2, 3, 4]) == [None, "b", "c", "d"]


@pytest.mark.parametrize("expire", [1.0, 86_400.0, 3e7])
def test_numbers_outlive_the_records_that_name_them(expire: float) -> None:
    """A record goes twice the expiry after it was written; a worker asks an eighth late."""
    assert numbers_kept_seconds(expire) * 7 / 8 > 2 * expire
    assert numbers_kept_seconds(0.0) == math.inf


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 60.0, 100.0, 130.0, 500.0]), st.lists(st.sampled_from("abcdefgh"), max_size=5)
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(_STEPS, st.integers(1, 8))
def test_no_number_ever_means_two_ids_and_no_id_has_two_numbers(
    steps: list[tuple[float, list[str]]], most: int
) -> None:
    """And of those asked for within the time none is forgotten."""
    dictionary, now = ItemDictionary(most, kept_seconds=100.0), 0.0
    meant: dict[int, str] = {}
    asked: dict[str, tuple[float, int]] = {}
    for seconds, ids in steps:
        now += seconds
        kept = {item: number for item, (ts, number) in asked.items() if number and now - ts < 100.0}
        numbers = dictionary.numbers(ids, now)
        for item, number in zip(ids, numbers, strict=True):
            assert number == kept.get(item, number)
            assert number == 0 or meant.setdefault(number, item) == item
            asked[item] = (now, number)
        assert 0 not in numbers or len(dictionary) == most
        entries = list(dictionary.entries())
        assert len(entries) == len(dictionary) <= most
        assert len({item for _, item, _ in entries}) == len(entries)
        assert all(meant[number] == item for number, item, _ in entries)
