"""Decodes records to events as columns, and encodes lists; the only place where Python handles events one by one.

A record is an event or not by its bytes, its broker timestamp and the configuration, never by the clock, so that every
replay decides the same. Each record becomes exactly one event or one dead letter, and no bytes raise an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import orjson
from pydantic import FiniteFloat
from pydantic import dataclasses as checked

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.event_fields import category_code, id_text, value_number
from stream_worker.core.event_times import event_seconds
from stream_worker.core.events import DeadLetter, Events, EventType, Prediction, Recommendation, Record
from stream_worker.core.json_object import json_object
from stream_worker.core.number_text import whole_text
from stream_worker.core.reasons import refuse

T = TypeVar("T")
_Row = tuple[int, int, float, int, float, int, str, str, str | None]


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class TypeConfig:
    """`[events.types.NAME]`: an event type."""

    #: No effect yet: the number is checked, and nothing reads it.
    reward: FiniteFloat = 1.0
    #: Whether lists are to name the items of such events: these are predicted, scored and learned from. The others are
    #: remembered and counted.
    target: bool = True


def _default_types() -> dict[str, TypeConfig]:
    rewards = {"view": 1.0, "click": 1.0, "cart": 2.0, "purchase": 3.0, "rating": 1.0}
    return {name: TypeConfig(reward) for name, reward in rewards.items()}


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class EventsConfig:
    """`[events]`: the JSON field that holds each part of an event, and the event types.

    Field names may be empty for `value`, `session`, `request_id` and `category`: such a part is not read. What can't be
    read of one is dropped and counted, and the event stays.
    """

    #: Field of the user's id, a text or an integer.
    user: str = "user"
    #: Field of the item's id, a text or an integer.
    item: str = "item"
    #: Field of the event's type, one of `types`.
    type: str = "type"
    #: Field of the event's time: epoch seconds (or ms, us, ns, told by magnitude), ISO 8601 or RFC 2822.
    ts: str = "ts"
    #: No effect yet: the number is parsed, and nothing uses it.
    value: str = "value"
    #: No effect yet: the field is not parsed.
    session: str = "session"
    #: Field of a text that the user's next list repeats in `request_ids`.
    request_id: str = "request_id"
    #: Field of the item's category, a text or an integer (ADR 0015). It has no default name, since an event may call
    #: anything a category.
    category: str = ""
    #: Type of events whose type field is missing or empty, one of `types`. Empty: these are dead letters.
    default_type: str = ""
    #: Event types, a table each, at most 16. Events of any other type are dead letters. One table given replaces all of
    #: the default ones.
    types: dict[str, TypeConfig] = field(default_factory=_default_types)

    def __post_init__(self) -> None:
        for part, name in zip(_PARTS, self.names, strict=True):
            if not name and part not in OPTIONAL:
                raise ValueError(f"events.{part}: must be a field name of its own, got ''")
            same = [f"events.{other}" for other in _PARTS if name and getattr(self, other) == name]
            if len(same) > 1:
                raise ValueError(f"{' and '.join(same)}: must each be a field name of its own, got {name!r}")
        if not self.types or "" in self.types:
            raise ValueError(f"events.types: must hold at least one type, none without a name, got {list(self.types)}")
        if self.default_type and self.default_type not in self.types:
            raise ValueError(
                f"events.default_type: must be one of {', '.join(self.types)} or empty, got {self.default_type!r}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The configured field name of each part, in the order of `_PARTS`."""
        return tuple(getattr(self, part) for part in _PARTS)

    @property
    def event_types(self) -> tuple[EventType, ...]:
        """The event types, in the order of their numbers."""
        return tuple(EventType(name, kind.reward, kind.target) for name, kind in self.types.items())

    def canonical(self) -> EventsConfig:
        """Return the same types under contract 1's own field names, which `encode_event` and recorded logs write."""
        return EventsConfig(category="category", default_type=self.default_type, types=self.types)


OPTIONAL = ("value", "session", "request_id", "category")
_PARTS = ("user", "item", "type", "ts", *OPTIONAL)
_TYPE = _PARTS.index("type")
_LIVE_NEWEST, _LOGS_NEWEST = "one day past the record's own time", "a year past the rows around it"


class DroppedField(NamedTuple):
    """An optional part of an event that could not be read.

    `part`: one of `OPTIONAL`.
    `reason`: a sentence for a person.
    `place`: the place of the record (`Record.place`).
    """

    part: str
    reason: str
    place: str


