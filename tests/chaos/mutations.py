"""Mutations of real events, as bytes that no producer would send; and giants.

Not all of them are bad: a flipped bit in an id makes another id. `event_rule` says which are events.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.support.fleet import Event

NOW = 1_700_000_000
GIANT_BYTES = 1_020_000


class Hostile(NamedTuple):
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


Mutation = Callable[[random.Random, bytes, bytes], bytes]


def mutated(events: Sequence[Event], rng: random.Random) -> Iterator[Hostile]:
    """Real events, each spoiled once or a few times, without end; with the key and the time of the first."""
    while True:
        key, value, timestamp_ms, _ = rng.choice(events)
        spoiled, other = value or b"", rng.choice(events)[1] or b""
        for mutate in rng.choices(_MUTATIONS, k=rng.choice((1, 1, 2, 4))):
            spoiled = mutate(rng, spoiled, other)
        yield Hostile(key.encode(), spoiled, timestamp_ms or NOW * 1000)


def _place(rng: random.Random, value: bytes) -> int:
    return rng.randrange(len(value) + 1)


def _span(rng: random.Random, value: bytes) -> tuple[int, int]:
    start, end = sorted((_place(rng, value), _place(rng, value)))
    return start, end


def _inserted(*pieces: bytes) -> Mutation:
    def insert(rng: random.Random, value: bytes, _: bytes) -> bytes:
        at = _place(rng, value)
        return value[:at] + rng.choice(pieces) + value[at:]

    return insert


def _replaced(old: bytes, *new: bytes) -> Mutation:
    return lambda rng, value, _: value.replace(old, rng.choice(new), rng.choice((1, -1)))


def _flipped(rng: random.Random, value: bytes, _other: bytes) -> bytes:
    spoiled = bytearray(value)
    for _ in range(rng.choice((1, 1, 8))):
        if spoiled:
            spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def _cut(rng: random.Random, value: bytes, _: bytes) -> bytes:
    return value[: _place(rng, value)]


def _without_span(rng: random.Random, value: bytes, _: bytes) -> bytes:
    start, end = _span(rng, value)
    return value[:start] + value[end:]


def _span_doubled(rng: random.Random, value: bytes, _: bytes) -> bytes:
    start, end = _span(rng, value)
    return value[:end] + value[start:]


def _spliced(rng: random.Random, value: bytes, other: bytes) -> bytes:
    return value[: _place(rng, value)] + other[_place(rng, other) :]


def _fields_exchanged(rng: random.Random, value: bytes, other: bytes) -> bytes:
    """A part from a comma to a comma in the place of another one."""
    parts, others = value.split(b","), other.split(b",")
    parts[rng.randrange(len(parts))] = rng.choice(others)
    return b",".join(parts)


def _field_gone(rng: random.Random, value: bytes, _: bytes) -> bytes:
    parts = value.split(b",")
    del parts[rng.randrange(len(parts))]
    return b",".join(parts)


def _value_replaced(rng: random.Random, value: bytes, _: bytes) -> bytes:
    parts = value.split(b",")
    place = rng.randrange(len(parts))
    parts[place] = parts[place].split(b":")[0] + b":" + rng.choice(_KINDS)
    return b",".join(parts)


def _encoded_again(rng: random.Random, value: bytes, _: bytes) -> bytes:
    text = value.decode("utf-8", "replace")
    ways: list[Callable[[], bytes]] = [
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-8-sig"),
        lambda: json.dumps(text).encode(),
        lambda: gzip.compress(value, 1),
        lambda: base64.b64encode(value),
        lambda: text.encode("utf-7"),
    ]
    return rng.choice(ways)()


def _noise(rng: random.Random, value: bytes, _: bytes) -> bytes:
    start, end = _span(rng, value)
    return value[:start] + rng.randbytes(end - start) + value[end:]


_KINDS = (
    b"null",
    b"true",
    b"NaN",
    b"-1",
    b"1e400",
    b"0.5",
    b"2" * 30,
    b"[]",
    b"{}",
    b'""',
    b'"' + b"x" * 257 + b'"',
)
_MUTATIONS: list[Mutation] = [
    _value_replaced,
    _value_replaced,
    _value_replaced,
    _flipped,
    _flipped,
    _cut,
    lambda rng, value, _: value + value,
    _without_span,
    _span_doubled,
    _spliced,
    _fields_exchanged,
    _field_gone,
    _encoded_again,
    _noise,
    _inserted(b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x80\xa8", b"\\ud800", b"\\u0000", b"\x1b"),
    _inserted(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"//", b"null", b"-", b"9" * 400),
    _inserted(b" ", b"\n", b"\t", b"\r\n", b"\x0b", b"\xc2\xa0"),
    _replaced(b'"', b"'", b"", b'""', b"\xe2\x80\x9c"),
    _replaced(b":", b"=", b" : ", b"::", b":-", b":0", b":1e", b":[", b":{", b":null,"),
    _replaced(b",", b";", b",,", b" ,\n", b', "user":"u1",', b', "ts":NaN,'),
    _replaced(b"e", b"E", b"\\u0065", b"\xd0\xb5"),
    lambda rng, value, _: value[::-1],
]


def giants(rng: random.Random) -> Iterator[Hostile]:
    """As large as a broker takes them, so that a dead letter with its headers is too large; two of them are events."""
    event = b'{"user":"u1","item":"i1","type":"view","ts":%d' % NOW
    keys = b",".join(b'"%d":1' % number for number in range(100_000))
    for value in (
        b"x" * GIANT_BYTES,
        b"[" * GIANT_BYTES,
        event + b',"request_id":"' + b"x" * GIANT_BYTES + b'"}',
        event + b',"extra":"' + b":" * GIANT_BYTES + b'"}',
        event + b',"extra":[' + b",".join([b'{"a":1}'] * 120_000) + b"]}",
        event + b"," + keys + b',"99999":1}',
    ):
        yield Hostile(b"u%d" % rng.randrange(100), value, NOW * 1000)
    yield Hostile(b"k" * GIANT_BYTES, b"{}", NOW * 1000)
