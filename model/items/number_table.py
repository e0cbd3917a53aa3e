"""Item number -> row of the live items: a hash table as large as what is live, whatever the numbers.

Linear probing: places are tried in order from the one that a number hashes to; at least half of them are empty. A
dropped entry leaves no mark, since later entries of its run move up (Knuth 1973, 6.4, algorithm R).

Shape suffixes: T2: places of the table, each a number and its row side by side, so that a look-up costs one cache line;
M numbers asked about. Number 0 stands for no number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels import kernel

_FIRST_PLACES = 2048  # places of an empty table, 8 bytes each; not tuned


class NumberTable:
    """Rows by item number."""

    def __init__(self, places: int = _FIRST_PLACES, dtype: type[np.unsignedinteger[Any]] = np.uint32) -> None:
        """Make an empty table. places: a power of two; dtype: of the numbers, uint32 or uint64."""
        self._entries_T2 = np.zeros((places, 2), dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        return self._entries_T2.nbytes

    def find(self, numbers: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.int32]:
        """Return the row of each number, -1: not here; an array of any shape."""
        rows = np.empty(numbers.shape, dtype=np.int32)
        asked = np.ascontiguousarray(numbers, dtype=self._entries_T2.dtype)
        _find(asked.reshape(-1), self._entries_T2, rows.reshape(-1))
        return rows

    def put(self, numbers: NDArray[np.unsignedinteger[Any]], rows: NDArray[np.integer[Any]]) -> None:
        """Map numbers to rows; 0 is skipped."""
        self._fit(self._count + len(numbers))
        self._count += _put(numbers, rows.astype(self._entries_T2.dtype), self._entries_T2)

    def drop(self, numbers: NDArray[np.unsignedinteger[Any]]) -> None:
        self._count -= _drop(numbers, self._entries_T2)

    def entries(self) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.unsignedinteger[Any]]]:
        """Return all numbers and their rows, in no order."""
        numbers, rows = self._entries_T2[self._entries_T2[:, 0] > 0].T.copy()
        return numbers, rows

    def _fit(self, count: int) -> None:
        places = len(self._entries_T2)
        while 2 * count > places:
            places *= 2
        if places > len(self._entries_T2):
            numbers, rows = self.entries()
            self._entries_T2 = np.zeros((places, 2), dtype=self._entries_T2.dtype)
            _put(numbers, rows, self._entries_T2)


@kernel
def _home(number: int, mask: int) -> np.int64:
    # Multiplication by 2^32 / the golden ratio (Knuth 1973, 6.4) spreads consecutive numbers.
    return (np.int64(number) * 2654435769 >> 8) & mask


@kernel
def _place(number: int, entries_T2: NDArray[np.uint32]) -> int:
    """Return the place where the number stands, or would be put."""
    mask = len(entries_T2) - 1
    place: int = _home(number, mask)
    while entries_T2[place, 0] != 0 and entries_T2[place, 0] != number:
        place = (place + 1) & mask
    return place


@kernel
def _find(number_M: NDArray[np.uint32], entries_T2: NDArray[np.uint32], row_M: NDArray[np.int32]) -> None:
    for m in range(len(number_M)):
        row_M[m] = -1
        if number_M[m] != 0:
            place = _place(number_M[m], entries_T2)
            if entries_T2[place, 0] != 0:
                row_M[m] = entries_T2[place, 1]


@kernel
def _put(number_M: NDArray[np.uint32], row_M: NDArray[np.uint32], entries_T2: NDArray[np.uint32]) -> int:
    """Put entries. Returns how many numbers are new."""
    added = 0
    for m in range(len(number_M)):
        if number_M[m] != 0:
            place = _place(number_M[m], entries_T2)
            added += entries_T2[place, 0] == 0
            entries_T2[place, 0], entries_T2[place, 1] = number_M[m], row_M[m]
    return added


@kernel
def _drop(number_M: NDArray[np.uint32], entries_T2: NDArray[np.uint32]) -> int:
    """Drop entries. Returns how many numbers were there."""
    mask, dropped = len(entries_T2) - 1, 0
    for m in range(len(number_M)):
        hole = _place(number_M[m], entries_T2)
        if number_M[m] == 0 or entries_T2[hole, 0] == 0:
            continue
        dropped += 1
        place = (hole + 1) & mask
        while entries_T2[place, 0] != 0:
            # An entry moves up into the hole unless it hashes to a place behind it.
            if ((place - _home(entries_T2[place, 0], mask)) & mask) >= ((place - hole) & mask):
                entries_T2[hole, 0], entries_T2[hole, 1] = entries_T2[place, 0], entries_T2[place, 1]
                hole = place
            place = (place + 1) & mask
        entries_T2[hole, 0] = 0
    return dropped
