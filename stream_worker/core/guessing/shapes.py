"""The shape of documents: every path that holds values, with what these look like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stream_worker.core.event_times import OLDEST_SECONDS, timestamp_seconds
from stream_worker.core.number_text import number_of

# Bounds of what is looked at, so that no document takes long. Not tuned.
_MOST_PATHS, _MOST_DEPTH, _MOST_ELEMENTS, _MOST_DISTINCT = 2_000, 8, 50, 2_000
_YEAR_2100_SECONDS = 4_102_444_800.0  # 2100-01-01T00:00:00Z
_PLAIN = re.compile(r"[^.\[\]\"*$=]+")
_DATE = re.compile(r"\d{8}", re.ASCII)
_OWN_WORDS = ("key", "record_time")  # of the mapping; a field with such a name is written with `$.`
_UNITS = ((1e11, "seconds"), (1e14, "milliseconds"), (1e17, "microseconds"), (float("inf"), "nanoseconds"))


@dataclass
class Values:
    """Values that stand at one path.

    path: as `[events]` writes it; it begins with a dot if it is relative to an element of `each`.
    each: the path of that array; empty: none.
    names: the names that lead there, outermost first, without those that only wrap a value.
    documents: the documents that have a value there.
    distinct: the values and how often each was seen, up to a bound.
    kinds: how many values are a text, an integer, a fraction, true or false, a time, or a number in a text.
    units: units of the times.
    """

    path: str
    each: str
    names: tuple[str, ...]
    documents: set[int] = field(default_factory=set)
    count: int = 0
    distinct: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)

    def share(self, *kinds: str) -> float:
        """Return the share of the values that are of one of these kinds, which exclude each other."""
        return sum(self.kinds[kind] for kind in kinds) / max(1, self.count)

    def add(self, document: int, value: Any) -> None:
        """Note a value of a document."""
        self.documents.add(document)
        self.count += 1
        text = value if isinstance(value, str) else str(value)
        if text in self.distinct or len(self.distinct) < _MOST_DISTINCT:
            self.distinct[text] += 1
        self.kinds[_kind(value)] += 1
        if unit := _unit(value):
            self.kinds["time"] += 1
            self.units[unit] += 1


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, str):
        number = number_of(value)
        return "text" if number is None else f"{_kind(number)} in text"
    return "whole" if isinstance(value, int) or value.is_integer() else "fraction"


def _unit(value: Any) -> str:
    """Return the unit of a value that may be a time: words for a number's, "text" for a date; empty: it is no time."""
    if isinstance(value, bool):
        return ""
    number = number_of(value) if isinstance(value, str) else value
    seconds = timestamp_seconds(value)
    if seconds is None or not OLDEST_SECONDS <= seconds <= _YEAR_2100_SECONDS:
        return ""
    if number is None or _DATE.fullmatch(str(value)):
        return "text"
    return next(unit for end, unit in _UNITS if abs(number) < end)


class Shapes:
    """The values of some documents by (array, path), and the arrays with the documents that have them."""

    def __init__(self, documents: Iterable[Any]) -> None:
        self.values: dict[tuple[str, str], Values] = {}
        self.arrays: dict[str, set[int]] = {}
        self.count = 0
        for document in documents:
            self._walk(document, "", "", (), 0)
            self.count += 1

    def __iter__(self) -> Iterator[Values]:
        return iter(self.values.values())

    def _walk(self, value: Any, path: str, each: str, names: tuple[str, ...], depth: int) -> None:
        if depth > _MOST_DEPTH or value is None or value == "":
            return
        if isinstance(value, dict):
            for name, inner in value.items():
                if (joined := _joined(path, name, each)) is not None:
                    self._walk(inner, joined, each, (*names, name), depth + 1)
        elif isinstance(value, list):
            self._walk_array(value, path, each, names, depth)
        elif isinstance(value, str | int | float):
            self._add(value, path, each, names)

    def _walk_array(self, elements: list[Any], path: str, each: str, names: tuple[str, ...], depth: int) -> None:
        if _are_pairs(elements):
            for element in elements[:_MOST_ELEMENTS]:
                key = str(element["key"])
                if _PLAIN.fullmatch(key):
                    pair = {name: inner for name, inner in element.items() if name != "key"}
                    self._walk_pair(pair, f"{path}[key={key}]", each, (*names, key), depth + 1)
        elif each or not path:
            self._walk(next(iter(elements), None), f"{path}[0]", each, names, depth + 1)
        else:
            self.arrays.setdefault(path, set()).add(self.count)
            for element in elements[:_MOST_ELEMENTS]:
                self._walk(element, "", path, names, depth + 1)

    def _walk_pair(self, value: Any, path: str, each: str, names: tuple[str, ...], depth: int) -> None:
        """Walk into what stands beside a key: its names (`value`, `string_value`) only wrap the value."""
        if isinstance(value, dict) and depth <= _MOST_DEPTH:
            for name, inner in value.items():
                if (joined := _joined(path, name, each)) is not None:
                    self._walk_pair(inner, joined, each, names, depth + 1)
        elif isinstance(value, str | int | float) and value != "":
            self._add(value, path, each, names)

    def _add(self, value: Any, path: str, each: str, names: tuple[str, ...]) -> None:
        place = (each, path or ".")
        if place not in self.values:
            if len(self.values) >= _MOST_PATHS:
                return
            self.values[place] = Values(path or ".", each, names)
        self.values[place].add(self.count, value)


def _are_pairs(elements: list[Any]) -> bool:
    """Return True for an array of keys with values, such as GA4's event_params."""
    return bool(elements) and all(_is_pair(element) for element in elements)


def _is_pair(element: Any) -> bool:
    return isinstance(element, dict) and len(element) == 2 and isinstance(element.get("key"), str)


def _joined(path: str, name: str, each: str) -> str | None:
    """Return the path of a field; None: no path can name it."""
    if not _PLAIN.fullmatch(name):
        return f'"{name}"' if name and not path and not each and '"' not in name else None
    if path:
        return f"{path}.{name}"
    if each:
        return f".{name}"
    return f"$.{name}" if name in _OWN_WORDS or name.startswith("header:") else name
