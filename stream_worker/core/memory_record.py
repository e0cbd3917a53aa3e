"""The format of a memory record: one user's memory as bytes, kept by the store for each partition and user.

A record has one of a few sizes: the ring is stored with as many places as its items need, rounded up, so that a batch
of records is a handful of numpy arrays (ADR 0009). Byte 0 is the version; bytes 1 to 8 are the next offset n in
big-endian order, so that stores can compare n as bytes. With H = 64 a user of up to 8 events takes 336 bytes, of up to
32 takes 480, of 129 or more 1,818; with a ring of 50 none takes more than 588.

A topic that was deleted and made again has generations, and n belongs to one of them. The generation stands in the two
highest of the eight bytes, so that a record of a later topic is ahead of every record of an earlier one; the version is
then 2.

A user whose events have ids or sessions or come in sets, or to whom another user was joined, has a record of version
3, of any generation: three bytes behind the header say what it ends with (ADR 0018). All others keep the bytes of
version 1 or 2.

The ring holds item numbers (0: empty), newest last, empty places in front. `(h, c)` are in half precision and mean
something only under the weights of `line`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.amounts import amount

VERSION, VERSION_OF_GENERATIONS, VERSION_WITH_MORE = 1, 2, 3
KNOWN_VERSIONS = (VERSION, VERSION_OF_GENERATIONS, VERSION_WITH_MORE)
_GENERATION_BIT = 48  # n is below 2^48; the generation takes the bits above
# Memories as columns by name, or as a structured array with these fields.
Columns = Mapping[str, NDArray[Any]] | NDArray[Any]
_HEADER: list[tuple[str, str]] = [
    ("version", "u1"),
    ("next_offset", ">u8"),
    ("ring_size", "u1"),
    ("hidden", "<u2"),
    ("line", "<u8"),
    ("events", "<u4"),
    ("ts", "<f8"),
]
_MORE = slice(32, 35)  # the numbers of ids, joins and sets, behind the header of version 3
_HAS_MORE = bytes([VERSION_WITH_MORE])


@dataclass(frozen=True)
class MemoryFormat:
    """The sizes that a record depends on.

    ring_size: places of the ring, at most 255.
    hidden: LSTM units.
    ids: places for the ids of events.
    joins: places for users who were joined to this one.
    sets: 1 with the newest session, and which entries of the ring stand in sets; 0 without.
    """

    ring_size: int
    hidden: int
    ids: int = 0
    joins: int = 0
    sets: int = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy structure of a record.

        Header, numbers of what it ends with (version 3), ring (item numbers, types, gaps), (h, c), ids, joins, sets. A
        field of no places takes no bytes.
        """
        ring, hidden, one = self.ring_size, self.hidden, () if self.sets else (0,)
        return np.dtype(
            [
                *_HEADER,
                ("more", "u1", (3 if self._has_more else 0,)),
                ("number", "<u4", (ring,)),
                ("type", "u1", (ring,)),
                ("gap", "u1", (ring,)),
                ("h", "<f2", (hidden,)),
                ("c", "<f2", (hidden,)),
                ("ids", "<u4", (self.ids,)),
                ("joined", "<u4", (self.joins, 2)),
                ("session", "<u4", one),
                ("in_set", "<i8", one),
            ]
        )

    @property
    def _has_more(self) -> bool:
        return self.ids + self.joins + self.sets > 0

    def empty(self, count: int) -> NDArray[Any]:
        """Return `count` records of this format with everything else zero."""
        records = np.zeros(count, dtype=self.dtype)
        records["version"] = VERSION_WITH_MORE if self._has_more else VERSION
        records["ring_size"] = self.ring_size
        records["hidden"] = self.hidden
        if self._has_more:
            records["more"] = self.ids, self.joins, self.sets
        return records

    def encode(self, records: Columns) -> list[bytes]:
        """Return one blob per record, with no more places than its ring, ids and joins need."""
        blobs: list[bytes] = [b""] * len(records["number"])
        for layout, at in self._stored(records):
            for place, record in zip(at.tolist(), _resized(records, at, layout), strict=True):
                blobs[place] = record.tobytes()
        return blobs

    def _stored(self, records: Columns) -> Iterator[tuple[MemoryFormat, NDArray[np.int64]]]:
        """Yield each format that some of the records are stored in, with the places of these records."""
        count = len(records["number"])
        needed = (records["number"], _column(records, "ids"), _column(records, "joined")[:, ::2], _of_sets(records))
        most = (self.ring_size, self.ids, self.joins, self.sets)
        sizes = [kinds.upto(size) for kinds, size in zip(_STORED, most, strict=True)]
        code_R = np.zeros(count, np.int64)
        for column, of_kind in zip(needed, sizes, strict=True):
            code_R = code_R * len(of_kind) + np.searchsorted(of_kind, _filled(column))
        for code in np.unique(code_R).tolist():
            at = np.unravel_index(code, [len(of_kind) for of_kind in sizes])
            ring, ids, joins, sets = (of_kind[place] for of_kind, place in zip(sizes, at, strict=True))
            yield MemoryFormat(ring, self.hidden, ids, joins, sets), np.flatnonzero(code_R == code)

    def decode(self, blobs: Sequence[bytes]) -> NDArray[Any]:
        """Return records of this format.

        Longer rings, ids and joins keep their newest entries. A state of another size is dropped: `line` is then 0,
        which is no line.
        """
        records = self.empty(len(blobs))
        for theirs, at in _by_format(blobs):
            source = np.frombuffer(b"".join(blobs[place] for place in at), dtype=theirs.dtype)
            records[at] = _resized(source, np.arange(len(source)), self)
        return records


