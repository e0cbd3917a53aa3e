"""Purchases: how many of them were by users who had bought the same item before, and after which time.

Milk is bought again and a toilet isn't. An item of which little is known goes by its category, and that by all items:
    share(item) = (again + 5 share(category)) / (bought + 5)
and alike for a category, and for all with a prior of .05 that weighs as much as 20 purchases. None of these is tuned.

Purchases of one session are one purchase: shops write an event for each piece.

Shape suffixes: N rows of the catalogue, C buckets of category codes, B events, L ring entries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import NO_GAP, SESSION_ENDS
from model.counting.tables import SECONDS
from model.kernels import kernel
from model.lists.rules import PURCHASE

_BUCKETS = 4_096  # categories that share a bucket share counts; not tuned
_OF_CATEGORY, _OF_ALL, _PRIOR = 5.0, 20.0, 0.05
# An item is bought again and again if so large a share of its purchases is by users who had it before; not tuned.
_AGAIN = 0.25
# An item that is bought again is left out for this part of the usual time between two purchases; not tuned.
_WAIT = 0.5


class Purchases(NamedTuple):
    """Counts by catalogue row, by bucket of categories, and of all items.

    bought_N, bought_C, bought_1: purchases
    again_N, again_C, again_1: those by users who had bought the same item in an earlier session
    log_wait_N, log_wait_C, log_wait_1: sums of log2(1 + seconds since then)
    """

    bought_N: NDArray[np.float32]
    again_N: NDArray[np.float32]
    log_wait_N: NDArray[np.float32]
    bought_C: NDArray[np.float32]
    again_C: NDArray[np.float32]
    log_wait_C: NDArray[np.float32]
    bought_1: NDArray[np.float64]
    again_1: NDArray[np.float64]
    log_wait_1: NDArray[np.float64]


_BY_ROW = ("bought_N", "again_N", "log_wait_N")


def empty(rows: int) -> Purchases:
    def zeros(size: int) -> NDArray[np.float32]:
        return np.zeros(size, np.float32)

    return Purchases(
        bought_N=zeros(rows),
        again_N=zeros(rows),
        log_wait_N=zeros(rows),
        bought_C=zeros(_BUCKETS),
        again_C=zeros(_BUCKETS),
        log_wait_C=zeros(_BUCKETS),
        bought_1=np.zeros(1),
        again_1=np.zeros(1),
        log_wait_1=np.zeros(1),
    )


def grown(purchases: Purchases, rows: int) -> Purchases:
    longer = {name: np.pad(getattr(purchases, name), (0, rows - len(purchases.bought_N))) for name in _BY_ROW}
    return purchases._replace(**longer)


def forget(purchases: Purchases, rows: NDArray[np.int64]) -> None:
    """Clear the counts of evicted rows; those of their categories stay."""
    for name in _BY_ROW:
        getattr(purchases, name)[rows] = 0.0


def state_of(purchases: Purchases) -> dict[str, NDArray[Any]]:
    return dict(purchases._asdict())


def from_state(state: dict[str, NDArray[Any]], rows: int) -> Purchases:
    """Return the counts of a state, for at least so many rows; of older states, which have none: zeros."""
    loaded = empty(rows)._replace(**{name: array.copy() for name, array in state.items()})
    return grown(loaded, max(rows, len(loaded.bought_N)))


@kernel
def count(purchases: Purchases, role_T, windows_BL, types_BL, gaps_BL, own_gap_B, row_B, type_B, learn_B, category_N):  # type: ignore[no-untyped-def]
    """Count the purchases among B events.

    role_T: the role of each event type
    windows_BL, types_BL, gaps_BL: item rows (-1: none), types and gap buckets of the rings before the events
    own_gap_B: gap bucket between the user's event before and the event itself
    row_B, type_B: item row and type of each event
    learn_B: True for events to count
    category_N: category codes of the rows
    """
    for k in range(len(row_B)):
        if learn_B[k] and role_T[type_B[k]] == PURCHASE:
            wait = _wait(role_T, windows_BL[k], types_BL[k], gaps_BL[k], own_gap_B[k], row_B[k])
            if wait != 0.0:
                _count_one(purchases, row_B[k], category_N[row_B[k]] % _BUCKETS, wait)


@kernel
def _wait(role_T, window_L, type_L, gap_L, own_gap, item):  # type: ignore[no-untyped-def]
    """Return log2(1 + seconds) since the user bought the item before: -1: never, 0: in this session."""
    seconds, in_session = SECONDS[own_gap], own_gap < SESSION_ENDS
    for d in range(len(window_L)):
        j = len(window_L) - 1 - d
        if window_L[j] == item and role_T[type_L[j]] == PURCHASE:
            return 0.0 if in_session else np.log2(1.0 + seconds)
        in_session = in_session and gap_L[j] < SESSION_ENDS
        seconds += SECONDS[gap_L[j]] if gap_L[j] < NO_GAP else 0.0
    return -1.0


@kernel
def _count_one(purchases: Purchases, row, bucket, wait):  # type: ignore[no-untyped-def]
    again = wait > 0.0
    purchases.bought_N[row] += np.float32(1.0)
    purchases.bought_C[bucket] += np.float32(1.0)
    purchases.bought_1[0] += 1.0
    if again:
        purchases.again_N[row] += np.float32(1.0)
        purchases.again_C[bucket] += np.float32(1.0)
        purchases.again_1[0] += 1.0
        purchases.log_wait_N[row] += np.float32(wait)
        purchases.log_wait_C[bucket] += np.float32(wait)
        purchases.log_wait_1[0] += wait


@kernel
def are_over(purchases: Purchases, row, category, seconds):  # type: ignore[no-untyped-def]
    """True if a user who bought an item so many seconds ago is not expected to buy it again by now.

    category: code of the item's category
    """
    bucket = category % _BUCKETS
    of_all = (purchases.again_1[0] + _OF_ALL * _PRIOR) / (purchases.bought_1[0] + _OF_ALL)
    of_category = (purchases.again_C[bucket] + _OF_CATEGORY * of_all) / (purchases.bought_C[bucket] + _OF_CATEGORY)
    share = (purchases.again_N[row] + _OF_CATEGORY * of_category) / (purchases.bought_N[row] + _OF_CATEGORY)
    return share < _AGAIN or seconds < _WAIT * _usual_wait(purchases, row, bucket)


@kernel
def _usual_wait(purchases: Purchases, row, bucket):  # type: ignore[no-untyped-def]
    """Return the usual seconds between two purchases of an item, the geometric mean, smoothed as shares are."""
    of_all = purchases.log_wait_1[0] / max(purchases.again_1[0], 1.0)
    of_category = (purchases.log_wait_C[bucket] + of_all) / (purchases.again_C[bucket] + 1.0)
    return 2.0 ** ((purchases.log_wait_N[row] + of_category) / (purchases.again_N[row] + 1.0)) - 1.0
