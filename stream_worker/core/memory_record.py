"""One user's memory as bytes: what a store keeps for a (partition, user).

A record is a fixed-size structure, so that a batch of them is one numpy array and no Python runs per user. Byte 0 is
the version, bytes 1 to 8 the next offset n in big-endian order (so that stores can compare n as bytes). With H = 64
and a ring of 50 it takes 588 bytes.

The ring names items by the store's numbers (0: empty), newest last, empty places in front. `(h, c)` are half
precision and mean something only under the weights of `line`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
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
    """The sizes a record depends on: ring length (at most 255) and LSTM units."""

    ring_size: int
    hidden: int

    @property
    def dtype(self) -> np.dtype[Any]:
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
        """`count` records of this format and version, all zero otherwise."""
        records = np.zeros(count, dtype=self.dtype)
        records["version"] = VERSION
        records["ring_size"] = self.ring_size
        records["hidden"] = self.hidden
        return records

    def decode(self, blobs: Sequence[bytes]) -> NDArray[Any]:
        """Records of one format as an array; those of other sizes are converted (see `_convert`)."""
        size = self.dtype.itemsize
        if all(len(blob) == size for blob in blobs):
            records = np.frombuffer(b"".join(blobs), dtype=self.dtype).copy()
            if self._fits(records):
                return records
        return np.concatenate([self._convert(blob) for blob in blobs]) if blobs else self.empty(0)

    def _fits(self, records: NDArray[Any]) -> bool:
        """Bytes of the same length may still hold a longer ring and a smaller state."""
        own = self.empty(1)
        return all(bool(np.all(records[name] == own[name])) for name in ("version", "ring_size", "hidden"))

    def _convert(self, blob: bytes) -> NDArray[Any]:
        """A record written with another ring size or hidden size: the newest ring entries are kept; a state of
        another size is not, and its line is set to 0, which no line has."""
        theirs = header_of(blob)
        source = np.frombuffer(blob, dtype=MemoryFormat(theirs["ring_size"], theirs["hidden"]).dtype)
        record = self.empty(1)
        for name in ("next_offset", "events", "ts"):
            record[name] = source[name]
        for name in ("number", "type", "gap"):
            record[name][0] = _newest(source[name][0], source["number"][0], self.ring_size)
        if theirs["hidden"] == self.hidden:
            for name in ("line", "h", "c"):
                record[name] = source[name]
        return record


def header_of(blob: bytes) -> dict[str, Any]:
    """The header's fields by name; ValueError for an unknown version or a size that does not fit."""
    header = np.dtype(_HEADER)
    if len(blob) < header.itemsize or blob[0] != VERSION:
        raise ValueError(f"memory record: expected version {VERSION}, got {blob[:1]!r} in {len(blob)} bytes")
    fields = np.frombuffer(blob[: header.itemsize], dtype=header)[0]
    named = {name: fields[name].item() for name in fields.dtype.names}
    expected = MemoryFormat(named["ring_size"], named["hidden"]).dtype.itemsize
    if len(blob) != expected:
        raise ValueError(f"memory record: expected {expected} bytes, got {len(blob)}")
    return named


def ring_of(blob: bytes) -> list[int]:
    """The item numbers of a record's ring, oldest first."""
    fields = header_of(blob)
    record = np.frombuffer(blob, dtype=MemoryFormat(fields["ring_size"], fields["hidden"]).dtype)[0]
    return [int(number) for number in record["number"] if number]


def _newest(column: NDArray[Any], numbers: NDArray[Any], size: int) -> NDArray[Any]:
    filled = column[numbers > 0][-size:]
    return np.pad(filled, (size - len(filled), 0))
