"""`[lists]` and `[scenarios.NAME]` of the configuration: the rules of the lists that are published."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from annotated_types import Interval, MinLen
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import dataclasses as checked

from stream_worker.core.event_times import timestamp_seconds

DEFAULT = "default"  # the scenario of `[lists]`
MOST_SCENARIOS = 16  # each costs time and bytes of every list; not tuned
_NAME = re.compile(r"[a-z0-9_-]{1,64}")
Share = Annotated[float, Interval(ge=0, le=1)]


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class PromotionConfig:
    """`[[lists.promotions]]`: items that get places of their own."""

    #: Condition on an item, as in `lists.filter`: which items are promoted.
    filter: Annotated[str, MinLen(1)]
    #: Share of a list's places that these items have at least, spread over the list, as far as there are such items.
    share: Annotated[float, Interval(gt=0, le=1)]
    #: Time at which the promotion ends, by the events' clock: ISO 8601, or epoch seconds. Empty: never.
    until: str = ""

    @property
    def ends_ts(self) -> float:
        """Epoch seconds at which the promotion ends; infinite: never."""
        if not self.until:
            return float("inf")
        seconds = timestamp_seconds(self.until)
        if seconds is None:
            raise ValueError(f"until: must be ISO 8601 or epoch seconds, got {self.until!r}")
        return seconds


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class ExposureConfig:
    """`[lists.exposure.FIELD.VALUE]`: bounds of a group's share of every list's places."""

    #: Share of the places that items of the group have at least, as far as there are such items.
    least: Share = 0.0
    #: Share of the places that items of the group have at most.
    most: Share = 1.0

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError(f"least: must be at most most ({self.most}), got {self.least}")


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class ListConfig:
    """`[lists]`: the rules of the published list. `[scenarios.NAME]`: those of one more list, which is made from the
    same scores and published in the same record.

    A scenario has its own rules: a key that it leaves out has its default, whatever `[lists]` says. Rules act on lists
    alone, never on predictions and their metrics.
    """

    #: Items of the list. 0: `model.list_length`.
    length: Annotated[int, Interval(ge=0, le=255)] = 0
    #: Whether items that the user bought are left out. learned: as long as the log shows that the item, or its
    #: category, is not bought again. always: for `bought_days`. never: they stay. Purchases are events whose type has
    #: the role `purchase`; they are known as long as they stand in the user's ring (`model.ring_size`).
    exclude_bought: Literal["learned", "always", "never"] = "learned"
    #: With `exclude_bought = "always"`: days after which a bought item may come again; 0: never.
    bought_days: NonNegativeFloat = 0.0
    #: Whether items that lie in the user's cart are left out (roles `cart`, `remove` and `purchase`).
    exclude_cart: bool = False
    #: Whether items are left out that the user touched in the present session.
    exclude_session: bool = False
    #: Views (events whose type has the role `view`) without a purchase after which an item is left out; 0: never.
    exclude_clicks: NonNegativeInt = 0
    #: Share of the places, at most, for items that the user has seen: those in the user's ring.
    seen_share: Share = 0.5
    #: Condition on an item in CEL: only items for which it is true stand in the list. Empty: all may.
    filter: str = ""
    #: Factor on an item's probability in CEL, a number above 0, before the list is put in order. Empty: none.
    boost: str = ""
    #: What becomes of an item on which `filter` or a promotion's filter fails, for it lacks a field say: include: it
    #: counts as true for `filter`, exclude: as false. A promotion's filter that fails counts as false.
    on_error: Literal["include", "exclude"] = "include"
    #: 0: the best items; up to 1: items that are unlike each other (maximal marginal relevance by item vectors).
    diversity: Share = 0.0
    #: Most items of the list that have the same value in a field, by field: `category`, `brand`, `price_band` or a
    #: name of `items.fields`.
    caps: dict[str, PositiveInt] = field(default_factory=dict)
    #: Promotions, a table each.
    promotions: tuple[PromotionConfig, ...] = ()
    #: Places, at least, for young items, spread over the list, as far as there are such items.
    fresh_places: NonNegativeInt = 0
    #: Days since an item's first event for which it is young.
    fresh_days: PositiveFloat = 7.0
    #: Bounds of the share of places by field and value of items, a table each: `[lists.exposure.brand.acme]`.
    exposure: dict[str, dict[str, ExposureConfig]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for promotion in self.promotions:
            _ = promotion.ends_ts
        if self.bought_days and self.exclude_bought != "always":
            raise ValueError(
                f'bought_days: acts only with exclude_bought = "always", got exclude_bought = "{self.exclude_bought}"'
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of items that caps and exposure name."""
        return tuple(dict.fromkeys([*self.caps, *self.exposure]))

    def conditions(self) -> Iterator[tuple[str, str]]:
        """Yield each condition on items, with its key."""
        if self.filter:
            yield "filter", self.filter
        for place, promotion in enumerate(self.promotions):
            yield f"promotions[{place}].filter", promotion.filter


def check_scenarios(scenarios: Mapping[str, Any]) -> None:
    """Raise ValueError for too many scenarios, or a name that can't be one."""
    if len(scenarios) > MOST_SCENARIOS:
        raise ValueError(f"scenarios: must be at most {MOST_SCENARIOS}, got {len(scenarios)}")
    for name in scenarios:
        if name == DEFAULT or not _NAME.fullmatch(name):
            raise ValueError(
                f"scenarios.{name}: a name must be 1 to 64 small letters, digits, - or _, and not {DEFAULT}"
            )


def key_of(scenario: str) -> str:
    """Return the section of a scenario's rules."""
    return "lists" if scenario == DEFAULT else f"scenarios.{scenario}"
