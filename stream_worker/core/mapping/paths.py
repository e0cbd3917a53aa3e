"""Paths into nested values, as texts: names joined by dots, indexes, `*` and filters.

- `a.b`: field `b` of the object in field `a`. A field that is called "a.b" as a whole goes before it.
- `a[0]`, `a[-1]`: an element of an array.
- `a[*]` or `a.*`: every element of an array, every value of an object.
- `a[key=page]`: the elements of an array of objects whose field `key` is "page" (also a number, true, false, null).
- `$.a`: the same as `a`, where a name would mean something else.
- `"a [b]"`: a name in double quotes, which may hold dots and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

Path = Callable[[Any], Any]
_Step = Callable[[Any], Iterator[Any]]
_PART = re.compile(r"([^.\[\]]*)((?:\[[^\[\]]*\])*)(?:\.|$)")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_INDEX = re.compile(r"-?\d+", re.ASCII)


def path(text: str) -> Path:
    """Return a function that finds the first value at a path in a document; None: there is none.

    Raises ValueError for a text that is no path.

    >>> path("event_params[key=page].value")({"event_params": [{"key": "id"}, {"key": "page", "value": "home"}]})
    'home'
    """
    steps = steps_of(text)
    if len(steps) == 1 and isinstance(steps[0], str):
        return _field(steps[0])
    names = [step for step in steps if isinstance(step, str)]
    follow = _fields(names) if len(names) == len(steps) else _search([_step(step) for step in steps])
    return _whole_name_first(text, follow)


def head(text: str) -> str:
    """Return the name of the outermost field that a path reads; empty if it reads all of them."""
    first = steps_of(text)[0]
    return first if isinstance(first, str) else ""


def steps_of(text: str) -> list[str | tuple[str, Any]]:
    """Return the steps of a path: a name, or a tuple of "index", "all" or "filter" with its argument."""
    steps: list[str | tuple[str, Any]] = []
    rest = text.removeprefix("$.")
    if len(rest) > 2 and rest[0] == rest[-1] == '"':
        return [rest[1:-1]]
    at = 0
    while at < len(rest) or not steps:
        found = _PART.match(rest, at)
        if not found or found.end() == at or (not found[1] and not found[2]) or (rest.endswith(".")):
            raise ValueError(f"must be names joined by dots, with [0], [*] or [key=value]; or in quotes, got {text!r}")
        if found[1]:
            steps.append(("all", None) if found[1] == "*" else found[1])
        steps += [_bracket(inner, text) for inner in _BRACKETS.findall(found[2])]
        at = found.end()
    return steps


def _bracket(inner: str, text: str) -> tuple[str, Any]:
    if inner == "*":
        return "all", None
    if _INDEX.fullmatch(inner):
        return "index", int(inner)
    key, equals, value = inner.partition("=")
    if not equals or not key:
        raise ValueError(f"must hold a number, * or key=value in brackets, got [{inner}] in {text!r}")
    return "filter", (key, _literal(value))


def _literal(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _field(name: str) -> Path:
    return lambda document: document.get(name) if type(document) is dict else None


def _fields(names: list[str]) -> Path:
    def follow(document: Any) -> Any:
        for name in names:
            if type(document) is not dict:
                return None
            document = document.get(name)
        return document

    return follow


def _whole_name_first(text: str, follow: Path) -> Path:
    def read(document: Any) -> Any:
        if type(document) is dict and (found := document.get(text)) is not None:
            return found
        return follow(document)

    return read


def _search(steps: list[_Step]) -> Path:
    def first(value: Any, at: int) -> Any:
        if at == len(steps):
            return value
        for inner in steps[at](value):
            if (found := first(inner, at + 1)) is not None:
                return found
        return None

    return lambda document: first(document, 0)


def _step(step: str | tuple[str, Any]) -> _Step:
    if isinstance(step, str):
        return lambda value: iter((value[step],)) if type(value) is dict and step in value else iter(())
    kind, argument = step
    if kind == "index":
        return lambda value: iter((value[argument],)) if _has(value, argument) else iter(())
    return _values if kind == "all" else _filter(*argument)


def _has(value: Any, index: int) -> bool:
    return type(value) is list and -len(value) <= index < len(value)


def _values(value: Any) -> Iterator[Any]:
    if type(value) is dict:
        yield from value.values()
    elif type(value) is list:
        yield from value


def _filter(key: str, wanted: Any) -> _Step:
    def pick(value: Any) -> Iterator[Any]:
        for element in value if type(value) is list else (value,):
            if type(element) is dict and key in element and _is(element[key], wanted):
                yield element

    return pick


def _is(value: Any, wanted: Any) -> bool:
    """Return True for the same value, and for a text that spells it: `[id=7]` finds 7 and "7"."""
    if type(value) is bool or type(wanted) is bool or value is None:
        return value is wanted
    return type(value) in (str, int, float) and (value == wanted or str(value) == str(wanted))
