"""Encodes events, lists and predictions as the JSON of the contracts, and decodes the lists of users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import orjson

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.events import NamedList, Prediction, Recommendation, SharedList
from stream_worker.core.mapping.config import PARTS


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
    id: str | int | None = None,
) -> bytes:
    """Return an event as the JSON of contract 1; optional parts that are None are left out. `ts`: epoch seconds."""
    parts = (user, item, type, ts, value, session, request_id, category, id)
    return orjson.dumps({name: part for name, part in zip(PARTS, parts, strict=True) if part is not None})


def listed_items(made: Recommendation | NamedList) -> Iterator[dict[str, Any]]:
    """Yield the items of a list as contract 1 has them."""
    if not made.because:
        yield from ({"item": item, "score": score} for item, score in zip(made.items, made.scores, strict=True))
        return
    for item, score, reason in zip(made.items, made.scores, made.because, strict=True):
        yield {"item": item, "score": score, "because": reason}


def encode_recommendation(recommendation: Recommendation, topic: str) -> bytes:
    """Return a list as the JSON of contract 1; `topic_id` is left out where the broker tells none."""
    r = recommendation
    document = {
        "user": r.user,
        **_document(r),
        "as_of": _as_of(r, topic),
        "events": r.events,
        "ts": r.ts,
        "model": {"line": r.line, "step": r.step},
        "request_ids": list(r.request_ids),
    }
    if r.scenarios:
        document["scenarios"] = {name: _document(one) for name, one in r.scenarios.items()}
    return orjson.dumps(document)


def _document(made: Recommendation | NamedList) -> dict[str, Any]:
    """Return the part of a document that holds a list; `short` is left out of a full one."""
    entries = list(listed_items(made))
    return {"items": entries, "short": dict(made.short)} if made.short else {"items": entries}


def _decoded_list(fields: Mapping[str, Any]) -> NamedList:
    return NamedList(
        items=tuple(entry["item"] for entry in fields["items"]),
        scores=tuple(entry["score"] for entry in fields["items"]),
        short=fields.get("short", {}),
        because=tuple(entry["because"] for entry in fields["items"] if "because" in entry),
    )


def decode_recommendation(value: bytes) -> Recommendation:
    """Return the list that `encode_recommendation` wrote. Raises InvalidEvent."""
    try:
        fields = orjson.loads(value)
        as_of, model, default = fields["as_of"], fields["model"], _decoded_list(fields)
        return Recommendation(
            user=fields["user"],
            partition=as_of["partition"],
            next_offset=as_of["offset"] + 1,
            events=fields["events"],
            ts=fields["ts"],
            items=default.items,
            scores=default.scores,
            line=model["line"],
            step=model["step"],
            request_ids=tuple(fields["request_ids"]),
            topic_id=as_of.get("topic_id", ""),
            because=default.because,
            short=default.short,
            scenarios={name: _decoded_list(one) for name, one in fields.get("scenarios", {}).items()},
        )
    except (ValueError, TypeError, LookupError) as fault:
        raise InvalidEvent("NotARecommendation", f"expected a recommendation, got {value[:60]!r}: {fault!r}") from fault


def _items_of(made: SharedList) -> list[dict[str, Any]]:
    return [{"item": item, "score": score} for item, score in zip(made.items, made.scores, strict=True)]


def _as_of(made: Recommendation | SharedList, topic: str) -> dict[str, str | int]:
    as_of: dict[str, str | int] = {"topic": topic, "partition": made.partition, "offset": made.next_offset - 1}
    return as_of | {"topic_id": made.topic_id} if made.topic_id else as_of


def encode_shared_list(made: SharedList, by: Literal["item", "category"], topic: str) -> bytes:
    """Return a shared list as the JSON of contract 1. `by`: what its key is."""
    parts = {by: made.key, "items": _items_of(made), "as_of": _as_of(made, topic), "ts": made.ts}
    return orjson.dumps({**parts, "model": {"line": made.line, "step": made.step}})


def encode_prediction(prediction: Prediction) -> bytes:
    """Return one line of a predictions file (contract 3), newline included."""
    line = {"user": prediction.user, "item": prediction.item, "ranked": list(prediction.ranked)}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
