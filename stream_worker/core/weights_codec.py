"""Bytes of the weights that a line gives to the others: a gift as records of at most 900 KB, with checksums.

A record is a header and a part of the gift. The gift is a line of JSON (who gives, of which family, when; names, kinds
and shapes of the columns; ids of items), a zero byte, and the columns end to end. All parts of a gift go to one
partition, in their order.

    4 bytes: "SWW" and the version; 8: id of the gift; 2: part, from 0; 2: number of parts; 4: CRC-32 of what follows

A worker of another version skips the record: the version changes with the bytes, and with what the weights mean.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

VERSION = 1
# Brokers refuse records above a megabyte, by default.
MOST_BYTES = 900_000
# Reasons why a record, or what it holds, is skipped; they are labels of a metric.
OTHER_VERSION, TORN, UNREADABLE, NOT_FINITE = "version", "torn", "unreadable", "not_finite"
_HEADER = struct.Struct(">3sBQHHI")
_MAGIC = b"SWW"
_KINDS: dict[str, np.dtype[Any]] = {"f2": np.dtype("<f2"), "f4": np.dtype("<f4")}
_MOST_PARTS = 64  # a hostile header may not make a worker keep more than 58 MB of one sender
_MOST_SENDERS = 64  # not tuned


@dataclass(frozen=True)
class GivenWeights:
    """The weights of a line at one moment.

    slot: the worker that gives them.
    family: lines that began as one have the same.
    step: the line's number of steps.
    say: the weight of this line in a mean, at least 1.
    at: epoch second at which they were given.
    columns: arrays by name, in half or single precision.
    ids: ids of the items whose rows are among the columns.
    """

    slot: str
    family: str
    step: int
    say: int
    at: float
    columns: Mapping[str, NDArray[np.floating[Any]]]
    ids: Sequence[str]


class Skipped(Exception):  # noqa: N818
    """Raised for a record that can't be taken.

    reason: one of the constants of this module.
    detail: a sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def encode_weights(given: GivenWeights, gift: int) -> list[bytes]:
    """Return the records of a gift, in order. gift: a number that tells it from the sender's other gifts."""
    kinds = {kind: name for name, kind in _KINDS.items()}
    described = [[name, kinds[column.dtype], list(column.shape)] for name, column in given.columns.items()]
    head = {
        "slot": given.slot, "family": given.family, "step": given.step, "say": given.say, "at": given.at,
        "columns": described, "ids": list(given.ids),
    }  # fmt: skip
    arrays = [np.ascontiguousarray(column).tobytes() for column in given.columns.values()]
    body = b"".join([orjson.dumps(head), b"\0", *arrays])
    room = MOST_BYTES - _HEADER.size
    parts = [body[start : start + room] for start in range(0, len(body), room)]
    return [_record(gift, place, len(parts), part) for place, part in enumerate(parts)]


def _record(gift: int, place: int, parts: int, part: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, VERSION, gift, place, parts, zlib.crc32(part)) + part


class Parts:
    """The gifts of which not all records have come: of each sender the newest one."""

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, tuple[int, int, list[bytes]]] = OrderedDict()

    def add(self, sender: bytes, record: bytes) -> GivenWeights | None:
        """Return the gift that this record completes, if it does. Raises Skipped; the sender's next gift is read again.

        sender: the record's key.
        """
        gift, place, parts, part = _opened(record)
        begun = self._open.pop(sender, None)
        if place == 0:
            begun = (gift, parts, [])
        if begun is None or begun[:2] != (gift, parts) or len(begun[2]) != place:
            raise Skipped(TORN, f"part {place} of {parts} comes without the ones before it")
        begun[2].append(part)
        if place + 1 == parts:
            return _decoded(b"".join(begun[2]))
        self._open[sender] = begun
        if len(self._open) > _MOST_SENDERS:
            self._open.popitem(last=False)
        return None


def _opened(record: bytes) -> tuple[int, int, int, bytes]:
    if len(record) < _HEADER.size or not record.startswith(_MAGIC):
        raise Skipped(UNREADABLE, "it does not begin as weights do")
    _, version, gift, place, parts, checksum = _HEADER.unpack_from(record)
    if version != VERSION:
        raise Skipped(OTHER_VERSION, f"it has version {version}, this worker reads version {VERSION}")
    part = record[_HEADER.size :]
    if zlib.crc32(part) != checksum:
        raise Skipped(TORN, "the checksum is wrong")
    if not place < parts <= _MOST_PARTS:
        raise Skipped(UNREADABLE, f"it says that it is part {place} of {parts}")
    return gift, place, parts, part


def _decoded(body: bytes) -> GivenWeights:
    """Return the weights of a whole gift. Raises Skipped."""
    text, _, rest = body.partition(b"\0")
    try:
        head = orjson.loads(text)
        columns = _columns(head["columns"], rest)
        given = GivenWeights(
            _text(head["slot"]), _text(head["family"]), _whole(head["step"], 0), _whole(head["say"], 1),
            _seconds(head["at"]), columns, [_text(item) for item in head["ids"]],
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as fault:
        raise Skipped(UNREADABLE, f"{type(fault).__name__}: {fault}") from None
    if not all(bool(np.isfinite(column).all()) for column in columns.values()):
        raise Skipped(NOT_FINITE, f"weights of {given.slot} are not finite")
    return given


def _columns(described: Any, rest: bytes) -> dict[str, NDArray[np.floating[Any]]]:
    columns, at = {}, 0
    for name, kind, shape in described:
        dtype, sizes = _KINDS[kind], [_whole(size, 0) for size in shape]
        size = math.prod(sizes) * dtype.itemsize
        if size > len(rest) - at:
            raise ValueError("the columns are longer than what follows")
        columns[_text(name)] = np.frombuffer(rest, dtype, math.prod(sizes), at).reshape(sizes)
        at += size
    if at != len(rest):
        raise ValueError("the columns are shorter than what follows")
    return columns


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _whole(value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"expected a whole number from {least}, got {value!r:.40}")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected seconds, got {value!r:.40}")
    return float(value)
