"""Conditions of `keep`: "null", "not null", or a comparison with a number or a text."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

Condition = Callable[[Any], bool]
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def condition(key: str, text: str) -> Condition:
    """Return the test that a text means: "null", "not null", or a comparison with a number or (== and != only) a text.

    `key`: the key of the configuration that holds the text. A missing value passes no comparison. Raises ValueError.
    """
    if text in ("null", "not null"):
        return (lambda value: not is_missing(value)) if text == "not null" else is_missing
    match = re.fullmatch(r"(>=|<=|==|!=|>|<)\s*(.+)", text)
    if not match:
        known = ", ".join(_COMPARISONS)
        raise ValueError(f'{key}: must be "null", "not null" or one of {known} and a value, got {text!r}')
    sign, operand = match.groups()
    bound = _number(operand)
    if bound is None and sign not in ("==", "!="):
        raise ValueError(f"{key}: {sign} must be followed by a number, got {operand!r}")
    return _comparison(_COMPARISONS[sign], operand if bound is None else bound)


def _comparison(compare: Callable[[Any, Any], bool], bound: float | str) -> Condition:
    read: Callable[[Any], Any] = _text if isinstance(bound, str) else _number

    def test(value: Any) -> bool:
        known = None if is_missing(value) else read(value)
        return known is not None and compare(known, bound)

    return test


def is_missing(value: Any) -> bool:
    """Return True for None, an empty text, or NaN (which pandas writes for a null in a column of numbers)."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    """Return a plain value as text; a container only as its kind, since it may nest too deep for Python."""
    return type(value).__name__ if isinstance(value, dict | list) else str(value)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
