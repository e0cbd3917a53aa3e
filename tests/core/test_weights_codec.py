"""Weights come back from their records; whatever else stands in the topic is skipped with its reason."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace

import numpy as np
import orjson
import pytest

from stream_worker.core.weights_codec import (
    MOST_BYTES,
    NOT_FINITE,
    OTHER_VERSION,
    TORN,
    UNREADABLE,
    GivenWeights,
    Parts,
    Skipped,
    encode_weights,
)

_RNG = np.random.default_rng(1)
SMALL = GivenWeights(
    "one", "family", 7, 3, 1.5e9,
    {"encoder": _RNG.standard_normal(5).astype(np.float32), "items": np.ones((2, 3), np.float16)}, ["a", "ü/1"],
)  # fmt: skip
LARGE = replace(SMALL, columns={"encoder": _RNG.standard_normal(600_000).astype(np.float32)}, ids=[])


def _reason(record: bytes, parts: Parts | None = None) -> str:
    with pytest.raises(Skipped) as caught:
        (parts or Parts()).add(b"one", record)
    return caught.value.reason


def _same(one: GivenWeights | None, other: GivenWeights) -> bool:
    if one is None or replace(one, columns={}, ids=()) != replace(other, columns={}, ids=()):
        return False
    same = all(np.array_equal(one.columns[name], other.columns[name]) for name in other.columns)
    return same and one.columns.keys() == other.columns.keys() and list(one.ids) == list(other.ids)


def test_weights_come_back_as_they_were_given() -> None:
    (record,) = encode_weights(SMALL, 9)
    assert _same(Parts().add(b"one", record), SMALL)


def test_a_large_gift_is_in_records_that_brokers_take() -> None:
    records = encode_weights(LARGE, 9)
    assert len(records) == 3
    assert max(map(len, records)) <= MOST_BYTES
    parts = Parts()
    assert [parts.add(b"one", record) for record in records[:-1]] == [None, None]
    assert _same(parts.add(b"one", records[-1]), LARGE)


def test_gifts_of_several_senders_do_not_mix() -> None:
    parts, one, other = Parts(), encode_weights(LARGE, 1), encode_weights(replace(LARGE, slot="two"), 1)
    found = [parts.add(sender, record) for pair in zip(one, other, strict=True)
             for sender, record in zip((b"one", b"two"), pair, strict=True)]  # fmt: skip
    assert [given.slot for given in found if given is not None] == ["one", "two"]


def test_a_gift_that_lost_a_part_is_torn_and_the_next_one_is_read() -> None:
    parts, (first, _, third) = Parts(), encode_weights(LARGE, 1)
    assert parts.add(b"one", first) is None
    assert _reason(third, parts) == TORN
    (record,) = encode_weights(SMALL, 2)
    assert _same(parts.add(b"one", record), SMALL)


def test_a_reader_that_begins_in_the_middle_of_a_gift_says_torn() -> None:
    assert _reason(encode_weights(LARGE, 1)[1]) == TORN


def test_a_part_of_another_gift_does_not_complete_one() -> None:
    parts, one, other = Parts(), encode_weights(LARGE, 1), encode_weights(LARGE, 2)
    assert parts.add(b"one", one[0]) is None
    assert _reason(other[1], parts) == TORN


def test_another_version_is_skipped_and_named() -> None:
    (record,) = encode_weights(SMALL, 1)
    with pytest.raises(Skipped, match="it has version 2, this worker reads version 1"):
        Parts().add(b"one", record[:3] + b"\2" + record[4:])
    assert _reason(record[:3] + b"\2" + record[4:]) == OTHER_VERSION


def test_weights_that_are_not_finite_are_skipped() -> None:
    column = np.array([1, np.nan], np.float32)
    assert _reason(encode_weights(replace(SMALL, columns={"encoder": column}), 1)[0]) == NOT_FINITE


def _whole(head: object, rest: bytes = b"") -> bytes:
    """A record with a right checksum around this."""
    body = (head if isinstance(head, bytes) else orjson.dumps(head)) + b"\0" + rest
    return struct.pack(">3sBQHHI", b"SWW", 1, 1, 0, 1, zlib.crc32(body)) + body


_HEAD = {"slot": "a", "family": "f", "step": 1, "say": 1, "at": 1.0, "columns": [["x", "f4", [2]]], "ids": []}
_HOSTILE = {
    "no json": _whole(b"\xff\xfe"),
    "nested": _whole(b"[" * 100_000),
    "no object": _whole([1, 2]),
    "nothing": _whole(None),
    "a number for a text": _whole(_HEAD | {"slot": 3}, bytes(8)),
    "a truth for a number": _whole(_HEAD | {"step": True}, bytes(8)),
    "no say": _whole(_HEAD | {"say": 0}, bytes(8)),
    "a huge number": _whole(b'{"slot":"a","family":"f","step":1,"say":1,"at":1e999,"columns":[],"ids":[]}'),
    "pickled objects": _whole(_HEAD | {"columns": [["x", "O", [1]]]}, bytes(8)),
    "longer than it is": _whole(_HEAD | {"columns": [["x", "f4", [2**40]]]}, bytes(8)),
    "a negative size": _whole(_HEAD | {"columns": [["x", "f4", [-1]]]}, bytes(8)),
    "bytes to spare": _whole(_HEAD, bytes(9)),
    "a shape that is a text": _whole(_HEAD | {"columns": [["x", "f4", "22"]]}, bytes(8)),
    "columns that are numbers": _whole(_HEAD | {"columns": [1]}, bytes(8)),
    "ids that are numbers": _whole(_HEAD | {"ids": [1]}, bytes(8)),
    "no key": _whole({"slot": "a"}),
    "a part beyond the last": struct.pack(">3sBQHHI", b"SWW", 1, 1, 5, 5, 0),
    "too many parts": struct.pack(">3sBQHHI", b"SWW", 1, 1, 0, 60_000, 0),
    "an event": b'{"user": "u", "item": "i", "ts": 1}',
    "empty": b"",
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_what_is_no_gift_is_skipped(name: str) -> None:
    assert _reason(_HOSTILE[name]) == UNREADABLE


def test_whatever_happens_to_the_bytes_of_a_gift_it_is_whole_or_skipped() -> None:
    rng, (record,) = random.Random(3), encode_weights(SMALL, 1)
    reasons = set()
    for _ in range(3_000):
        spoilt = bytearray(record)
        if rng.random() < 0.5:
            del spoilt[rng.randrange(len(spoilt)) :]
        for _ in range(rng.randrange(3)):
            if spoilt:
                spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        try:
            found = Parts().add(b"one", bytes(spoilt))
        except Skipped as skipped:
            reasons.add(skipped.reason)
        else:  # bits of the header's gift id, or none, were turned
            assert found is None or _same(found, SMALL)
    assert {UNREADABLE, TORN, OTHER_VERSION} <= reasons


def test_senders_that_never_finish_do_not_fill_the_memory() -> None:
    parts, first = Parts(), encode_weights(LARGE, 1)[0]
    for sender in range(200):
        parts.add(str(sender).encode(), first)
    assert len(parts._open) <= 64
