"""The section `[events]`: which value of a record is which part of an event, and the event types."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal, TypeAlias, get_args

import annotated_types as bounds
from pydantic import FiniteFloat
from pydantic import dataclasses as checked

from stream_worker.core.events import EventType
from stream_worker.core.mapping.conditions import condition
from stream_worker.core.mapping.sources import check_path
from stream_worker.core.nearest import did_you_mean
from stream_worker.core.time_formats import check_ts_format

# A path, or several: the first that is there counts.
Source: TypeAlias = str | tuple[str, ...]
Role: TypeAlias = Literal["", "view", "cart", "remove", "purchase", "impression", "rating"]

REQUIRED = ("user", "item", "type", "ts")
OPTIONAL = ("value", "session", "request_id", "category", "id")
PARTS = (*REQUIRED, *OPTIONAL)
# Words that a value of `types` may mean in place of an event type.
IGNORE, ALIAS, EVERY_OTHER = "ignore", "alias", "*"
_UNSEEN_ROLES = ("remove", "impression")
_MAY_BE_THE_SAME = ("session", "id")


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class TypeConfig:
    """`[events.types.NAME]`: an event type."""

    #: No effect yet: the number is checked, and nothing reads it.
    reward: FiniteFloat = 1.0
    #: Whether lists are to name the items of such events: these are predicted, scored and learned from. The others are
    #: remembered and counted. Empty: true, but for the roles `remove` and `impression`.
    target: bool | None = None
    #: What such an event says of its item. Empty: the type's own name where it is one of these words (`click` is a
    #: view). Items of `impression` were only shown: such events are published, and neither remembered nor learned.
    role: Role = ""


def _default_types() -> dict[str, TypeConfig | str]:
    rewards = {"view": 1.0, "click": 1.0, "cart": 2.0, "purchase": 3.0, "rating": 1.0}
    return {name: TypeConfig(reward) for name, reward in rewards.items()}


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class EventsConfig:
    """`[events]`: which value of a record is which part of an event, and the event types.

    A part is named by a path: a field's name, `properties.product_id` for one inside of others, `a[0]`, `a[*]` and
    `a[key=page]` in arrays, `.price` in the element of `each`; `header:NAME`, `key` and `record_time` are the record's
    own (`$.key` is a field called key). Several paths in a list: the first whose value is there counts. Parts other
    than `user`, `item`, `type` and `ts` may be empty: they are not read. What can't be read of them is dropped and
    counted, and the event stays.
    """

    #: Names for a tracker's whole mapping: `segment`, `rudderstack`, `snowplow`, `ga4`,
    #: `google-retail`, `xdm`, `shopify`, `personalize`, `cloudevents`. Keys that are given here go before it.
    preset: str = ""
    #: What values are: JSON (also gzip'd, or framed by a schema registry), or `snowplow`: Snowplow's enriched TSV, too.
    format: Literal["json", "snowplow"] = "json"
    #: The user's id, a text or an integer.
    user: Source = "user"
    #: The item's id, a text or an integer.
    item: Source = "item"
    #: The event's type: one of `types`.
    type: Source = "type"
    #: The event's time: epoch seconds, ms, us or ns, ISO 8601 or RFC 2822, or as `ts_format` says. With `record_time`
    #: at the end of a list, an event without a time has its record's.
    ts: Source = "ts"
    #: No effect yet: the number is parsed, and nothing uses it.
    value: Source = "value"
    #: Id of the user's session: another one begins a new session where the time between two events would not.
    session: Source = "session"
    #: A text that the user's next list repeats in `request_ids`.
    request_id: Source = "request_id"
    #: The item's category, a text or an integer (ADR 0015). It has no default name, since an event may call anything a
    #: category.
    category: Source = ""
    #: The event's own id: an event whose id is among those of the user's last 64 is a duplicate, which is counted and
    #: neither remembered nor learned.
    id: Source = ""
    #: The user's id before, in records whose type means `alias`.
    alias: Source = ""
    #: Path of an array of which each element is an event (the products of an order). A record without the array is one
    #: event. Several paths in a list: the first that is there counts.
    each: Source = ""
    #: Most events of a record: elements of `each`, or of an array of events; at most half of `memory.device_users` and
    #: of `model.max_items`. A record with more is a dead letter.
    most_each: Annotated[int, bounds.Interval(ge=1, le=10_000)] = 256
    #: Format of a time that is none of the usual ones, with the codes of strptime (`%d.%m.%Y %H:%M`), or the unit of
    #: its number: `s`, `ms`, `us`, `ns`. Empty: told from the value.
    ts_format: str = ""
    #: Type of events whose type is missing or empty, one of `types`. Empty: these are dead letters.
    default_type: str = ""
    #: Whether a type's value is found whatever its case and blanks, `_` or `-` are.
    fold_types: bool = False
    #: Conditions on values, by path: "null", "not null", or a comparison such as "!= bot" or ">= 1". A record that
    #: fails one is ignored.
    keep: dict[str, str] = field(default_factory=dict)
    #: Event types, a table each, at most 16; one table given replaces all of the default ones. A text says what a value
    #: means: `"Order Completed" = "purchase"`, `"page" = "ignore"` (no event, no dead letter), `"identify" = "alias"`
    #: (see `alias`); `"*" = "ignore"` stands for every other value. Else events of any other type are dead letters.
    types: dict[str, TypeConfig | str] = field(default_factory=_default_types)

    def __post_init__(self) -> None:
        for part in PARTS:
            needed = part in REQUIRED and not (part == "type" and self.default_type)
            _check_source(part, getattr(self, part), needed=needed)
        for part in ("each", "alias"):
            _check_source(part, getattr(self, part), needed=False)
        self._refuse_the_same_twice()
        self._check_types()
        for name, text in self.keep.items():
            _check_source("keep", name, needed=True)
            if name.startswith("."):
                raise ValueError(f"events.keep: must be a path from the record, not from its elements, got {name!r}")
            condition(f"events.keep.{name}", text)
        try:
            check_ts_format(self.ts_format)
        except ValueError as fault:
            raise ValueError(f"events.ts_format: {fault}") from None

    def _refuse_the_same_twice(self) -> None:
        compared = [part for part in PARTS if part not in _MAY_BE_THE_SAME]
        for part in compared:
            name = getattr(self, part)
            same = [f"events.{other}" for other in compared if name and getattr(self, other) == name]
            if len(same) > 1:
                raise ValueError(f"{' and '.join(same)}: must each be a field name of its own, got {name!r}")

    def _check_types(self) -> None:
        if not self.types or "" in self.types:
            raise ValueError(f"events.types: must hold at least one type, none without a name, got {list(self.types)}")
        known = list(self.named)
        for value, meaning in self.values.items():
            if meaning not in (*known, IGNORE, ALIAS):
                words = [*known, IGNORE, ALIAS]
                raise ValueError(
                    f"events.types.{value}: must be a table or one of {', '.join(words)}, got {meaning!r}"
                    f"{did_you_mean(meaning, words)}"
                )
        if ALIAS in self.values.values() and not self.alias:
            raise ValueError("events.alias: must name the user's id before, since a value of events.types means alias")
        if self.default_type and self.default_type not in known:
            raise ValueError(
                f"events.default_type: must be one of {', '.join(known)} or empty, got {self.default_type!r}"
                f"{did_you_mean(self.default_type, known)}"
            )

    @property
    def named(self) -> dict[str, TypeConfig]:
        """The event types by name: the tables of `types`, or the default ones if it holds only texts."""
        tables = {name: kind for name, kind in self.types.items() if isinstance(kind, TypeConfig)}
        return tables or {name: kind for name, kind in _default_types().items() if isinstance(kind, TypeConfig)}

    @property
    def own_types(self) -> tuple[str, ...]:
        """The event types that the configuration names itself; none for the default ones."""
        return () if self.types == _default_types() else tuple(self.named)

    @property
    def values(self) -> dict[str, str]:
        """The values that `types` gives a meaning: the name of an event type, or a word such as `ignore`."""
        return {value: meaning for value, meaning in self.types.items() if isinstance(meaning, str)}

    @property
    def event_types(self) -> tuple[EventType, ...]:
        """The event types, in the order of their numbers."""
        return tuple(_event_type(name, kind) for name, kind in self.named.items())

    def sources(self, part: str) -> tuple[str, ...]:
        """Return the paths of a part, or of `each` or `alias`; none if it is not read."""
        return sources_of(getattr(self, part))

    def canonical(self) -> EventsConfig:
        """Return the same types under contract 1's own field names, which `encode_event` and recorded logs write."""
        return EventsConfig(category="category", id="id", default_type=self.default_type, types=dict(self.named))


def sources_of(source: Source) -> tuple[str, ...]:
    """Return the paths of a source; none if it is empty."""
    return tuple(filter(None, (source,) if isinstance(source, str) else source))


def _check_source(part: str, source: Source, *, needed: bool) -> None:
    if needed and not sources_of(source):
        raise ValueError(f"events.{part}: must be a field name of its own, got {source!r}")
    for text in sources_of(source):
        check_path(f"events.{part}", text)


def _event_type(name: str, kind: TypeConfig) -> EventType:
    role = kind.role or _role_of(name)
    return EventType(name, kind.reward, role not in _UNSEEN_ROLES if kind.target is None else kind.target, role)


def _role_of(name: str) -> str:
    if name == "click":
        return "view"
    return name if name in get_args(Role) else ""
