"""What is counted of every event: who follows whom, who stands beside whom.

Legend: d places back in a window (0: the newest item), N rows of the catalogue.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import NO_GAP
from model.counting import categories, neighbours, popularity, returns
from model.counting.neighbours import NeighbourRows
from model.counting.popularity import Popularity
from model.counting.returns import Returns
from model.kernels import kernel

# What came next, decaying with every update of the row, and not; what came within a window after and before; who
# stands within a wide window, both ways.
NEXT, PLAIN, FORWARD, BACKWARD, WIDE = range(5)
TABLES = 5
FORWARD_SPAN, WIDE_SPAN = 10, 20
# Each may widen one row: two for each of 20 places in WIDE, one for each of 10 in FORWARD and BACKWARD.
ADDS_AN_EVENT = 2 * WIDE_SPAN + 2 * FORWARD_SPAN + 2

# What each gap bucket stands for (see `memory.unroll`); 0 for a user's first event.
SECONDS = np.append(2.0 ** np.arange(NO_GAP) - 1.0, 0.0)

_NEXT_DECAY, _FORWARD_FADE, _WIDE_FADE = 0.97, 0.7, 0.93


class Tables(NamedTuple):
    """All that is counted; category_N: see `categories`."""

    rows: NeighbourRows
    popularity: Popularity
    returns: Returns
    category_N: NDArray[np.uint32]


def empty(rows: int, most: int) -> Tables:
    """Of a catalogue of `rows`, each with at most `most` neighbours."""
    return Tables(
        rows=neighbours.empty(TABLES, rows, most),
        popularity=popularity.empty(rows),
        returns=returns.empty(),
        category_N=np.zeros(rows, np.uint32),
    )


def grown(tables: Tables, rows: int) -> Tables:
    return tables._replace(
        rows=neighbours.grown(tables.rows, rows),
        popularity=popularity.grown(tables.popularity, rows),
        category_N=np.pad(tables.category_N, (0, rows - len(tables.category_N))),
    )


def with_room(tables: Tables, events: int) -> Tables:
    """The same with room for so many events more: kernels do not allocate."""
    return tables._replace(rows=neighbours.with_room(tables.rows, events * ADDS_AN_EVENT * tables.rows.most))


def forget(tables: Tables, rows: NDArray[np.int64]) -> None:
    """Recycle rows: their own counts go, and every place where others name them."""
    is_gone_N = np.zeros(len(tables.rows.start_TN[0]), np.bool_)
    is_gone_N[rows] = True
    neighbours.forget(tables.rows, is_gone_N)
    popularity.forget(tables.popularity, rows)
    tables.category_N[rows] = 0


def fade(tables: Tables, share: float) -> None:
    """Multiply the counts of all neighbours by `share`; what is hot has half-lives of its own."""
    rows = tables.rows
    rows.weight_X[: int(rows.used_1[0])] *= np.float32(share)
    rows.total_TN[:] *= np.float32(share)


@kernel
def learn(tables: Tables, window_L, type_L, item, category, mark_N):  # type: ignore[no-untyped-def]
    """Count one event: `item`, of this category, came after `window_L`. mark_N: see `returns.count`."""
    ring, rows = len(window_L), tables.rows
    forward, wide = 1.0, 1.0
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
        forward *= _FORWARD_FADE
        wide *= _WIDE_FADE
    popularity.count(tables.popularity, item)
    returns.count(tables.returns, window_L, type_L, item, mark_N)
    categories.assign(tables.category_N, item, category)


@kernel
def _add_both(rows: NeighbourRows, table, one, other, weight):  # type: ignore[no-untyped-def]
    neighbours.add(rows, table, one, other, weight, 1.0)
    neighbours.add(rows, table, other, one, weight, 1.0)
