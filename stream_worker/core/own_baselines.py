"""The baselines of a user's own items: the last ones, or the most frequent ones, in front of other rankings.

They keep the promises of `core.baselines`, and its shapes; L ring entries (oldest first, -1: none).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_worker.core.baselines import (
    TOP,
    CoVisitation,
    RecentPopularity,
    add_pairs,
    as_column,
    count_neighbours,
    count_popular,
    event_columns,
)

LAST = 8  # newest places of the ring that `OwnLast` puts in front, as `benchmarks/quality/baselines.py` does; not tuned


class OwnLast(CoVisitation):
    """A ranking by the user's own last items, newest first, then first-order Markov, then recent popularity.

    Markov: the items that came right after the user's newest one, the most frequent ones first.
    """

    neighbours: ClassVar[int] = 32  # enough for the places behind the own items; bounds the memory (not tuned)

    def rank_then_learn(
        self,
        windows_BW: NDArray[np.integer],
        items_B: NDArray[np.integer],
        learn_B: NDArray[np.bool_],
        within_B: NDArray[np.int16] | None = None,
        judge_B: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int32]:
        """Rank and count: see `RecentPopularity.rank_then_learn`.

        `windows_BW`: the rows of each user's newest items, oldest first; only the last eight are used.
        """
        own_BW = as_column(np.int32, windows_BW[:, -LAST:])
        self.grow(int(max(items_B.max(initial=-1), own_BW.max(initial=-1))) + 1)
        ranks_B = np.zeros(len(items_B), dtype=np.int32)
        events = event_columns(items_B, learn_B, within_B, judge_B)
        _own_last_pass(own_BW, as_column(np.int32, own_BW[:, -1:]), *events, ranks_B, *self.tables())
        return ranks_B


class OwnMost(RecentPopularity):
    """A ranking by how often an item stands in the user's ring, of equal ones the newer first, then by popularity."""

    def __init__(self) -> None:
        super().__init__()
        self.own_N = np.zeros_like(self.count_N)  # scratch, zero between calls

    def rank_then_learn(
        self,
        windows_BW: NDArray[np.integer],
        items_B: NDArray[np.integer],
        learn_B: NDArray[np.bool_],
        within_B: NDArray[np.int16] | None = None,
        judge_B: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int32]:
        """Rank and count: see `RecentPopularity.rank_then_learn`.

        `windows_BW`: the rows of each user's items, oldest first.
        """
        windows_BL = as_column(np.int32, windows_BW)
        self.grow(int(max(items_B.max(initial=-1), windows_BL.max(initial=-1))) + 1)
        ranks_B = np.zeros(len(items_B), dtype=np.int32)
        events = event_columns(items_B, learn_B, within_B, judge_B)
        _own_most_pass(windows_BL, *events, ranks_B, self.own_N, *self.tables())
        return ranks_B

    def grow(self, rows: int) -> None:
        super().grow(rows)
        self.own_N = np.zeros(len(self.count_N), dtype=np.int32) if len(self.own_N) < len(self.count_N) else self.own_N


@njit(cache=True, nogil=True)
def _own_last_pass(
    own_BW: NDArray[np.int32],
    newest_B1: NDArray[np.int32],
    items_B: NDArray[np.int32],
    learn_B: NDArray[np.bool_],
    within_B: NDArray[np.int16],
    judge_B: NDArray[np.bool_],
    ranks_B: NDArray[np.int32],
    neighbour_NM: NDArray[np.int32],
    weight_NM: NDArray[np.float32],
    length_N: NDArray[np.int32],
    total_N: NDArray[np.float64],
    score_N: NDArray[np.float64],
    learned_1: NDArray[np.int64],
    recent_Q: NDArray[np.int32],
    top_K: NDArray[np.int32],
    count_N: NDArray[np.int32],
    seen_N: NDArray[np.bool_],
) -> None:
    touched = np.empty(neighbour_NM.shape[1], dtype=np.int32)
    for b in range(len(items_B)):
        if items_B[b] >= 0 and judge_B[b]:
            size = count_neighbours(newest_B1[b], neighbour_NM, weight_NM, length_N, total_N, score_N, touched)
            ranks_B[b] = _rank_behind_own(items_B[b], own_BW[b], touched[:size], score_N, top_K)
            for row in touched[:size]:
                score_N[row] = 0.0
            for row in own_BW[b]:
                if row >= 0:
                    score_N[row] = 0.0
        if b + 1 == len(items_B) or within_B[b + 1] == 0:
            for k in range(b - within_B[b], b + 1):
                if items_B[k] >= 0 and learn_B[k]:
                    add_pairs(newest_B1[k], items_B[k], neighbour_NM, weight_NM, length_N, total_N)
                    count_popular(items_B[k], learned_1, recent_Q, top_K, count_N, seen_N)


