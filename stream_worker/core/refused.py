"""Sentences for settings that pydantic refuses: the key, its bound, and the value where it is no secret."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from stream_worker.core.masking import told
from stream_worker.core.nearest import did_you_mean

# Pydantic's kinds of refusal, as sentences that go on after the key.
_BOUNDS = {
    "greater_than": "must be above",
    "greater_than_equal": "must be at least",
    "less_than": "must be below",
    "less_than_equal": "must be at most",
}
_ALLOWED = {
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "float_parsing": "must be a number",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "dataclass_type": "must be a table, [{key}]",
    "dict_type": "must be a table, [{key}]",
    "missing": "must be there",
}
_KINDS = ("TypeConfig", "str", "tuple[str, ...]")  # by which pydantic tells the types of one value apart


def sentence(fault: ValidationError) -> str:
    """Return a sentence about the first value that was refused."""
    first = fault.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    key, kind = ".".join(_places(first["loc"])), first["type"]
    if kind in _BOUNDS:
        (bound,) = first["ctx"].values()
        return f"{key}: {_BOUNDS[kind]} {bound:.12g}, got {first['input']}"  # a number is no secret
    allowed = _ALLOWED.get(kind, first["msg"].replace("Input should be", "must be"))
    said = f"{key}: {allowed.format(key=key, **first.get('ctx', {}))}, got {told(key, first['input'])}"
    return said + (_near(first["input"], first["ctx"]["expected"]) if kind == "literal_error" else "")


def _near(given: Any, expected: str) -> str:
    """Return the question for the nearest of the words that pydantic names in quotes."""
    return did_you_mean(given, re.findall(r"'([^']+)'", expected)) if isinstance(given, str) else ""


def _places(location: tuple[Any, ...]) -> list[str]:
    """Return the keys of a place, without the names of classes that pydantic adds where a value may be of several."""
    return [str(place) for place in location if place not in _KINDS]
