"""Item numbers lead to rows as a dictionary's keys do, whatever they hash to."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.items.number_table import NumberTable

# Many of few, so that runs of occupied places form, break and wrap round the end; the last numbers of 32 bits too.
_NUMBERS = st.one_of(
    st.integers(0, 40), st.integers(2**32 - 40, 2**32 - 1), st.integers(0, 40).map(lambda k: k * 2**19 % 2**32)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(_NUMBERS, max_size=40, unique=True)), max_size=12))
def test_it_is_a_dictionary_without_zero(steps: list[tuple[bool, list[int]]]) -> None:
    """Put and drop in any order; what was never put may be dropped."""
    table, plain = NumberTable(places=64), dict[int, int]()
    for turn, (put, listed) in enumerate(steps):
        numbers = np.array(listed, dtype=np.uint32)
        if put:
            rows = np.arange(len(numbers)) + 1_000 * turn
            table.put(numbers, rows)
            plain |= {number: row for number, row in zip(listed, rows.tolist(), strict=True) if number}
        else:
            table.drop(numbers)
            plain = {number: row for number, row in plain.items() if number not in listed}
        asked = sorted({0, 7, 2**32 - 1, *plain, *(n for _, some in steps for n in some)})
        assert table.find(np.array(asked, np.uint32)).tolist() == [plain.get(number, -1) for number in asked]
        assert len(table) == len(plain)


def test_a_run_that_wraps_round_the_end_keeps_its_numbers() -> None:
    """Full but for one place: every number is found from wherever it hashes to, after any other was dropped."""
    for dropped in range(1, 32):
        table = NumberTable(places=64)
        numbers = np.arange(1, 32, dtype=np.uint32) * np.uint32(131_072)
        table.put(numbers, numbers)
        table.drop(numbers[dropped - 1 : dropped])
        expected = np.where(numbers == numbers[dropped - 1], -1, numbers.astype(np.int64))
        assert table.find(numbers).tolist() == expected.tolist()


def test_a_hundred_thousand_numbers_are_found_in_any_shape() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.choice(2**32 - 1, 100_000, replace=False).astype(np.uint32) + np.uint32(1)
    table = NumberTable()
    table.put(numbers, np.arange(len(numbers)))
    asked = numbers[rng.integers(0, len(numbers), (50, 40))]
    assert (numbers[table.find(asked)] == asked).all()
    assert table.find(np.zeros((2, 3, 4), np.uint32)).tolist() == np.full((2, 3, 4), -1).tolist()
    table.drop(numbers[::2])
    assert len(table) == 50_000
    assert (table.find(numbers[::2]) == -1).all()
    assert (numbers[table.find(numbers[1::2])] == numbers[1::2]).all()
