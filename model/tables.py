"""What is counted of every event: who follows whom, who stands beside whom, which item follows which two.

Legend: d places back in a window (0: the newest item), N rows of the catalogue, M buckets of pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model import neighbours, popularity, returns
from model.kernels import kernel
from model.memory import NO_GAP
from model.neighbours import Rows
from model.popularity import Popularity
from model.returns import Returns

# What came next, decaying with every update of the row, and not; what came within a window after and before; who
# stands within a wide window, both ways; who stands close by in time, both ways.
NEXT, PLAIN, FORWARD, BACKWARD, WIDE, SESSION = range(6)
TABLES = 6
FORWARD_SPAN, WIDE_SPAN = 10, 20
PAIR_NEIGHBOURS = 16
# Each may widen one row: two for each of 20 places in WIDE and SESSION, one for each of 10 in FORWARD and BACKWARD.
ADDS_AN_EVENT = 4 * WIDE_SPAN + 2 * FORWARD_SPAN + 2

_NEXT_DECAY, _FORWARD_FADE, _WIDE_FADE = 0.97, 0.7, 0.93
_SESSION_SECONDS = 3_600.0
_LEAST_NEAR = 0.05
_PAIRS_AN_ITEM = 4


class Tables(NamedTuple):
    """All that is counted. `pairs` has one row for each bucket of (last but one, last), whose key stands in pair_M."""

    rows: Rows
    pairs: Rows
    pair_M: NDArray[np.int64]
    popularity: Popularity
    returns: Returns


def empty(rows: int, most: int) -> Tables:
    """Of a catalogue of `rows`, each with at most `most` neighbours."""
    return Tables(
        rows=neighbours.empty(TABLES, rows, most),
        pairs=neighbours.empty(1, buckets(rows), min(PAIR_NEIGHBOURS, most)),
        pair_M=np.full(buckets(rows), -1, np.int64),
        popularity=popularity.empty(rows),
        returns=returns.empty(),
    )


def grown(tables: Tables, rows: int) -> Tables:
    pairs, pair_M = neighbours.grown(tables.pairs, buckets(rows)), np.full(buckets(rows), -1, np.int64)
    _spread_pairs(pairs, tables.pair_M, pair_M)
    return tables._replace(
        rows=neighbours.grown(tables.rows, rows),
        pairs=pairs,
        pair_M=pair_M,
        popularity=popularity.grown(tables.popularity, rows),
    )


def with_room(tables: Tables, events: int) -> Tables:
    """The same with room for so many events more: kernels do not allocate."""
    return tables._replace(
        rows=neighbours.with_room(tables.rows, events * ADDS_AN_EVENT * tables.rows.most),
        pairs=neighbours.with_room(tables.pairs, events * tables.pairs.most),
    )


def forget(tables: Tables, rows: NDArray[np.int64]) -> None:
    """Recycle rows: their own counts go, and every place where others name them."""
    is_gone_N = np.zeros(len(tables.rows.start_TN[0]), np.bool_)
    is_gone_N[rows] = True
    _forget(tables, is_gone_N)
    popularity.forget(tables.popularity, rows)


def fade(tables: Tables, share: float) -> None:
    """Multiply the counts of all neighbours by `share`; what is hot has half-lives of its own."""
    for rows in (tables.rows, tables.pairs):
        used = int(rows.used_1[0])
        rows.weight_X[:used] *= np.float32(share)
        rows.total_TN[:] *= np.float32(share)


def buckets(rows: int) -> int:
    """Of pairs, in a table of this many rows; a power of 2, so that buckets split when it grows."""
    return 1 << (_PAIRS_AN_ITEM * rows - 1).bit_length()


@kernel
def seconds_of(gap: int) -> float:
    """What a gap bucket stands for (see `memory.unroll`); 0 for a user's first event."""
    return 2.0**gap - 1.0 if gap < NO_GAP else 0.0


