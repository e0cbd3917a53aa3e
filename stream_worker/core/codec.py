"""Bytes in, columns out, and back: the one door where events are handled one by one in Python.

Whether a record is an event depends on its bytes, its broker timestamp and the configuration, never on the clock, so
that every replay decides the same. Every record ends as exactly one event or one dead letter, and no bytes raise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.event_fields import category_code, event_seconds, id_text, json_object, number_or_nan, refuse
from stream_worker.core.events import DeadLetter, Events, EventType, Prediction, Recommendation, Record

_Row = tuple[int, int, float, int, float, int, str, str, str | None]


@dataclass(frozen=True)
class TypeConfig:
    """`[events.types.NAME]`: the reward of an event type, and whether it is something to predict."""

    reward: float = 1.0
    target: bool = True

    def __post_init__(self) -> None:
        if not math.isfinite(self.reward):
            raise ValueError(f"events.types.reward: must be a finite number, got {self.reward}")


def _default_types() -> dict[str, TypeConfig]:
    rewards = {"view": 1.0, "click": 1.0, "cart": 2.0, "purchase": 3.0, "rating": 1.0}
    return {name: TypeConfig(reward) for name, reward in rewards.items()}


@dataclass(frozen=True)
class EventsConfig:
    """`[events]`: the JSON field that holds each part of an event, and the event types.

    `types`, where given, replaces the default ones; their order is the index in `Events.type_B`.
    `default_type` is the type of events whose type field is missing; empty: they are dead letters.
    `category`, the item's own, is read only where it is named: an event may call anything a category.
    """

    user: str = "user"
    item: str = "item"
    type: str = "type"
    ts: str = "ts"
    value: str = "value"
    session: str = "session"
    request_id: str = "request_id"
    category: str = ""
    default_type: str = ""
    types: dict[str, TypeConfig] = field(default_factory=_default_types)

    def __post_init__(self) -> None:
        for part, name in zip(_PARTS, self.names, strict=True):
            if not name and part != "category":
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
        return tuple(getattr(self, part) for part in _PARTS)

    @property
    def event_types(self) -> tuple[EventType, ...]:
        return tuple(EventType(name, kind.reward, kind.target) for name, kind in self.types.items())

    def canonical(self) -> EventsConfig:
        """The same types under contract 1's own field names, as `encode_event` and recorded logs write them."""
        return EventsConfig(category="category", default_type=self.default_type, types=self.types)


_PARTS = ("user", "item", "type", "ts", "value", "session", "request_id", "category")


class Decoder:
    """Records -> events and dead letters. `key_mismatches` counts events whose record key is not their user id:
    such a topic is not keyed by user, and one user's events may overtake each other."""

    def __init__(self, config: EventsConfig) -> None:
        self.config = config
        self.key_mismatches = 0
        self._codes = {name: code for code, name in enumerate(config.types)}

    def decode(self, records: Sequence[Record]) -> tuple[Events, list[DeadLetter]]:
        """Valid events as columns, in the records' order, and the rest with their reasons. Never raises."""
        rows: list[_Row] = []
        dead_letters: list[DeadLetter] = []
        for record in records:
            try:
                rows.append(self._row(record))
            except InvalidEvent as fault:
                dead_letters.append(DeadLetter(record, fault.error, fault.reason))
        return _columns(rows), dead_letters

    def _row(self, record: Record) -> _Row:
        config = self.config
        get = json_object(record.value).get
        user = id_text(config.user, get(config.user))
        item = id_text(config.item, get(config.item))
        code = self._code(get(config.type))
        ts = event_seconds(config.ts, get(config.ts), record.timestamp_ms)
        value = number_or_nan(config.value, get(config.value))
        category = category_code(config.category, get(config.category)) if config.category else 0
        request_id = get(config.request_id)
        if request_id is not None:
            request_id = id_text(config.request_id, request_id)
        if record.key != user.encode():
            self.key_mismatches += 1
        return record.partition, record.offset, ts, code, value, category, user, item, request_id

    def _code(self, kind: Any) -> int:
        if kind is None:
            kind = self.config.default_type or None
        if type(kind) is not str:
            refuse("WrongType", self.config.type, "the name of an event type", kind)
        code = self._codes.get(kind)
        if code is None:
            refuse("UnknownType", self.config.type, "one of " + ", ".join(self._codes), kind)
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
    """An event as contract 1 writes it; optional parts that are None are left out."""
    parts = (user, item, type, ts, value, session, request_id, category)
    return orjson.dumps({name: part for name, part in zip(_PARTS, parts, strict=True) if part is not None})


def encode_recommendation(recommendation: Recommendation, topic: str) -> bytes:
    """A list as contract 1 writes it."""
    r = recommendation
    items = [{"item": item, "score": score} for item, score in zip(r.items, r.scores, strict=True)]
    return orjson.dumps(
        {
            "user": r.user,
            "items": items,
            "as_of": {"topic": topic, "partition": r.partition, "offset": r.next_offset - 1},
            "events": r.events,
            "ts": r.ts,
            "model": {"line": r.line, "step": r.step},
            "request_ids": list(r.request_ids),
        }
    )


def decode_recommendation(value: bytes) -> Recommendation:
    """The list that `encode_recommendation` wrote. Raises InvalidEvent."""
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
        )
    except (ValueError, TypeError, LookupError) as fault:
        raise InvalidEvent("NotARecommendation", f"expected a recommendation, got {value[:60]!r}: {fault!r}") from fault


def encode_prediction(prediction: Prediction) -> bytes:
    """One line of a predictions file (contract 3), newline included."""
    line = {"user": prediction.user, "item": prediction.item, "ranked": list(prediction.ranked)}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
