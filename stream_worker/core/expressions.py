"""Expressions about items in the Common Expression Language (CEL): checked and compiled once, evaluated item by item.

An expression sees `item`, whose fields it names as `item.NAME`, and `scenario`, a text. It reads no clock and draws
nothing at random, so its value changes only when the item does.

Its budget: 1,000 characters, and 10,000 steps of `all`, `exists`, `exists_one`, `map` and `filter` an item, past which
CEL gives up; patterns of `matches` take time in proportion to the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from cel_expr_python import cel

from stream_worker.core.reasons import shorten

_PLANS = 256  # plans kept at once, some 10 KB each; not tuned
MOST_CHARACTERS = 1_000  # of an expression; not tuned
LEAST_FACTOR, MOST_FACTOR = 1e-30, 1e30  # 32 bits hold them, and their product with a probability
Item = Mapping[str, Any]

_TEXT, _ANY = cel.Type.STRING, cel.Type.DYN
# A price may be compared with whole numbers and fractions alike, which CEL allows only where no type is declared.
_KNOWN = {
    "id": _TEXT, "title": _TEXT, "brand": _TEXT, "category": _TEXT, "price": _ANY,
    "tags": cel.Type.List(_TEXT), "available": cel.Type.BOOL, "blocked": cel.Type.BOOL,
}  # fmt: skip
KNOWN_FIELDS = tuple(_KNOWN)
# Raw texts, texts with escapes (each in three or one quotation marks), and comments.
_QUOTED = re.compile(
    r"""[bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')"""
    r"""|\"{3}(?:\\.|.)*?\"{3}|'{3}(?:\\.|.)*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|//[^\n]*""",
    re.DOTALL,
)
_FIELD = re.compile(r"(?<![\w.])item\s*\.\s*(\w+)")
_PRESENCE = re.compile(r"\bhas[ \t]*\(\s*item\s*\.\s*\w+\s*\)")
_FAULT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")


class Kind(Enum):
    """The kind of value that an expression gives."""

    CONDITION = "true or false"
    FACTOR = "a number from 1e-30 to 1e30"


_TYPES = {Kind.CONDITION: {"BOOL", "DYN"}, Kind.FACTOR: {"INT", "UINT", "DOUBLE", "DYN"}}


class _Failed(str):
    """A reason why an expression failed on an item."""


class _Plan(NamedTuple):
    """A way to evaluate expressions: `one` gives the values of the places `together`, each place in `alone` its own."""

    one: cel.Expression | None
    together: tuple[int, ...]
    alone: tuple[int, ...]


class Expressions:
    """Expressions of one scenario, by their keys of the configuration.

    All are evaluated in one, which takes a third of the time, but those that failed on an item with the same fields.

    failures, reasons: how often each expression failed since `forget_failures`, and why it first did
    """

    def __init__(
        self, texts: Mapping[str, str], kinds: Mapping[str, Kind], scenario: str, more_fields: Sequence[str] = ()
    ) -> None:
        """Compile. Raises ValueError, with the key, the line and the column, for what is no such expression.

        more_fields: names of fields beside the known ones, of any type
        """
        self._keys, self._kinds, self._scenario = tuple(texts), [kinds[key] for key in texts], scenario
        self._each = [checked(key, text, kinds[key], more_fields) for key, text in texts.items()]
        self._texts = tuple(texts.values())
        self._first = self._plan(())
        self._plans: dict[tuple[str, ...], _Plan] = {}  # by the names of an item's fields
        self.forget_failures()

    def forget_failures(self) -> None:
        self.failures: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}

    def evaluate(self, item: Item) -> list[bool | float | None]:
        """Return the value of each expression; None: it failed on this item, say by a field that the item lacks."""
        seen = _running().Activation({"item": item, "scenario": self._scenario})
        plan = self._plans.get(tuple(item), self._first)
        values: list[bool | float | None] = [None] * len(self._each)
        found = [] if plan.one is None else _value(plan.one, seen)
        alone = plan.alone if type(found) is list else range(len(values))
        for place, value in zip(plan.together, found, strict=True) if type(found) is list else ():
            values[place] = self._valid(place, value)
        for place in alone:
            values[place] = self._valid(place, _value(self._each[place], seen))
        if alone is not plan.alone:
            self._learn(tuple(item), plan, values)
        return values

    def _learn(self, fields: tuple[str, ...], plan: _Plan, values: Sequence[object]) -> None:
        """Plan for items with these fields, after what was evaluated in one failed on such an item."""
        failed = {place for place in plan.together if values[place] is None} or set(plan.together)
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[fields] = self._plan(sorted({*plan.alone, *failed}))

    def _plan(self, alone: Sequence[int]) -> _Plan:
        together = tuple(place for place in range(len(self._texts)) if place not in alone)
        one = _in_one([self._texts[place] for place in together])
        return _Plan(None, (), tuple(range(len(self._texts)))) if one is None else _Plan(one, together, tuple(alone))

    def _valid(self, place: int, value: Any) -> bool | float | None:
        if self._kinds[place] is Kind.CONDITION:
            good = type(value) is bool
        else:
            good = type(value) in (int, float) and LEAST_FACTOR <= value <= MOST_FACTOR
        if good:
            return value if type(value) is bool else float(value)
        key = self._keys[place]
        self.failures[key] += 1
        if key not in self.reasons:
            expected = f"must give {self._kinds[place].value}, got {value!r}"
            self.reasons[key] = shorten(_plain(value) if type(value) is _Failed else expected)
        return None


