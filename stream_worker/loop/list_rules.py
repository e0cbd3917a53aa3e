"""The rules of all scenarios as the model takes them, from `[lists]` and `[scenarios]` of the configuration."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from model.lists.rules import (
    CATEGORY,
    FOR_A_TIME,
    FRESH,
    GROUP,
    KEPT,
    LEARNED,
    NO_END,
    PROMOTED,
    ROLES,
    SEEN,
    ListRules,
    quotas_of,
)
from stream_worker.core.events import EventType
from stream_worker.core.lists_config import DEFAULT, ListConfig, key_of

MOST_QUOTAS = 64  # bits of a word, one a quota
_DAY_SECONDS = 86_400.0
_ROUNDING = 1e-9  # .29 of 100 places are 29, whatever their product in floating point
_BOUGHT = {"learned": LEARNED, "always": FOR_A_TIME, "never": KEPT}
_Quota = tuple[int, int, int, float, int, int]


@dataclass(frozen=True)
class ListPlan:
    """The rules of all scenarios, and what has to be known of items for them.

    scenarios: the rules by scenario, the default one first
    conditions: conditions on items by key; bit e of an item stands for the e-th of them
    boosts: boosts by key; column s of the factors is that of the s-th
    fields: fields of items whose codes are asked for, beside the category
    if_failed: whether a condition that fails on an item counts as true, by key
    """

    scenarios: dict[str, ListRules]
    conditions: dict[str, str]
    boosts: dict[str, str]
    fields: tuple[str, ...]
    if_failed: dict[str, bool]

    @property
    def asks(self) -> str:
        """The first key that asks what items are; empty: none does."""
        return next(iter([*self.conditions, *self.boosts, *(f"lists.caps.{field}" for field in self.fields)]), "")


def plan_of(default: ListConfig, others: Mapping[str, ListConfig], list_length: int) -> ListPlan:
    """Return the plan. Raises ValueError for more quotas than there are bits, and for quotas with more places than the
    list has.

    list_length: items of a list whose scenario states no length
    """
    configs = {DEFAULT: default, **others}
    conditions = {f"{key_of(name)}.{key}": text for name, one in configs.items() for key, text in one.conditions()}
    boosts = {f"{key_of(name)}.boost": one.boost for name, one in configs.items() if one.boost}
    named = dict.fromkeys(field for one in configs.values() for field in one.fields)
    fields = tuple(field for field in named if field != "category")
    bits, columns = {key: e for e, key in enumerate(conditions)}, {key: s for s, key in enumerate(boosts)}
    return ListPlan(
        scenarios={
            name: _rules(name, one, one.length or list_length, bits, columns, fields) for name, one in configs.items()
        },
        conditions=conditions,
        boosts=boosts,
        fields=fields,
        if_failed={
            f"{key_of(name)}.{key}": key == "filter" and one.on_error == "include"
            for name, one in configs.items()
            for key, _ in one.conditions()
        },
    )


def roles_of(event_types: Sequence[EventType]) -> NDArray[np.int8]:
    """Return the role of each event type."""
    return np.array([ROLES.index(kind.role) if kind.role in ROLES else 0 for kind in event_types], np.int8)


def _rules(
    name: str,
    config: ListConfig,
    length: int,
    bits: Mapping[str, int],
    columns: Mapping[str, int],
    fields: Sequence[str],
) -> ListRules:
    key = key_of(name)
    quotas = _quotas(key, config, length, bits, fields)
    least = sum(quota[4] for quota in quotas)
    if least > length:
        raise ValueError(f"{key}: promotions, fresh_places and exposure ask for {least} places of {length}")
    if len(quotas) > MOST_QUOTAS:
        raise ValueError(f"{key}: must have at most {MOST_QUOTAS} promotions and bounds, got {len(quotas)}")
    held = [1 << bits[f"{key}.filter"]] if config.filter else []
    return ListRules(
        length=length,
        bought=_BOUGHT[config.exclude_bought],
        bought_seconds=config.bought_days * _DAY_SECONDS or NO_END,
        in_session=config.exclude_session,
        in_cart=config.exclude_cart,
        clicks=config.exclude_clicks,
        holds=np.uint64(reduce(int.__or__, held, 0)),
        boost=columns.get(f"{key}.boost", -1),
        diversity=config.diversity,
        cap_F=np.array([config.caps.get(field, 0) for field in ("category", *fields)], np.int64),
        quotas=quotas_of(quotas),
    )


def _quotas(key: str, config: ListConfig, length: int, bits: Mapping[str, int], fields: Sequence[str]) -> list[_Quota]:
    """Return rows (kind, of, field, seconds, least, most)."""
    quotas: list[_Quota] = []
    for place, promotion in enumerate(config.promotions):
        bit = 1 << bits[f"{key}.promotions[{place}].filter"]
        quotas.append((PROMOTED, bit, 0, promotion.ends_ts, math.ceil(promotion.share * length - _ROUNDING), length))
    if config.fresh_places:
        quotas.append((FRESH, 0, 0, config.fresh_days * _DAY_SECONDS, config.fresh_places, length))
    if config.seen_share < 1:
        quotas.append((SEEN, 0, 0, 0.0, 0, math.floor(config.seen_share * length + _ROUNDING)))
    for field, groups in config.exposure.items():
        column = CATEGORY if field == "category" else 1 + fields.index(field)
        for value, bounds in groups.items():
            code = zlib.crc32(value.encode()) or 1
            quotas.append(
                (
                    GROUP,
                    code,
                    column,
                    0.0,
                    math.ceil(bounds.least * length - _ROUNDING),
                    math.floor(bounds.most * length + _ROUNDING),
                )
            )
    return quotas
