"""Amounts in sentences: one event, two events."""

from __future__ import annotations


def amount(count: float, one: str, many: str = "", form: str = ",") -> str:
    """Return a number and what it counts: `2,000 events`, but `1 event`.

    `count`: the number.
    `one`: the noun for exactly one.
    `many`: the noun for any other number; empty: `one` with an s.
    `form`: the format specification of the number.

    >>> amount(1, "dead letter"), amount(0, "dead letter"), amount(2_000, "dead letter")
    ('1 dead letter', '0 dead letters', '2,000 dead letters')
    >>> amount(1, "row is", "rows are"), amount(86_400_000 / 86_400_000, "day", form=".3g")
    ('1 row is', '1 day')
    """
    number = f"{count:{form}}"
    return f"{number} {one}" if number == "1" else f"{number} {many or one + 's'}"