@kernel
def bucket(before, last, buckets):  # type: ignore[no-untyped-def]
    """Multiplicative hashing (Knuth, 6.4) of two rows."""
    mixed = np.uint64(before) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(last) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(29)
    return np.int64(mixed & np.uint64(buckets - 1))


@kernel
def key(before, last):  # type: ignore[no-untyped-def]
    return (np.int64(before) << 32) | np.int64(last)


@kernel
def learn(tables: Tables, window_L, type_L, gap_L, gap, item):  # type: ignore[no-untyped-def]
    """Count one event: `item` came after `window_L`, `gap` after its newest."""
    ring, rows = len(window_L), tables.rows
    forward, wide, seconds = 1.0, 1.0, seconds_of(gap)
    for d in range(min(WIDE_SPAN, ring)):
        before = window_L[ring - 1 - d]
        if before >= 0:
            if d == 0:
                neighbours.add(rows, NEXT, before, item, 1.0, _NEXT_DECAY)
                neighbours.add(rows, PLAIN, before, item, 1.0, 1.0)
            if d < FORWARD_SPAN:
                neighbours.add(rows, FORWARD, before, item, forward, 1.0)
            if before != item:
                if d < FORWARD_SPAN:
                    neighbours.add(rows, BACKWARD, item, before, forward, 1.0)
                _add_both(rows, WIDE, before, item, wide)
                near = np.exp(-seconds / _SESSION_SECONDS)
                if near > _LEAST_NEAR:
                    _add_both(rows, SESSION, before, item, near)
        seconds += seconds_of(gap_L[ring - 1 - d])
        forward *= _FORWARD_FADE
        wide *= _WIDE_FADE
    if ring > 1 and window_L[ring - 1] >= 0 and window_L[ring - 2] >= 0:
        _learn_pair(tables, window_L[ring - 2], window_L[ring - 1], item)
    popularity.count(tables.popularity, item)
    returns.count(tables.returns, window_L, type_L, item)


@kernel
def _add_both(rows: Rows, table, one, other, weight):  # type: ignore[no-untyped-def]
    neighbours.add(rows, table, one, other, weight, 1.0)
    neighbours.add(rows, table, other, one, weight, 1.0)


@kernel
def _learn_pair(tables: Tables, before, last, item):  # type: ignore[no-untyped-def]
    """A pair that hashes to the bucket of another takes its place."""
    m = bucket(before, last, len(tables.pair_M))
    if tables.pair_M[m] != key(before, last):
        neighbours.clear(tables.pairs, 0, m)
        tables.pair_M[m] = key(before, last)
    neighbours.add(tables.pairs, 0, m, item, 1.0, 1.0)


@kernel
def _spread_pairs(pairs: Rows, old_M, new_M):  # type: ignore[no-untyped-def]
    """Move rows to the buckets of a larger table. Buckets only split, so each new one gets at most one pair."""
    for old in range(len(old_M)):
        key = old_M[old]
        if key >= 0:
            new = bucket(key >> 32, key & 0xFFFFFFFF, len(new_M))
            new_M[new] = key
            if new != old:
                pairs.start_TN[0, new], pairs.start_TN[0, old] = pairs.start_TN[0, old], 0
                pairs.width_TN[0, new], pairs.width_TN[0, old] = pairs.width_TN[0, old], 0
                pairs.total_TN[0, new], pairs.total_TN[0, old] = pairs.total_TN[0, old], 0.0


@kernel
def _forget(tables: Tables, is_gone_N):  # type: ignore[no-untyped-def]
    rows, pair_M = tables.rows, tables.pair_M
    for row in range(len(is_gone_N)):
        if is_gone_N[row]:
            for table in range(TABLES):
                neighbours.clear(rows, table, row)
    for m in range(len(pair_M)):
        if pair_M[m] >= 0 and (is_gone_N[pair_M[m] >> 32] or is_gone_N[pair_M[m] & 0xFFFFFFFF]):
            neighbours.clear(tables.pairs, 0, m)
            pair_M[m] = -1
    neighbours.forget(rows, is_gone_N)
    neighbours.forget(tables.pairs, is_gone_N)
