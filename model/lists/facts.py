"""Facts about each row that may stand in a user's list: what the user did with it, and how long ago.

Shape suffixes: M rows that may stand in the list, L ring entries, P places of the hash table, T event types.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import NO_GAP, SESSION_ENDS
from model.counting.tables import SECONDS
from model.kernels import kernel
from model.lists.rules import CART, PURCHASE, REMOVE, VIEW

# Bits of a fact: the item stands in the ring; it was touched in this session; it lies in the cart; it was bought; it
# was taken out of the cart, or bought, after it was last put there.
IS_SEEN, IS_IN_SESSION, IS_IN_CART, IS_BOUGHT, HAS_LEFT_CART = 1, 2, 4, 8, 16
_PLACES = 2_048  # of the hash table; a power of two, at least twice the rows that may stand in a list
MOST_ROWS = _PLACES // 2


class Facts(NamedTuple):
    """Facts about M rows of one user, and the hash table that finds a row's place among them.

    fact_M: bits
    clicks_M: views since the user last bought the item
    bought_seconds_M: seconds since the user last bought it
    place_P: place of a row, -1: none
    """

    fact_M: NDArray[np.uint8]
    clicks_M: NDArray[np.int32]
    bought_seconds_M: NDArray[np.float64]
    place_P: NDArray[np.int32]


def empty(rows: int) -> Facts:
    """Return working memory for up to so many rows. Raises ValueError for more than the hash table has room for."""
    if rows > MOST_ROWS:
        raise ValueError(f"a list can be made of at most {MOST_ROWS} rows, got {rows}")
    return Facts(
        np.zeros(rows, np.uint8), np.zeros(rows, np.int32), np.zeros(rows), np.full(_PLACES, -1, np.int32)
    )  # fmt: skip


@kernel
def _find(facts: Facts, rows_M, row):  # type: ignore[no-untyped-def]
    """Return the place in the hash table of a row, or the free one where it belongs."""
    p = (np.int64(row) * 2_654_435_761 >> 7) & (_PLACES - 1)
    while facts.place_P[p] >= 0 and rows_M[facts.place_P[p]] != row:
        p = (p + 1) & (_PLACES - 1)
    return p


@kernel
def enter(facts: Facts, rows_M, m):  # type: ignore[no-untyped-def]
    """Enter the row at place `m`, without facts. Returns True if it is not there yet."""
    p = _find(facts, rows_M, rows_M[m])
    if facts.place_P[p] >= 0:
        return False
    facts.place_P[p] = m
    facts.fact_M[m], facts.clicks_M[m], facts.bought_seconds_M[m] = 0, 0, np.inf
    return True


@kernel
def clear(facts: Facts):  # type: ignore[no-untyped-def]
    facts.place_P[:] = -1


@kernel
def look_back(facts: Facts, rows_M, role_T, window_L, type_L, gap_L, idle):  # type: ignore[no-untyped-def]
    """Write the facts of all rows that were entered, from the newest ring entry to the oldest.

    role_T: the role of each event type
    window_L, type_L, gap_L: item rows (-1: none), types and gap buckets of the ring
    idle: log(1 + seconds since the user's last event)
    """
    seconds = np.expm1(idle)
    in_session = seconds < 2.0**SESSION_ENDS
    for d in range(len(window_L)):
        j = len(window_L) - 1 - d
        if window_L[j] >= 0:
            m = facts.place_P[_find(facts, rows_M, window_L[j])]
            if m >= 0:
                _note(facts, m, role_T[type_L[j]], seconds, in_session)
        in_session = in_session and gap_L[j] < SESSION_ENDS
        seconds += SECONDS[gap_L[j]] if gap_L[j] < NO_GAP else 0.0


@kernel
def _note(facts: Facts, m, role, seconds, in_session):  # type: ignore[no-untyped-def]
    """Note one event; later ones of the item were noted before."""
    fact = facts.fact_M[m] | IS_SEEN
    if in_session:
        fact |= IS_IN_SESSION
    if role == VIEW and not fact & IS_BOUGHT:
        facts.clicks_M[m] += 1
    if role == CART and not fact & HAS_LEFT_CART:
        fact |= IS_IN_CART
    if role in (REMOVE, PURCHASE):
        fact |= HAS_LEFT_CART
    if role == PURCHASE and not fact & IS_BOUGHT:
        fact |= IS_BOUGHT
        facts.bought_seconds_M[m] = seconds
    facts.fact_M[m] = fact
