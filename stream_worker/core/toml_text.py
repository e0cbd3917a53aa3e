"""Writes keys and values of TOML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def key(name: str) -> str:
    """Return a key of TOML, in quotes where it must be."""
    return name if _BARE.fullmatch(name) else literal(name)


def literal(value: Any) -> str:
    """Return a value of TOML: a text, a number, true or false, a list or a table of such values.

    >>> print(literal(["a", 'b"']), literal(True), literal(3), literal({"a b": 1.0}))
    ["a", "b\\""] true 3 {"a b" = 1.0}
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key(name)} = {literal(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, str):
        return f'"{"".join(map(_escaped, value))}"'
    return str(value).lower()


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    return character if character.isprintable() else f"\\U{ord(character):08x}"
