"""Numbers that stand as texts."""

from __future__ import annotations

import pytest

from stream_worker.core.number_text import number_of


@pytest.mark.parametrize(
    ("text", "number"),
    [("19.99", 19.99), ("1.", 1.0), (".5", 0.5), ("-1.5e3", -1500.0), (" 7 ", 7.0), ("+2", 2.0)],
)
def test_a_number_is_read(text: str, number: float) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["", ".", "2,55", "EUR 3", "1_000", "nan", "inf", "1e999", "٣", "1 2"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert number_of(text) is None


def test_half_a_megabyte_of_digits_is_looked_at_once() -> None:
    """Each way to split the digits in two would be tried before the letter refuses them: hours of one event."""
    assert number_of("1" * 500_000 + "x") is None
