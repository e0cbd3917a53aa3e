"""Bounded rows of neighbours: for each item the items counted beside it, with weights. In numpy, for compiled kernels.

A row begins without a place and grows fourfold, from 4 up to `most` places. When it is full, a new neighbour replaces
the weakest one (Metwally et al., 2005). All rows of all tables share one pool of places, so that memory grows with what
was counted and not with the catalogue. Blocks that became too small wait in a free list per size.

Shape suffixes: T tables, N rows of the catalogue, X places of the pool, S sizes of blocks, W places of one block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels import kernel

_FIRST_POOL = 1 << 14  # places of an empty pool, 8 bytes each; not tuned
_LARGEST_BITS = np.int32(np.iinfo(np.int32).max)  # above the bits of every weight, as an integer


class NeighbourRows(NamedTuple):
    """T tables of N rows of neighbours. A row is a block of consecutive places in the pool.

    start_TN, width_TN: first place and number of places of each row
    total_TN: sum of all weights ever counted in the row, decayed as the row is
    item_X, weight_X: the pool: item row (-1: none) and weight at each place
    free_S: first place of the first free block of each size, -1: none; `item_X` there holds the next free block
    used_1: number of places given out
    most: places of a row at most
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
    """Return the tables enlarged to `count` rows."""
    more = ((0, 0), (0, count - rows.start_TN.shape[1]))
    return rows._replace(
        start_TN=np.pad(rows.start_TN, more),
        width_TN=np.pad(rows.width_TN, more),
        total_TN=np.pad(rows.total_TN, more),
    )


def with_room(rows: NeighbourRows, places: int) -> NeighbourRows:
    """Return the tables with a pool in which at least `places` are free, since kernels do not allocate."""
    wanted = int(rows.used_1[0]) + places
    if wanted <= len(rows.item_X):
        return rows
    size = max(wanted, len(rows.item_X) * 3 // 2)  # half as many again at least, so that copies are few
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
    """Return the tables of a state. Raises ValueError for rows of another width."""
    if (had := int(state["most"][0])) != most:
        raise ValueError(f"model.neighbours: the state has {had}, the configuration {most}")
    return NeighbourRows(**{name: array.copy() for name, array in state.items() if name != "most"}, most=most)


@kernel
def of(rows: NeighbourRows, table: int, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return views of a row: item rows [W] (-1: none) and weights [W]."""
    start, end = rows.start_TN[table, row], rows.start_TN[table, row] + rows.width_TN[table, row]
    return rows.item_X[start:end], rows.weight_X[start:end]


@kernel
def add(rows: NeighbourRows, table: int, row: int, item: int, weight: float, decay: float) -> None:
    """Multiply the counts of a row by `decay`, then add `weight` to `item` in it.

    table, row: the row to change, by number of the table and row of the catalogue
    item: row of the neighbour in the catalogue
    """
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
    """Return the place of an item in a block, -1: not there. The loop has no early exit, so it compiles to vectors."""
    place = -1
    for j in range(len(item_W)):
        if item_W[j] == item:
            place = j
    return place


@kernel
def _weakest(weight_W):  # type: ignore[no-untyped-def]
    """Return the first place of a block with the least weight.

    Weights are never negative, so their bits as integers have the same order, and a minimum of integers compiles to
    vectors: 37 ns per row instead of 431 (docs/experiments/cheaper-walks.md).
    """
    bits_W, least = weight_W.view(np.int32), _LARGEST_BITS
    for j in range(len(bits_W)):
        least = min(least, bits_W[j])
    for j in range(len(bits_W)):
        if bits_W[j] == least:
            return j
    return 0


@kernel
def _widen(rows, table, row):  # type: ignore[no-untyped-def]
    """Move a row to a wider block. Returns its first empty place."""
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
    """Return the size class of a block: 0 for 4 places, 1 for up to 16, and so on; `most` may be no power of four."""
    size = 0
    while 4 * 4**size < width:
        size += 1
    return size


@kernel
def _take(rows, width):  # type: ignore[no-untyped-def]
    """Return the first place of an empty block of this width."""
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
    """Empty a row and give its block back."""
    if rows.width_TN[table, row] > 0:
        _give_back(rows, rows.start_TN[table, row], rows.width_TN[table, row])
    rows.width_TN[table, row] = 0
    rows.total_TN[table, row] = 0.0


@kernel
def forget(rows: NeighbourRows, is_gone_N: NDArray[np.bool_]) -> None:
    """Clear the rows where `is_gone_N`, and remove their items from all other rows, whose totals stay as they are."""
    for table in range(rows.start_TN.shape[0]):
        for row in range(rows.start_TN.shape[1]):
            if is_gone_N[row]:
                clear(rows, table, row)
            start = rows.start_TN[table, row]
            for at in range(start, start + rows.width_TN[table, row]):
                if rows.item_X[at] >= 0 and is_gone_N[rows.item_X[at]]:
                    rows.item_X[at] = -1
                    rows.weight_X[at] = 0.0