def in_generations(next_offset_R: NDArray[np.int64], generation_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return next offsets with their generations in the two highest bytes, as records hold them."""
    joined: NDArray[np.int64] = (generation_R << _GENERATION_BIT) | next_offset_R
    return joined


def generations_of(records: Columns) -> NDArray[np.int64]:
    """Return the generation of the topic under which each record was written."""
    generation_R: NDArray[np.int64] = records["next_offset"].astype(np.int64) >> _GENERATION_BIT
    return generation_R


def generation_of(blob: bytes) -> int:
    """Return the generation of the topic under which the record with these bytes was written."""
    return int.from_bytes(blob[1:3], "big")


def highest_next_offset(blobs: Sequence[bytes]) -> int:
    """Return the highest n, without its generation, of records of one partition; 0 of none."""
    return int.from_bytes(max((blob[3:9] for blob in blobs), default=b""), "big")


def begin_again(records: NDArray[Any], which_R: NDArray[np.bool_]) -> None:
    """Set n and the number of events of some records to 0, since they belong to another source; the rest stays."""
    records["next_offset"][which_R] = records["events"][which_R] = 0


def without_generation(records: NDArray[Any]) -> None:
    """Remove the generation from the next offsets, so that n alone is left."""
    records["next_offset"] &= np.uint64((1 << _GENERATION_BIT) - 1)


def header_of(blob: bytes) -> dict[str, Any]:
    """Return the header's fields by name. Raises ValueError for an unknown version or a size that does not fit."""
    header = np.dtype(_HEADER)
    if len(blob) < header.itemsize or blob[0] not in KNOWN_VERSIONS:
        newer = "; a newer stream-worker wrote it" if blob[:1] > _HAS_MORE else ""
        raise ValueError(
            f"memory record: expected version 1 to 3, got {blob[:1]!r} in {amount(len(blob), 'byte')}{newer}"
        )
    fields = np.frombuffer(blob[: header.itemsize], dtype=header)[0]
    named = {name: fields[name].item() for name in fields.dtype.names}
    named["next_offset"] &= (1 << _GENERATION_BIT) - 1
    expected = format_of(blob).dtype.itemsize
    if len(blob) != expected:
        raise ValueError(f"memory record: expected {expected} bytes, got {len(blob)}")
    return named


def format_of(blob: bytes) -> MemoryFormat:
    """Return the sizes that a record's first bytes name."""
    more = blob[_MORE] if blob[0] == VERSION_WITH_MORE else b""
    return MemoryFormat(blob[9], int.from_bytes(blob[10:12], "little"), *more)


def fault_of(blob: bytes) -> str:
    """Return why these bytes are no memory record; empty if they are one."""
    return "" if _is_form(len(blob), *_sizes(blob)) else _fault(blob)


def _sizes(blob: bytes) -> tuple[bytes, bytes]:
    """Return the bytes of a record that its length depends on: its version with the sizes, and the numbers behind the
    header."""
    return blob[:1] + blob[9:12], blob[_MORE] if blob[:1] == _HAS_MORE else b""


@lru_cache(maxsize=4_096)
def _is_form(length: int, sizes: bytes, more: bytes) -> bool:
    """Return True if a record of this length with these sizes is valid; nothing else can be wrong."""
    blank = sizes[:1] + bytes(8) + sizes[1:] + bytes(_MORE.start - 12) + more
    return length >= _MORE.start and not _fault(blank + bytes(length - len(blank)))


def _fault(blob: bytes) -> str:
    try:
        header_of(blob)
    except ValueError as fault:
        return str(fault)
    return ""


def ring_of(blob: bytes) -> list[int]:
    """Return the item numbers of a record's ring, oldest first."""
    header_of(blob)
    record = np.frombuffer(blob, dtype=format_of(blob).dtype)[0]
    return [int(number) for number in record["number"] if number]


class _Sizes(NamedTuple):
    """The numbers of places that something is stored with, but for its largest one."""

    smaller: tuple[int, ...]

    def upto(self, most: int) -> list[int]:
        return [*(size for size in self.smaller if size < most), most]


_STORED = _Sizes((8, 16, 32, 64, 128)), _Sizes((0, 8, 16, 32)), _Sizes((0, 2)), _Sizes((0,))


def _column(records: Columns, name: str) -> NDArray[Any]:
    """Return a column [R, places]; without places if the records do not have it."""
    names = records if isinstance(records, Mapping) else records.dtype.names or ()
    if name not in names:
        return np.zeros((len(records["number"]), 0), np.int64)
    column = records[name]
    return column.reshape(len(column), math.prod(column.shape[1:]))


def _of_sets(records: Columns) -> NDArray[np.bool_]:
    """Return True [R, 1] for records with a session or with sets; without a column if none can have one."""
    session, in_set = _column(records, "session"), _column(records, "in_set")
    has_any: NDArray[np.bool_] = (session != 0) | (in_set != 0)
    return has_any


def _filled(values_RL: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many of the L places each record needs: those from its first value on that is not 0."""
    if values_RL.shape[1] == 0:
        return np.zeros(len(values_RL), np.int64)
    filled_RL = values_RL != 0
    needed: NDArray[np.int64] = np.where(filled_RL.any(axis=1), values_RL.shape[1] - filled_RL.argmax(axis=1), 0)
    return needed


def _by_format(blobs: Sequence[bytes]) -> Iterator[tuple[MemoryFormat, list[int]]]:
    """Yield each format among the blobs, with the places of its records."""
    places: dict[tuple[int, bytes, bytes], list[int]] = {}
    for place, blob in enumerate(blobs):
        places.setdefault((len(blob), *_sizes(blob)), []).append(place)
    for at in places.values():
        header_of(blobs[at[0]])
        yield format_of(blobs[at[0]]), at


def _resized(records: Columns, at: NDArray[np.int64], layout: MemoryFormat) -> NDArray[Any]:
    """Return the records at these places in another format: the newest entries of each ring, of its ids and joins, and
    a state of the same size."""
    resized = layout.empty(len(at))
    for name in ("next_offset", "events", "ts"):
        resized[name] = records[name][at]
    resized["version"][(resized["version"] == VERSION) & (generations_of(resized) > 0)] = VERSION_OF_GENERATIONS
    for name in ("number", "type", "gap", "ids", "joined", "session", "in_set"):
        ours, theirs = _column(resized, name), _column(records, name)
        kept = min(ours.shape[1], theirs.shape[1])
        ours[:, ours.shape[1] - kept :] = theirs[at, theirs.shape[1] - kept :]
    if records["h"].shape[1] == layout.hidden:
        for name in ("line", "h", "c"):
            resized[name] = records[name][at]
    return resized
