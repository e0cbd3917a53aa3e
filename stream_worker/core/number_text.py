"""Numbers that stand as texts, and whole numbers as text: as exports and trackers write them."""

from __future__ import annotations

import math
import re
from typing import Any

# float() alone takes blanks of all kinds, underscores and the digits of any script.
# One way to read each text, or half a megabyte of digits before a letter takes minutes.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EXACT_INTEGERS = 2.0**53


def number_of(text: str) -> float | None:
    """The finite number that a text is; None: it is none. A comma has no one meaning, so it is part of no number."""
    text = text.strip(" \t")
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def whole_text(value: Any) -> str | None:
    """The digits of an integer, or of a float that is one (a column with nulls makes floats of them); else None."""
    if type(value) is int:
        return str(value)
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return str(int(value))
    return None