class Decoder:
    """Decodes records to events and dead letters.

    `config`: the field names and event types.
    `columns`: a recorded log's own names of the parts, used in reasons; None for the records of a topic.
    `watch`: called with the events of each batch.

    `dropped` holds the optional fields of the last batch that could not be read. `key_mismatches` counts events whose
    record key is not their user id: such a topic is not keyed by user, so one user's events can change their order.
    """

    def __init__(
        self,
        config: EventsConfig,
        columns: Mapping[str, str] | None = None,
        watch: Callable[[Events], None] | None = None,
    ) -> None:
        self.config = config
        self._watch = watch
        self.key_mismatches = 0
        self.dropped: list[DroppedField] = []
        self._codes = {name: code for code, name in enumerate(config.types)}
        self._keys: tuple[Any, ...] = tuple(name or None for name in config.names)  # no key of JSON is None
        self._names = tuple((columns or {}).get(part) or name for part, name in zip(_PARTS, config.names, strict=True))
        self._newest = _LIVE_NEWEST if columns is None else _LOGS_NEWEST

    def decode(self, records: Sequence[Record]) -> tuple[Events, list[DeadLetter]]:
        """Return the valid events as columns, in the records' order, and a dead letter for every other record.

        Never raises.
        """
        rows: list[_Row] = []
        dead_letters: list[DeadLetter] = []
        self.dropped = []
        for record in records:
            try:
                rows.append(self._row(record))
            except InvalidEvent as fault:
                dead_letters.append(DeadLetter(record, fault.error, fault.reason))
        events = _columns(rows)
        if self._watch is not None:
            self._watch(events)
        return events, dead_letters

    def _row(self, record: Record) -> _Row:
        if record.fault is not None:
            raise InvalidEvent(*record.fault)
        get = json_object(record.value).get
        user_key, item_key, type_key, ts_key, value_key, _, request_key, category_key = self._keys
        user_name, item_name, _, ts_name, value_name, _, request_name, category_name = self._names
        user = id_text(user_name, get(user_key))
        item = id_text(item_name, get(item_key))
        kind = get(type_key)
        code = self._codes.get(kind) if type(kind) is str else None
        if code is None:
            code = self._code(kind)
        ts = event_seconds(ts_name, get(ts_key), record.timestamp_ms, self._newest)
        value, category, request_id = get(value_key), get(category_key), get(request_key)
        try:
            value = math.nan if value is None else value_number(value_name, value)
        except InvalidEvent as fault:
            value = self._dropped("value", value, fault, record, math.nan)
        try:
            category = 0 if category is None else category_code(category_name, category)
        except InvalidEvent as fault:
            category = self._dropped("category", category, fault, record, 0)
        try:
            request_id = None if request_id is None else id_text(request_name, request_id)
        except InvalidEvent as fault:
            request_id = self._dropped("request_id", request_id, fault, record, None)
        if record.key != user.encode():
            self.key_mismatches += 1
        return record.partition, record.offset, ts, code, value, category, user, item, request_id

    def _dropped(self, part: str, given: Any, fault: InvalidEvent, record: Record, nothing: T) -> T:
        """Note an optional part that can't be read and return `nothing`, its value for "not given".

        An empty text also means "not given", so it is not noted.
        """
        if given != "":
            self.dropped.append(DroppedField(part, fault.reason, record.place))
        return nothing

    def _code(self, kind: Any) -> int:
        """Return the code of an event type that is not a known name as it was given (missing, or a number).

        Raises InvalidEvent for a type that is not configured.
        """
        if kind is None or kind == "":
            kind = self.config.default_type or kind
        kind = whole_text(kind) or kind
        if type(kind) is not str:
            refuse("WrongType", self._names[_TYPE], "the name of an event type", kind)
        code = self._codes.get(kind)
        if code is None:
            refuse("UnknownType", self._names[_TYPE], "one of " + ", ".join(self._codes), kind)
        return code


def _columns(rows: list[_Row]) -> Events:
    columns = zip(*rows, strict=True) if rows else ((),) * 9
    partitions, offsets, times, codes, values, categories, users, items, request_ids = columns
    return Events(
        partition_B=np.array(partitions, np.int32),
        offset_B=np.array(offsets, np.int64),
        ts_B=np.array(times, np.float64),
        type_B=np.array(codes, np.int16),
        value_B=np.array(values, np.float32),
        category_B=np.array(categories, np.uint32),
        within_B=np.zeros(len(rows), np.int16),
        id_B=np.zeros(len(rows), np.uint32),
        session_B=np.zeros(len(rows), np.uint32),
        users=list(users),
        items=list(items),
        request_ids=list(request_ids),
    )


def encode_event(
    user: str | int,
    item: str | int,
    type: str,
    ts: float,
    *,
    value: float | None = None,
    session: str | None = None,
    request_id: str | None = None,
    category: str | int | None = None,
) -> bytes:
    """Return an event as the JSON of contract 1; optional parts that are None are left out. `ts`: epoch seconds."""
    parts = (user, item, type, ts, value, session, request_id, category)
    return orjson.dumps({name: part for name, part in zip(_PARTS, parts, strict=True) if part is not None})


def encode_recommendation(recommendation: Recommendation, topic: str) -> bytes:
    """Return a list as the JSON of contract 1; `topic_id` is left out where the broker tells none."""
    r = recommendation
    as_of: dict[str, str | int] = {"topic": topic, "partition": r.partition, "offset": r.next_offset - 1}
    if r.topic_id:
        as_of["topic_id"] = r.topic_id
    items = [{"item": item, "score": score} for item, score in zip(r.items, r.scores, strict=True)]
    return orjson.dumps(
        {
            "user": r.user,
            "items": items,
            "as_of": as_of,
            "events": r.events,
            "ts": r.ts,
            "model": {"line": r.line, "step": r.step},
            "request_ids": list(r.request_ids),
        }
    )


def decode_recommendation(value: bytes) -> Recommendation:
    """Return the list that `encode_recommendation` wrote. Raises InvalidEvent."""
    try:
        fields = orjson.loads(value)
        as_of, model = fields["as_of"], fields["model"]
        return Recommendation(
            user=fields["user"],
            partition=as_of["partition"],
            next_offset=as_of["offset"] + 1,
            events=fields["events"],
            ts=fields["ts"],
            items=tuple(entry["item"] for entry in fields["items"]),
            scores=tuple(entry["score"] for entry in fields["items"]),
            line=model["line"],
            step=model["step"],
            request_ids=tuple(fields["request_ids"]),
            topic_id=as_of.get("topic_id", ""),
        )
    except (ValueError, TypeError, LookupError) as fault:
        raise InvalidEvent("NotARecommendation", f"expected a recommendation, got {value[:60]!r}: {fault!r}") from fault


def encode_prediction(prediction: Prediction) -> bytes:
    """Return one line of a predictions file (contract 3), newline included."""
    line = {"user": prediction.user, "item": prediction.item, "ranked": list(prediction.ranked)}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
