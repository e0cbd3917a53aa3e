"""Answers to what the rules of lists ask about items, as columns: which conditions hold, factors, and codes of groups.

Shape suffixes: M items, W words of 64 conditions (0 or 1), S boosts, F fields.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.expressions import Expressions, Item, Kind
from stream_worker.core.number_text import whole_text

MOST_CONDITIONS = 64  # the bits of a word
PRICE_BAND = "price_band"
_VERSION = "1"  # of what the columns mean; another one makes every worker read its items topic anew
_NOTHING: Item = {"tags": [], "available": True, "blocked": False}
_DEFAULT = "default"


class RuleValues(NamedTuple):
    """Values that the rules give for M items.

    holds_MW uint64: bit e of the word is set where the e-th condition holds
    factor_MS float32: the value of each boost, 1 where it failed
    group_MF uint32: a code of each field's value, 0: none
    """

    holds_MW: NDArray[np.uint64]
    factor_MS: NDArray[np.float32]
    group_MF: NDArray[np.uint32]


class _Scenario(NamedTuple):
    """The expressions of a scenario, and for each its bit (0: a boost), its column (-1: a condition), and whether a
    condition counts as true where it fails."""

    expressions: Expressions
    bits: list[int]
    columns: list[int]
    if_failed: list[bool]


class ItemRules:
    """Conditions and boosts by their keys of the configuration, and fields whose values make groups.

    A key begins with the section of its scenario, such as `lists.filter` or `scenarios.home.boost`.

    unknown: the values of an item of which nothing is known, M = 1
    fingerprint: differs where any value may differ; empty without any rules
    failures, reasons: how often each expression failed in the last `evaluate`, and why it first did
    """

    def __init__(
        self,
        conditions: Mapping[str, str],
        boosts: Mapping[str, str],
        fields: Sequence[str],
        if_failed: Mapping[str, bool],
        more_fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Compile. Raises ValueError, with the key, for what is no such expression, and for a field that makes no
        groups.

        fields: `category`, `brand`, `price_band` or names among `more_fields`
        if_failed: whether a condition that fails on an item counts as true, by key
        more_fields: `items.fields`, which expressions may name, too
        """
        if len(conditions) > MOST_CONDITIONS:
            raise ValueError(f"lists: must have at most {MOST_CONDITIONS} conditions, got {len(conditions)}")
        more = dict(more_fields or {})
        self._boosts, self._words = len(boosts), min(1, len(conditions))
        self._groups = [_group(name, more) for name in fields]
        self._scenarios = _by_scenario(conditions, boosts, if_failed, tuple(more))
        told = [*conditions.items()], [*boosts.items()], [*fields], sorted(if_failed.items()), sorted(more.items())
        self.fingerprint = _fingerprint(told) if conditions or boosts or fields else ""
        self.failures: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.unknown = self._values([_NOTHING])

    @classmethod
    def none(cls) -> ItemRules:
        """Return no rules."""
        return cls({}, {}, (), {})

    def __bool__(self) -> bool:
        return bool(self.fingerprint)

    def evaluate(self, items: Sequence[Item | None]) -> RuleValues:
        """Return what the rules give for items; for None the values of `unknown`."""
        known = np.array([item is not None for item in items], np.bool_)
        nothing = self.unknown
        values = RuleValues(
            holds_MW=nothing.holds_MW.repeat(len(items), axis=0),
            factor_MS=nothing.factor_MS.repeat(len(items), axis=0),
            group_MF=nothing.group_MF.repeat(len(items), axis=0),
        )
        for scenario in self._scenarios:
            scenario.expressions.forget_failures()
        found = self._values([item for item in items if item is not None])
        values.holds_MW[known], values.factor_MS[known], values.group_MF[known] = found
        self.failures = sum((scenario.expressions.failures for scenario in self._scenarios), Counter())
        self.reasons = {key: why for scenario in self._scenarios for key, why in scenario.expressions.reasons.items()}
        return values

    def _values(self, items: Sequence[Item]) -> RuleValues:
        words, factor_MS = [0] * len(items), np.ones((len(items), self._boosts), np.float32)
        for scenario in self._scenarios:
            for m, item in enumerate(items):
                words[m] |= self._word(scenario, item, factor_MS[m])
        codes = [[_code(value_of(item)) for value_of in self._groups] for item in items]
        return RuleValues(
            holds_MW=np.array(words, np.uint64).reshape(-1, 1)[:, : self._words],
            factor_MS=factor_MS,
            group_MF=np.array(codes, np.uint32).reshape(len(items), len(self._groups)),
        )

    def _word(self, scenario: _Scenario, item: Item, factor_S: NDArray[np.float32]) -> int:
        """Return the bits of the conditions that hold, and set the factors."""
        word, found = 0, scenario.expressions.evaluate(item)
        for value, bit, column, if_failed in zip(found, *scenario[1:], strict=True):
            if bit:
                word |= bit if value or (value is None and if_failed) else 0
            elif value is not None:
                factor_S[column] = value
        return word


def scenario_of(key: str) -> str:
    """Return the scenario whose section of the configuration a key stands in."""
    section, _, rest = key.partition(".")
    return rest.partition(".")[0] if section == "scenarios" else _DEFAULT


def price_band(price: float) -> str:
    """Return the band of a price: 0 to 1, then by powers of two; the lower end belongs to it.

    >>> [price_band(price) for price in (0.5, 1, 2, 19.9)]
    ['0-1', '1-2', '2-4', '16-32']
    """
    if price < 1:
        return "0-1"
    low = 2 ** (math.frexp(price)[1] - 1)
    return f"{low}-{2 * low}"


def _by_scenario(
    conditions: Mapping[str, str], boosts: Mapping[str, str], if_failed: Mapping[str, bool], more: Sequence[str]
) -> list[_Scenario]:
    """Return the expressions by scenario; those that don't ask for it are evaluated together with the default one's."""
    bits, columns = {key: 1 << e for e, key in enumerate(conditions)}, {key: s for s, key in enumerate(boosts)}
    all_texts, made = {**conditions, **boosts}, []
    asked = {key: scenario_of(key) if "scenario" in text else _DEFAULT for key, text in all_texts.items()}
    for name in dict.fromkeys(asked.values()):
        texts = {key: text for key, text in all_texts.items() if asked[key] == name}
        kinds = {key: Kind.CONDITION if key in bits else Kind.FACTOR for key in texts}
        made.append(
            _Scenario(
                Expressions(texts, kinds, name, more),
                [bits.get(key, 0) for key in texts],
                [columns.get(key, -1) for key in texts],
                [key in bits and if_failed[key] for key in texts],
            )
        )
    return made


def _group(name: str, more: Mapping[str, Any]) -> Callable[[Item], Any]:
    """Return a function that gives the value of a field of which groups are made."""
    if name == PRICE_BAND:
        return lambda item: price_band(item["price"]) if "price" in item else None
    known = ("category", "brand", *more)
    if name not in known:
        raise ValueError(f"lists: no groups of items by {name!r}; known: {', '.join((*known, PRICE_BAND))}")
    return lambda item: item.get(name)


def _code(value: Any) -> int:
    """Return a code of a text, number or truth value as it is written, never 0; 0 for anything else."""
    text = {True: "true", False: "false"}[value] if type(value) is bool else value
    if type(text) in (int, float):
        text = whole_text(text) or repr(text)
    return zlib.crc32(text.encode()) or 1 if type(text) is str and text else 0


def _fingerprint(told: object) -> str:
    return hashlib.blake2b(repr((_VERSION, told)).encode(), digest_size=16).hexdigest()
