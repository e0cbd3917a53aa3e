"""Lists and dead letters in forms that a topic takes: as much of each as fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import orjson

from stream_worker.core.codec import encode_recommendation
from stream_worker.core.events import DeadLetter, Recommendation

# Of a record in a batch, with its lengths, time and offset, and the batch around it.
_AROUND_BYTES = 110
Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Fitting:
    """A record to produce, and how large it counts; `shortened`: something was left out."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    size_bytes: int
    shortened: bool


def fitting_list(recommendation: Recommendation, value: bytes, topic: str, most_bytes: int) -> Fitting:
    """The list, `value`, or with fewer items and request ids: the newest ids that fit into half of the room, and as
    many of the best items as then fit. Past that an empty list without ids, however large."""
    key = recommendation.user.encode()
    size_bytes = len(key) + len(value) + _AROUND_BYTES
    if size_bytes <= most_bytes:
        return Fitting(key, value, [], size_bytes, False)
    short = encode_recommendation(_shorter(recommendation, topic, most_bytes - len(key) - _AROUND_BYTES), topic)
    return Fitting(key, short, [], len(key) + len(short) + _AROUND_BYTES, True)


def _shorter(whole: Recommendation, topic: str, most_bytes: int) -> Recommendation:
    bare = replace(whole, items=(), scores=(), request_ids=())
    room = most_bytes - len(encode_recommendation(bare, topic))
    pairs = zip(whole.items, whole.scores, strict=True)
    items = [len(orjson.dumps({"item": item, "score": score})) + 1 for item, score in pairs]
    ids = [len(orjson.dumps(request_id)) + 1 for request_id in reversed(whole.request_ids)]
    # Ids are left out first where they are the bulk: what was asked for is the list.
    kept_ids = _fit(ids, room // 2) if sum(ids) > room // 2 else len(ids)
    kept = _fit(items, room - sum(ids[:kept_ids]))
    return replace(
        whole,
        items=whole.items[:kept],
        scores=whole.scores[:kept],
        request_ids=tuple(whole.request_ids)[len(ids) - kept_ids :],
    )


def _fit(sizes: Iterable[int], most_bytes: int) -> int:
    """How many of the first sizes fit."""
    return sum(total <= most_bytes for total in accumulate(sizes))


def fitting_letter(letter: DeadLetter, topic: str, most_bytes: int) -> Fitting:
    """The record as it came, without its value, or without key and value, which its reason then says. Past that the
    last of these, however large."""
    for form in _forms(letter, topic):
        if form.size_bytes <= most_bytes:
            return form
    return form


def _forms(letter: DeadLetter, topic: str) -> Iterator[Fitting]:
    key, value = letter.record.key, letter.record.value
    key_bytes, value_bytes = len(key or b""), len(value or b"")
    yield _form(letter, topic, key, value, "")
    yield _form(letter, topic, key, None, f" (the value, {value_bytes} bytes, was dropped: too large to send)")
    dropped = f" (key and value, {key_bytes} and {value_bytes} bytes, were dropped: too large to send)"
    yield _form(letter, topic, None, None, dropped)


def _form(letter: DeadLetter, topic: str, key: bytes | None, value: bytes | None, dropped: str) -> Fitting:
    headers = dead_letter_headers(letter, topic, dropped)
    sizes = [len(key or b""), len(value or b""), *(len(name) + len(text) + 4 for name, text in headers)]
    return Fitting(key, value, headers, sum(sizes) + _AROUND_BYTES, bool(dropped))


def dead_letter_headers(letter: DeadLetter, topic: str, dropped: str = "") -> Headers:
    """Contract 1's headers, as UTF-8; what is no text is escaped."""
    record = letter.record
    headers = {
        "topic": topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "error": letter.error,
        "reason": letter.reason + dropped,
    }
    return [(name, text.encode("utf-8", "backslashreplace")) for name, text in headers.items()]
