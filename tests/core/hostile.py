"""Records that are no events, each with the class of its fault. The default event types and any broker time before 2099
are assumed."""

from __future__ import annotations

import gzip
import itertools
import random
from collections.abc import Callable

import orjson

Hostile = tuple[bytes | None, str]
NESTED = 100_000


def hostile_records(n: int, seed: int) -> list[Hostile]:
    """`n` hostile values in random order, every kind as often as any other (give or take one)."""
    rng = random.Random(seed)
    kinds = itertools.islice(itertools.cycle(_KINDS), n)
    records = [(make(rng), error) for make, error in kinds]
    rng.shuffle(records)
    return records


def good_value(rng: random.Random) -> dict[str, object]:
    """A valid event's fields, to be spoiled."""
    user, item = f"u{rng.randrange(1000)}", rng.randrange(1000)
    return {"user": user, "item": item, "type": "click", "ts": 1.4e9 + rng.randrange(10**6)}


def _with(**fields: object) -> Callable[[random.Random], bytes]:
    return lambda rng: orjson.dumps({**good_value(rng), **fields})


def _without(name: str) -> Callable[[random.Random], bytes]:
    return lambda rng: orjson.dumps({key: value for key, value in good_value(rng).items() if key != name})


def _text(name: str, json: bytes) -> Callable[[random.Random], bytes]:
    """The field as these very bytes, which need not be JSON."""
    return lambda rng: _without(name)(rng)[:-1] + b',"' + name.encode() + b'":' + json + b"}"


def _cut(rng: random.Random) -> bytes:
    value = orjson.dumps(good_value(rng))
    return value[: rng.randrange(1, len(value))]


def _noise(rng: random.Random) -> bytes:
    return b"\xff" + rng.randbytes(rng.randrange(200))


def _cut_gzip(rng: random.Random) -> bytes:
    value = gzip.compress(orjson.dumps(good_value(rng)), mtime=0)
    return value[: rng.randrange(2, len(value))]


def _always(value: bytes | None) -> Callable[[random.Random], bytes | None]:
    return lambda rng: value


_KINDS: list[tuple[Callable[[random.Random], bytes | None], str]] = [
    (_always(None), "Empty"),
    (_always(b""), "Empty"),
    (_always(b" \n"), "NotJson"),
    (_cut, "NotJson"),
    (_noise, "NotJson"),
    (_always(b"user=1&item=2"), "NotJson"),
    (_always(b"[" * NESTED), "NotJson"),
    (_always(b"[" * NESTED + b"]" * NESTED), "NotJson"),
    (_text("extra", b'{"a":' * NESTED + b"1" + b"}" * NESTED), "NotJson"),
    (_text("user", b'"\xc3\x28"'), "NotJson"),
    (_always(gzip.compress(b"[" * NESTED, mtime=0)), "NotJson"),
    (_always(gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)), "NotJson"),
    (_cut_gzip, "NotGzip"),
    (_always(gzip.compress(b"{}", mtime=0) + b"{}"), "NotGzip"),
    (_always(b"\x1f\x8b" + b"\xff" * 100), "NotGzip"),
    (_text("user", rb'"\ud800"'), "NotJson"),
    (_text("ts", b"NaN"), "NotJson"),
    (_text("value", b"Infinity"), "NotJson"),
    (_text("value", b"1e999"), "NotJson"),
    (_text("ts", b"9" * 5000), "NotJson"),
    (lambda rng: orjson.dumps(good_value(rng))[:-1] + b',"user":"another"}', "NotJson"),
    (lambda rng: orjson.dumps(good_value(rng))[:-1] + b', "us\\u0065r" : "another"}', "NotJson"),
    (lambda rng: orjson.dumps(good_value(rng)).decode().encode("utf-16"), "NotJson"),
    (lambda rng: orjson.dumps([[good_value(rng)]]), "NotAnObject"),
    (_always(b"[]"), "NotAnObject"),
    (lambda rng: orjson.dumps([good_value(rng)] * 257), "TooManyElements"),
    (_always(b"null"), "NotAnObject"),
    (_always(b"1" * 300), "NotAnObject"),
    (lambda rng: orjson.dumps(orjson.dumps(good_value(rng)).decode()), "NotAnObject"),
    (_always(b"{}"), "MissingField"),
    (_without("user"), "MissingField"),
    (_without("item"), "MissingField"),
    (_without("type"), "MissingField"),
    (_without("ts"), "MissingField"),
    (_with(user=None), "MissingField"),
    (_with(user=True), "WrongType"),
    (_with(user=1.5), "WrongType"),
    (_with(user=2.0**53), "WrongType"),
    (_text("user", b"18446744073709551616"), "WrongType"),
    (_text("user", b"[" * 900 + b"]" * 900), "WrongType"),
    (_with(item={"id": 1}), "WrongType"),
    (_with(type=1.5), "WrongType"),
    (_with(type=False), "WrongType"),
    (_with(type=["click"]), "WrongType"),
    (_with(user=""), "BadId"),
    (_with(user="x" * 257), "BadId"),
    (_with(user="ü" * 129), "BadId"),
    (_with(item="x" * 500_000), "BadId"),
    (_with(ts="yesterday"), "BadTimestamp"),
    (_with(ts=True), "BadTimestamp"),
    (_with(ts=[2014]), "BadTimestamp"),
    (_with(ts=0), "BadTimestamp"),
    (_with(ts=-1.5e9), "BadTimestamp"),
    (_with(ts="1970-01-01T00:00:00Z"), "BadTimestamp"),
    (_with(ts="2100-01-01"), "BadTimestamp"),
    (_with(ts=4_102_444_800), "BadTimestamp"),
    (_with(ts=4_102_444_800_000), "BadTimestamp"),
    (_with(ts=1e300), "BadTimestamp"),
    (_with(ts="0001-01-01T00:00:00+23:59"), "BadTimestamp"),
    (_with(ts="1e999"), "BadTimestamp"),
    (_with(ts="1_400_000_000"), "BadTimestamp"),
    (_with(ts="Tue, 32 Oct 2019 00:00:20 GMT"), "BadTimestamp"),
    (_with(ts=6.4e17), "BadTimestamp"),  # ticks of .NET
    (_with(type=""), "UnknownType"),
    (_with(type=1), "UnknownType"),
    (_with(type="Click"), "UnknownType"),
    (_with(type="steal" * 1000), "UnknownType"),
]
