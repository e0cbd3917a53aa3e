"""The counting tables: five kinds of neighbours per item (next, plain, forward, backward, wide), popularity and more.

Shape suffixes: T tables, N rows of the catalogue, L ring entries. d: places back in a ring (0: the newest item).
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

# NEXT: the item that came next, decayed at every update of the row; PLAIN: the same without decay. FORWARD, BACKWARD:
# items that came soon after, and before. WIDE: items within a wider span, both ways.
NEXT, PLAIN, FORWARD, BACKWARD, WIDE = range(5)
TABLES = 5
# Newest items of the ring that an event is counted beside. 10: not tuned. 20 with a fade of .93: no worse than 50 with
# .97 (docs/experiments/neighbours.md).
FORWARD_SPAN, WIDE_SPAN = 10, 20
# Calls of `neighbours.add` per event at most; each may widen one row. Per item two in WIDE and one each in FORWARD and
# BACKWARD; one each in NEXT and PLAIN.
ADDS_AN_EVENT = 2 * WIDE_SPAN + 2 * FORWARD_SPAN + 2

# Seconds at which each gap bucket begins (see `user_table`); 0 for a user's first event.
SECONDS = np.append(2.0 ** np.arange(NO_GAP) - 1.0, 0.0)

# Factor on the counts of a row in NEXT per update; weight per place back in the ring, in FORWARD and BACKWARD, and in
# WIDE. The last one: see WIDE_SPAN; the others are not tuned.
_NEXT_DECAY, _FORWARD_FADE, _WIDE_FADE = 0.97, 0.7, 0.93


class Tables(NamedTuple):
    """The neighbours of each row, popularity and returns. category_N: category code of each row (see `categories`)."""

    rows: NeighbourRows
    popularity: Popularity
    returns: Returns
    category_N: NDArray[np.uint32]


def empty(rows: int, most: int) -> Tables:
    """Return empty tables for a catalogue of `rows` with at most `most` neighbours each."""
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
    """Return the tables with room for `events` more, since kernels do not allocate."""
    return tables._replace(rows=neighbours.with_room(tables.rows, events * ADDS_AN_EVENT * tables.rows.most))


def forget(tables: Tables, rows: NDArray[np.int64]) -> None:
    """Clear the counts of evicted rows, and remove the rows from the neighbours of all others."""
    is_gone_N = np.zeros(len(tables.rows.start_TN[0]), np.bool_)
    is_gone_N[rows] = True
    neighbours.forget(tables.rows, is_gone_N)
    popularity.forget(tables.popularity, rows)
    tables.category_N[rows] = 0


def fade(tables: Tables, share: float) -> None:
    """Multiply the counts of all neighbours by `share`. Popularity has half-lives of its own and stays."""
    rows = tables.rows
    rows.weight_X[: int(rows.used_1[0])] *= np.float32(share)
    rows.total_TN[:] *= np.float32(share)


@kernel
def learn(tables: Tables, window_L, type_L, gap_L, idle, item, category, late, mark_N):  # type: ignore[no-untyped-def]
    """Count one event.

    window_L, type_L, gap_L: item rows (-1: none), event types and gap buckets of the user's ring before the event
    idle: log(1 + seconds since the user's last event)
    item: row of the event's item
    category: category code that the event names, 0: none
    late: True if it counts for pairs and all-time popularity alone
    mark_N: see `returns.count`
    """
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
    popularity.count(tables.popularity, item, late)
    if not late:
        returns.count(tables.returns, window_L, type_L, returns.session_places(gap_L, idle), item, mark_N)
        categories.assign(tables.category_N, item, category)


@kernel
def _add_both(rows: NeighbourRows, table, one, other, weight):  # type: ignore[no-untyped-def]
    neighbours.add(rows, table, one, other, weight, 1.0)
    neighbours.add(rows, table, other, one, weight, 1.0)