@cache
def _running() -> cel.Env:
    """Return the environment in which expressions run, made when there are any, since it imports protobuf."""
    return cel.NewEnv(variables={"item": cel.Type.Map(_TEXT, _ANY), "scenario": _TEXT})


def checked(key: str, text: str, kind: Kind, more_fields: Sequence[str] = ()) -> cel.Expression:
    """Return an expression ready to run. Raises ValueError, with the key, the line and the column."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{key}: must have at most {MOST_CHARACTERS} characters, got {len(text)}")
    bare = _QUOTED.sub(lambda found: _blank(found[0]), text)
    known = [*_KNOWN, *more_fields]
    for found in _FIELD.finditer(bare):
        if found[1] not in known:
            raise ValueError(f"{key}: {_place(text, found.start(1))}: no field {found[1]!r}; known: {', '.join(known)}")
    gives = _typed(key, _with_presence(text, bare), more_fields)
    if gives not in _TYPES[kind]:
        raise ValueError(f"{key}: line 1, column 1: must give {kind.value}, got a value of type {gives.lower()}")
    return _compiled(_running(), key, text)


def _typed(key: str, text: str, more_fields: Sequence[str]) -> str:
    """Return the type of an expression's value where each field has a type of its own.

    CEL takes `item.NAME` for one variable here, which `has` can't ask for: see `_with_presence`.
    """
    fields = _KNOWN | dict.fromkeys(more_fields, _ANY)
    variables = {f"item.{name}": kind for name, kind in fields.items()} | {"scenario": _TEXT}
    return str(_compiled(cel.NewEnv(variables=variables), key, text).return_type().name())


def _compiled(env: cel.Env, key: str, text: str) -> cel.Expression:
    try:
        return env.compile(text)
    except RuntimeError as fault:
        raise ValueError(f"{key}: {_told(str(fault))}") from None


def _told(fault: str) -> str:
    """Return what CEL says of the first fault in a text, and where it stands."""
    found = _FAULT.search(fault)
    if found is None:
        return _plain(fault)
    line, column, what = int(found[1]), int(found[2]), _plain(found[3])
    if "undeclared reference to 'item'" in what:
        what = "item must be followed by a dot and the name of a field"
    return f"line {max(line, 1)}, column {max(column, 1)}: {what}"


def _in_one(texts: Sequence[str]) -> cel.Expression | None:
    """Return an expression that gives the values of all as a list; None: there are none, or it would be too large."""
    try:
        return _running().compile("[" + ",".join(f"({text}\n)" for text in texts) + "]") if texts else None
    except RuntimeError:
        return None


def _value(expression: cel.Expression, seen: cel.Activation) -> Any:
    try:
        found = expression.eval(seen)
    except RuntimeError as fault:  # the budget is spent
        return _Failed(fault)
    value = found.plain_value()
    return _Failed(value) if type(value) is str and found.type() == cel.Type.ERROR else value


def _with_presence(text: str, bare: str) -> str:
    """Return a text with `true`, as long, in place of each `has(item.NAME)`. bare: the text without what is quoted."""
    for found in _PRESENCE.finditer(bare):
        start, end = found.span()
        text = text[:start] + "true" + _blank(text[start + 4 : end]) + text[end:]
    return text


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def _plain(fault: str) -> str:
    """Return what CEL says without the classes of its errors."""
    return re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", fault)
