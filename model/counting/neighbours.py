"""Bounded rows of neighbours: for each row the items counted beside it, and how much. In numpy, for compiled kernels.

A row begins with no place at all and grows fourfold, from 4 up to `most` places; when it is full the weakest
neighbour leaves (Metwally et al., 2005). All rows of all tables share one pool of places, so that memory follows what
was counted and not the size of the catalogue; blocks that became too small wait in a free list of their size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels import kernel

_FIRST_POOL = 1 << 14
_LARGEST_BITS = np.int32(np.iinfo(np.int32).max)


class NeighbourRows(NamedTuple):
    """T tables of N rows. A block is `width_TN` places of the pool from `start_TN` on: item (-1: none) and weight.

    total_TN: all that was ever counted in the row, decayed as the row is. free_S: the first free block of each size, by
    whose first place the next is found. used_1: places of the pool given out.
    """

    start_TN: NDArray[np.int64]
    width_TN: NDArray[np.int32]
    total_TN: NDArray[np.float32]
    item_X: NDArray[np.int32]
    weight_X: NDArray[np.float32]
    free_S: NDArray[np.int64]
    used_1: NDArray[np.int64]
    most: int


def empty(tables: int, rows: int, most: int) -> NeighbourRows:
    return NeighbourRows(
        start_TN=np.zeros((tables, rows), np.int64),
        width_TN=np.zeros((tables, rows), np.int32),
        total_TN=np.zeros((tables, rows), np.float32),
        item_X=np.zeros(_FIRST_POOL, np.int32),
        weight_X=np.zeros(_FIRST_POOL, np.float32),
        free_S=np.full(_size(most) + 1, -1, np.int64),
        used_1=np.zeros(1, np.int64),
        most=most,
    )


def grown(rows: NeighbourRows, count: int) -> NeighbourRows:
    """The same with `count` rows."""
    more = ((0, 0), (0, count - rows.start_TN.shape[1]))
    return rows._replace(
        start_TN=np.pad(rows.start_TN, more),
        width_TN=np.pad(rows.width_TN, more),
        total_TN=np.pad(rows.total_TN, more),
    )


def with_room(rows: NeighbourRows, places: int) -> NeighbourRows:
    """The same with at least `places` of the pool not given out yet: kernels do not allocate."""
    wanted = int(rows.used_1[0]) + places
    if wanted <= len(rows.item_X):
        return rows
    size = max(wanted, len(rows.item_X) * 3 // 2)
    item_X, weight_X = np.zeros(size, np.int32), np.zeros(size, np.float32)
    used = int(rows.used_1[0])
    item_X[:used], weight_X[:used] = rows.item_X[:used], rows.weight_X[:used]
    return rows._replace(item_X=item_X, weight_X=weight_X)


def state_of(rows: NeighbourRows) -> dict[str, NDArray[Any]]:
    used = int(rows.used_1[0])
    pool = {"item_X": rows.item_X[:used], "weight_X": rows.weight_X[:used]}
    names = ("start_TN", "width_TN", "total_TN", "free_S", "used_1")
    return {name: getattr(rows, name) for name in names} | pool | {"most": np.array([rows.most])}


def from_state(state: dict[str, NDArray[Any]], most: int) -> NeighbourRows:
    """Raises ValueError for rows of another width."""
    if (had := int(state["most"][0])) != most:
        raise ValueError(f"model.neighbours: the state has {had}, the configuration {most}")
    return NeighbourRows(**{name: array.copy() for name, array in state.items() if name != "most"}, most=most)


@kernel
def of(rows: NeighbourRows, table: int, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The block of a row: items (-1: none) and weights."""
    start, end = rows.start_TN[table, row], rows.start_TN[table, row] + rows.width_TN[table, row]
    return rows.item_X[start:end], rows.weight_X[start:end]


