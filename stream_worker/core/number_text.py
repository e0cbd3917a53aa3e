"""Reads numbers from texts, and writes whole numbers as texts, in the forms of exports and trackers."""

from __future__ import annotations

import math
import re
from typing import Any

# float() alone also accepts blanks of all kinds, underscores and the digits of any script.
# The pattern can read a text in one way only: with two, half a megabyte of digits before a letter would take minutes.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EXACT_INTEGERS = 2.0**53  # a float64 holds all integers below this exactly (IEEE 754)


def number_of(text: str) -> float | None:
    """Return the finite number in a text, None if it is no number. A comma is refused, since its meaning differs."""
    text = text.strip(" \t")
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def whole_text(value: Any) -> str | None:
    """Return the digits of an integer, or of a float without a fraction; None for any other value.

    Integers in a column with nulls often come as floats.
    """
    if type(value) is int:
        return str(value)
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return str(int(value))
    return None
