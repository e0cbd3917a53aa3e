"""The format of a memory record: one user's memory as bytes, kept by the store for each partition and user.

A record has one of a few sizes: the ring is stored with as many places as its items need, rounded up, so that a batch
of records is a handful of numpy arrays (ADR 0009). Byte 0 is the version; bytes 1 to 8 are the next offset n in
big-endian order, so that stores can compare n as bytes. With H = 64 a user of up to 8 events takes 336 bytes, of up to
32 takes 480, of 129 or more 1,818; with a ring of 50 none takes more than 588.

A topic that was deleted and made again has generations, and n belongs to one of them. The generation stands in the two
highest of the eight bytes, so that a record of a later topic is ahead of every record of an earlier one; the version is
then 2.

The ring holds item numbers (0: empty), newest last, empty places in front. `(h, c)` are in half precision and mean
something only under the weights of `line`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.amounts import amount

VERSION, VERSION_OF_GENERATIONS = 1, 2
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


@dataclass(frozen=True)
class MemoryFormat:
    """The sizes that a record depends on. `ring_size`: places of the ring, at most 255; `hidden`: LSTM units."""

    ring_size: int
    hidden: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy structure of a record: header, ring (item numbers, types, gaps), then (h, c)."""
        ring, hidden = self.ring_size, self.hidden
        return np.dtype(
            [
                *_HEADER,
                ("number", "<u4", (ring,)),
                ("type", "u1", (ring,)),
                ("gap", "u1", (ring,)),
                ("h", "<f2", (hidden,)),
                ("c", "<f2", (hidden,)),
            ]
        )

    def empty(self, count: int) -> NDArray[Any]:
        """Return `count` records of this format with everything else zero."""
        records = np.zeros(count, dtype=self.dtype)
        records["version"] = VERSION
        records["ring_size"] = self.ring_size
        records["hidden"] = self.hidden
        return records

    def encode(self, records: Columns) -> list[bytes]:
        """Return one blob per record, no longer than its ring needs."""
        filled = records["number"] > 0
        places = np.where(filled.any(axis=1), self.ring_size - filled.argmax(axis=1), 0)
        blobs: list[bytes] = [b""] * len(places)
        for ring in _stored_sizes(self.ring_size):
            at = np.flatnonzero(places <= ring)
            stored = _resized(records, at, MemoryFormat(ring, self.hidden))
            for place, record in zip(at.tolist(), stored, strict=True):
                blobs[place] = record.tobytes()
            places[at] = self.ring_size + 1
        return blobs

    def decode(self, blobs: Sequence[bytes]) -> NDArray[Any]:
        """Return records of this format.

        A longer ring keeps its newest entries. A state of another size is dropped: `line` is then 0, which is no line.
        """
        records = self.empty(len(blobs))
        for ring, hidden, at in _by_format(blobs):
            theirs = MemoryFormat(ring, hidden)
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


def begin_again(records: NDArray[Any], which_R: NDArray[np.bool_]) -> None:
    """Set n and the number of events of some records to 0, since they belong to another source; the rest stays."""
    records["next_offset"][which_R] = records["events"][which_R] = 0


def without_generation(records: NDArray[Any]) -> None:
    """Remove the generation from the next offsets, so that n alone is left."""
    records["next_offset"] &= np.uint64((1 << _GENERATION_BIT) - 1)


def header_of(blob: bytes) -> dict[str, Any]:
    """Return the header's fields by name. Raises ValueError for an unknown version or a size that does not fit."""
    header = np.dtype(_HEADER)
    if len(blob) < header.itemsize or blob[0] not in (VERSION, VERSION_OF_GENERATIONS):
        raise ValueError(f"memory record: expected version 1 or 2, got {blob[:1]!r} in {amount(len(blob), 'byte')}")
    fields = np.frombuffer(blob[: header.itemsize], dtype=header)[0]
    named = {name: fields[name].item() for name in fields.dtype.names}
    named["next_offset"] &= (1 << _GENERATION_BIT) - 1
    expected = MemoryFormat(named["ring_size"], named["hidden"]).dtype.itemsize
    if len(blob) != expected:
        raise ValueError(f"memory record: expected {expected} bytes, got {len(blob)}")
    return named


def fault_of(blob: bytes) -> str:
    """Return why these bytes are no memory record; empty if they are one."""
    return "" if _is_form(len(blob), blob[:1], blob[9:12]) else _fault(blob)


@lru_cache(maxsize=1_024)
def _is_form(length: int, version: bytes, sizes: bytes) -> bool:
    """Return True if a record of this length with these bytes of the header is valid; nothing else can be wrong."""
    return length > 12 and not _fault(version + bytes(8) + sizes + bytes(length - 12))


def _fault(blob: bytes) -> str:
    try:
        header_of(blob)
    except ValueError as fault:
        return str(fault)
    return ""


def ring_of(blob: bytes) -> list[int]:
    """Return the item numbers of a record's ring, oldest first."""
    fields = header_of(blob)
    record = np.frombuffer(blob, dtype=MemoryFormat(fields["ring_size"], fields["hidden"]).dtype)[0]
    return [int(number) for number in record["number"] if number]


def _stored_sizes(ring_size: int) -> list[int]:
    return [*(size for size in (8, 16, 32, 64, 128) if size < ring_size), ring_size]


def _by_format(blobs: Sequence[bytes]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield (ring size, hidden size, places in `blobs`) for each format among the blobs."""
    places: dict[tuple[int, bytes], list[int]] = {}
    for place, blob in enumerate(blobs):
        places.setdefault((len(blob), blob[:1] + blob[9:12]), []).append(place)
    for at in places.values():
        header = header_of(blobs[at[0]])
        yield header["ring_size"], header["hidden"], at


def _resized(records: Columns, at: NDArray[np.int64], layout: MemoryFormat) -> NDArray[Any]:
    """Return the records at these places in another format: the newest entries of each ring, and a state of the same
    size."""
    resized = layout.empty(len(at))
    for name in ("next_offset", "events", "ts"):
        resized[name] = records[name][at]
    resized["version"][generations_of(resized) > 0] = VERSION_OF_GENERATIONS
    kept = min(layout.ring_size, records["number"].shape[1])
    for name in ("number", "type", "gap"):
        resized[name][:, layout.ring_size - kept :] = records[name][at, records[name].shape[1] - kept :]
    if records["h"].shape[1] == layout.hidden:
        for name in ("line", "h", "c"):
            resized[name] = records[name][at]
    return resized