@kernel
def add(rows: NeighbourRows, table: int, row: int, item: int, weight: float, decay: float) -> None:
    """Count `item` in a row by `weight`, after decaying the row."""
    start, width = rows.start_TN[table, row], rows.width_TN[table, row]
    if decay < 1.0:
        rows.total_TN[table, row] *= decay
        for at in range(start, start + width):
            rows.weight_X[at] *= decay
    rows.total_TN[table, row] += weight
    place = _find(rows.item_X[start : start + width], item)
    if place >= 0:
        rows.weight_X[start + place] += weight
        return
    weakest = start + _weakest(rows.weight_X[start : start + width])
    if width == 0 or (rows.item_X[weakest] >= 0 and width < rows.most):
        weakest = _widen(rows, table, row)
    rows.item_X[weakest] = item
    rows.weight_X[weakest] = weight


@kernel
def _find(item_W, item):  # type: ignore[no-untyped-def]
    """The place of an item in a block, -1: not there. Without a way out of the loop, so that it compiles to vectors."""
    place = -1
    for j in range(len(item_W)):
        if item_W[j] == item:
            place = j
    return place


@kernel
def _weakest(weight_W):  # type: ignore[no-untyped-def]
    """Of the places of a block the first with the least weight. Weights are never negative, so that their bits are in
    the same order, and the least of integers compiles to vectors."""
    bits_W, least = weight_W.view(np.int32), _LARGEST_BITS
    for j in range(len(bits_W)):
        least = min(least, bits_W[j])
    for j in range(len(bits_W)):
        if bits_W[j] == least:
            return j
    return 0


@kernel
def _widen(rows, table, row):  # type: ignore[no-untyped-def]
    """Move a row to a wider block; returns its first new place."""
    start, width = rows.start_TN[table, row], rows.width_TN[table, row]
    wide = min(4 * width, rows.most) if width > 0 else 4
    block = _take(rows, wide)
    for j in range(width):
        rows.item_X[block + j], rows.weight_X[block + j] = rows.item_X[start + j], rows.weight_X[start + j]
    if width > 0:
        _give_back(rows, start, width)
    rows.start_TN[table, row], rows.width_TN[table, row] = block, wide
    return block + width


@kernel
def _size(width: int) -> int:
    """0 for blocks of 4, 1 for those up to 16, and so on: `most` need be no power of four."""
    size = 0
    while 4 * 4**size < width:
        size += 1
    return size


@kernel
def _take(rows, width):  # type: ignore[no-untyped-def]
    """A free block of this width, empty."""
    size = _size(width)
    block = rows.free_S[size]
    if block >= 0:
        rows.free_S[size] = rows.item_X[block]
    else:
        block = rows.used_1[0]
        rows.used_1[0] += width
    for at in range(block, block + width):
        rows.item_X[at] = -1
        rows.weight_X[at] = 0.0
    return block


@kernel
def _give_back(rows: NeighbourRows, block: int, width: int) -> None:
    size = _size(width)
    rows.item_X[block] = rows.free_S[size]
    rows.free_S[size] = block


@kernel
def clear(rows: NeighbourRows, table: int, row: int) -> None:
    """A row with nothing counted."""
    if rows.width_TN[table, row] > 0:
        _give_back(rows, rows.start_TN[table, row], rows.width_TN[table, row])
    rows.width_TN[table, row] = 0
    rows.total_TN[table, row] = 0.0


@kernel
def forget(rows: NeighbourRows, is_gone_N: NDArray[np.bool_]) -> None:
    """Clear the rows of items, and take them out of every row that names them; what was counted of them there stays in
    the totals."""
    for table in range(rows.start_TN.shape[0]):
        for row in range(rows.start_TN.shape[1]):
            if is_gone_N[row]:
                clear(rows, table, row)
            start = rows.start_TN[table, row]
            for at in range(start, start + rows.width_TN[table, row]):
                if rows.item_X[at] >= 0 and is_gone_N[rows.item_X[at]]:
                    rows.item_X[at] = -1
                    rows.weight_X[at] = 0.0