@njit(cache=True, nogil=True)
def _rank_behind_own(
    item: int,
    own_W: NDArray[np.int32],
    touched: NDArray[np.int32],
    score_N: NDArray[np.float64],
    top_K: NDArray[np.int32],
) -> int:
    """Return the item's rank: own items, newest first, then `touched` by score, then the popular; 0 beyond 20.

    Own items are left with a score of -1.
    """
    rank = 0
    for k in range(len(own_W) - 1, -1, -1):
        if own_W[k] >= 0 and score_N[own_W[k]] >= 0.0:
            rank += 1
            score_N[own_W[k]] = -1.0
            if own_W[k] == item:
                return rank
    score, before = score_N[item], True
    if score > 0.0:
        rank += 1
        for row in touched:
            before = before and row != item
            rank += score_N[row] > score or (before and score_N[row] == score)
        return rank if rank <= TOP else 0
    for row in touched:
        rank += score_N[row] > 0.0
    for popular in top_K:
        if popular >= 0 and score_N[popular] == 0.0:
            rank += 1
            if popular == item:
                return rank if rank <= TOP else 0
    return 0


@njit(cache=True, nogil=True)
def _own_most_pass(
    windows_BL: NDArray[np.int32],
    items_B: NDArray[np.int32],
    learn_B: NDArray[np.bool_],
    within_B: NDArray[np.int16],
    judge_B: NDArray[np.bool_],
    ranks_B: NDArray[np.int32],
    own_N: NDArray[np.int32],
    learned_1: NDArray[np.int64],
    recent_Q: NDArray[np.int32],
    top_K: NDArray[np.int32],
    count_N: NDArray[np.int32],
    seen_N: NDArray[np.bool_],
) -> None:
    for b in range(len(items_B)):
        if items_B[b] >= 0 and judge_B[b]:
            ranks_B[b] = _rank_by_count(items_B[b], windows_BL[b], own_N, top_K)
        if b + 1 == len(items_B) or within_B[b + 1] == 0:
            for k in range(b - within_B[b], b + 1):
                if items_B[k] >= 0 and learn_B[k]:
                    count_popular(items_B[k], learned_1, recent_Q, top_K, count_N, seen_N)


@njit(cache=True, nogil=True)
def _rank_by_count(item: int, window_L: NDArray[np.int32], own_N: NDArray[np.int32], top_K: NDArray[np.int32]) -> int:
    """Return the item's rank: own items by count, of equal ones the newer first, then the popular; 0 beyond 20.

    `own_N`: zero before and after.
    """
    for row in window_L:
        if row >= 0:
            own_N[row] += 1
    rank = _own_place(item, window_L, own_N) if own_N[item] else _popular_place(item, window_L, own_N, top_K)
    for row in window_L:
        if row >= 0:
            own_N[row] = 0
    return rank if rank <= TOP else 0


@njit(cache=True, nogil=True)
def _own_place(item: int, window_L: NDArray[np.int32], own_N: NDArray[np.int32]) -> int:
    """Return the place of one of the user's own items; the counts of those that were looked at are turned negative."""
    place, count, newer = 1, own_N[item], True
    for k in range(len(window_L) - 1, -1, -1):
        row = window_L[k]
        newer = newer and row != item
        if row >= 0 and own_N[row] > 0:
            place += own_N[row] > count or (newer and own_N[row] == count)
            own_N[row] = -own_N[row]
    return place


@njit(cache=True, nogil=True)
def _popular_place(item: int, window_L: NDArray[np.int32], own_N: NDArray[np.int32], top_K: NDArray[np.int32]) -> int:
    """Return the place of another item behind all of the user's own; beyond the last popular one: more than 20."""
    place = 0
    for row in window_L:
        if row >= 0 and own_N[row] > 0:
            place += 1
            own_N[row] = -own_N[row]
    for popular in top_K:
        if popular >= 0 and own_N[popular] == 0:
            place += 1
            if popular == item:
                return place
    return TOP + 1
