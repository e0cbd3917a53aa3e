"""Shortens lists and dead letters that are too large for their topic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

import orjson

from stream_worker.core.codec import encode_recommendation, encode_shared_list, listed_items
from stream_worker.core.events import ELEMENTS_HEADER, DeadLetter, Recommendation, SharedList

# Bytes of a record beside key, value and headers: its lengths, time and offset, and the header of the batch (61 bytes
# in Kafka's record format 2). Rounded up.
_AROUND_BYTES = 110
Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Fitting:
    """A record to produce.

    size_bytes: its size in a batch of its own, rounded up.
    shortened: a part was left out.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    size_bytes: int
    shortened: bool


def fitting_list(recommendation: Recommendation, value: bytes, topic: str, most_bytes: int) -> Fitting:
    """Return a list as a record of at most `most_bytes`, if need be with fewer items and request ids.

    A list that is too large keeps the lists of the other scenarios if they fit into half of the bytes, the newest ids
    that fit into half of what is left, and as many of the best items as then fit. A list without items and ids is
    returned even if it is too large.

    value: the encoded list.
    topic: the input topic, which the list names.
    most_bytes: bytes of a batch that the output topic takes.
    """
    key = recommendation.user.encode()
    size_bytes = len(key) + len(value) + _AROUND_BYTES
    if size_bytes <= most_bytes:
        return Fitting(key, value, [], size_bytes, False)
    short = encode_recommendation(_shorter(recommendation, topic, most_bytes - len(key) - _AROUND_BYTES), topic)
    return Fitting(key, short, [], len(key) + len(short) + _AROUND_BYTES, True)


def _shorter(whole: Recommendation, topic: str, most_bytes: int) -> Recommendation:
    bare = replace(whole, items=(), scores=(), because=(), request_ids=())
    if len(encode_recommendation(bare, topic)) > most_bytes // 2:
        whole, bare = replace(whole, scenarios={}), replace(bare, scenarios={})
    room = most_bytes - len(encode_recommendation(bare, topic))
    items = [len(orjson.dumps(item)) + 1 for item in listed_items(whole)]
    ids = [len(orjson.dumps(request_id)) + 1 for request_id in reversed(whole.request_ids)]
    # Where ids take more than half they are cut first, since the items are what the list is for.
    kept_ids = _fit(ids, room // 2) if sum(ids) > room // 2 else len(ids)
    kept = _fit(items, room - sum(ids[:kept_ids]))
    return replace(
        whole,
        items=whole.items[:kept],
        scores=whole.scores[:kept],
        because=whole.because[:kept],
        request_ids=tuple(whole.request_ids)[len(ids) - kept_ids :],
    )


def fitting_shared_list(made: SharedList, by: Literal["item", "category"], topic: str, most_bytes: int) -> Fitting:
    """Return a shared list as a record of at most `most_bytes`, if need be with fewer items.

    A list without items is returned even if it is too large. `by`, `topic`: see `encode_shared_list`.
    """
    key, value, whole = made.key.encode(), encode_shared_list(made, by, topic), len(made.items)
    while len(made.items) and len(key) + len(value) + _AROUND_BYTES > most_bytes:
        made = replace(made, items=made.items[:-1], scores=made.scores[:-1])
        value = encode_shared_list(made, by, topic)
    return Fitting(key, value, [], len(key) + len(value) + _AROUND_BYTES, len(made.items) < whole)


def _fit(sizes: Iterable[int], most_bytes: int) -> int:
    """Return how many of the first sizes have a sum of at most `most_bytes`."""
    return sum(total <= most_bytes for total in accumulate(sizes))


def fitting_letter(letter: DeadLetter, topic: str, most_bytes: int) -> Fitting:
    """Return a dead letter as a record of at most `most_bytes`: complete, without its value, or without key, value and
    the record's own headers; its reason says what was dropped. The last form is returned even if it is too large."""
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
    if dropped and key is None:
        letter = replace(letter, record=replace(letter.record, headers=()))
    headers = dead_letter_headers(letter, topic, dropped)
    sizes = [len(key or b""), len(value or b""), *(len(name) + len(text) + 4 for name, text in headers)]
    return Fitting(key, value, headers, sum(sizes) + _AROUND_BYTES, bool(dropped))


def dead_letter_headers(letter: DeadLetter, topic: str, dropped: str = "") -> Headers:
    """Return the record's own headers, and those of contract 1 in UTF-8; bytes that are no text are escaped."""
    record = letter.record
    headers = {
        "topic": topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "error": letter.error,
        "reason": letter.reason + dropped,
    }
    if letter.elements:
        headers[ELEMENTS_HEADER] = ",".join(map(str, letter.elements))
    own = [(name, value) for name, value in record.headers if name not in (*headers, ELEMENTS_HEADER)]
    return own + [(name, text.encode("utf-8", "backslashreplace")) for name, text in headers.items()]
