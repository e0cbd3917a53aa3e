"""The baselines: rankings by plain counting, computed beside the model on the same events.

They are exact in sequence, inside a batch too: event k is ranked by what came before k, and then counted; the events of
a set are counted once all of them are ranked. Items are catalogue rows, and -1 means none. A rank counts from 1; 0
means that the item is not among the first 20. Only the rank of the item that came is computed, never the list. Shapes:
N rows, M neighbours, Q remembered events, W window (oldest first, -1 in front), B events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

TOP = 20  # length of a ranking in items, as K in docs/experiments
# `benchmarks/quality/baselines.py` counts with the same memory, refresh, window and decay. None of them is tuned.
_MEMORY = 5_000  # events that popularity is counted over
_REFRESH = 200  # events between two rankings by popularity
_WINDOW = 5  # newest items of the user that are looked at
_DECAY = 0.6  # weight of an item of the window, relative to the next newer one
FIRST_CAPACITY = 1024  # rows in the tables at first; they grow by doubling


class RecentPopularity:
    """A ranking by popularity: the 20 most frequent items of the last 5,000 events, ranked anew every 200 events."""

    def __init__(self) -> None:
        self.learned_1 = np.zeros(1, dtype=np.int64)
        self.recent_Q = np.full(_MEMORY, -1, dtype=np.int32)
        self.top_K = np.full(TOP, -1, dtype=np.int32)
        self.count_N = np.zeros(FIRST_CAPACITY, dtype=np.int32)
        self.seen_N = np.zeros(FIRST_CAPACITY, dtype=np.bool_)  # scratch, False between calls

    def rank_then_learn(
        self,
        windows_BW: NDArray[np.integer],
        items_B: NDArray[np.integer],
        learn_B: NDArray[np.bool_],
        within_B: NDArray[np.int16] | None = None,
        judge_B: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int32]:
        """Return the rank of each item, 0 if it is not among the first 20, and count those that are to be learned.

        `windows_BW`: ignored; it is here so that all baselines are called alike.
        `items_B`: the row of the item that came, -1 for none.
        `learn_B`: True for the events that are counted after they were ranked.
        `within_B`: how many events of the same set stand before each event; None: no event is of a set.
        `judge_B`: True for the events to rank, the others get 0; None: all.
        """
        self.grow(int(items_B.max(initial=-1)) + 1)
        ranks_B = np.zeros(len(items_B), dtype=np.int32)
        events = event_columns(items_B, learn_B, within_B, judge_B)
        _popularity_pass(*events, ranks_B, *self.tables())
        return ranks_B

    def tables(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays that the kernels count in, in the order of their arguments."""
        return self.learned_1, self.recent_Q, self.top_K, self.count_N, self.seen_N

    def grow(self, rows: int) -> None:
        """Make room for at least `rows` rows, by doubling."""
        self.count_N, self.seen_N = (_doubled(table, rows) for table in (self.count_N, self.seen_N))

    def forget(self, rows: NDArray[np.integer]) -> None:
        """Forget all events of these rows, since other items will use the rows from now on."""
        self.recent_Q[np.isin(self.recent_Q, rows)] = -1
        kept = self.top_K[~np.isin(self.top_K, rows)]
        self.top_K[:] = np.pad(kept, (0, TOP - len(kept)), constant_values=-1)
        self.count_N[rows[rows < len(self.count_N)]] = 0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"learned": self.learned_1.copy(), "recent": self.recent_Q.copy(), "top": self.top_K.copy()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.learned_1[:], self.recent_Q[:], self.top_K[:] = state["learned"], state["recent"], state["top"]
        self.grow(int(self.recent_Q.max()) + 1)
        self.count_N[:] = np.bincount(self.recent_Q[self.recent_Q >= 0], minlength=len(self.count_N))


class CoVisitation:
    """A ranking by decayed co-visitation.

    An item scores sum_k .6^k weight(j_k, item) / total(j_k) over the user's last five items j_0 (newest) to j_4. Each
    pair that was seen adds .6^k to its weight. A row keeps 64 neighbours; a new one replaces the weakest. Recent
    popularity fills the ranking up to 20 items.
    """

    neighbours: ClassVar[int] = 64  # neighbours of an item; bounds the memory (not tuned)

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        """Set all tables to zero, with room for the first rows."""
        # Its own popularity, not the other baseline's: inside a batch it advances event by event with the pairs.
        self.popularity = RecentPopularity()
        self.neighbour_NM = np.zeros((FIRST_CAPACITY, self.neighbours), dtype=np.int32)
        self.weight_NM = np.zeros((FIRST_CAPACITY, self.neighbours), dtype=np.float32)
        self.length_N = np.zeros(FIRST_CAPACITY, dtype=np.int32)
        self.total_N = np.zeros(FIRST_CAPACITY, dtype=np.float64)
        self.score_N = np.zeros(FIRST_CAPACITY, dtype=np.float64)  # scratch, zero between calls

    def rank_then_learn(
        self,
        windows_BW: NDArray[np.integer],
        items_B: NDArray[np.integer],
        learn_B: NDArray[np.bool_],
        within_B: NDArray[np.int16] | None = None,
        judge_B: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int32]:
        """Rank and count: see `RecentPopularity.rank_then_learn`.

        `windows_BW`: the rows of each user's newest items, oldest first; only the last five are used.
        """
        newest_BW = as_column(np.int32, windows_BW[:, -_WINDOW:])
        self.grow(int(max(items_B.max(initial=-1), newest_BW.max(initial=-1))) + 1)
        ranks_B = np.zeros(len(items_B), dtype=np.int32)
        events = event_columns(items_B, learn_B, within_B, judge_B)
        _covisitation_pass(newest_BW, *events, ranks_B, *self.tables())
        return ranks_B

    def tables(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays that the kernels count in, in the order of their arguments."""
        pairs = (self.neighbour_NM, self.weight_NM, self.length_N, self.total_N, self.score_N)
        return (*pairs, *self.popularity.tables())

    def grow(self, rows: int) -> None:
        """Make room for at least `rows` rows, by doubling."""
        self.popularity.grow(rows)
        self.neighbour_NM, self.weight_NM = _doubled(self.neighbour_NM, rows), _doubled(self.weight_NM, rows)
        self.length_N, self.total_N = _doubled(self.length_N, rows), _doubled(self.total_N, rows)
        self.score_N = _doubled(self.score_N, rows)

    def forget(self, rows: NDArray[np.integer]) -> None:
        """Remove these rows from all neighbours, since other items will use the rows from now on."""
        self.popularity.forget(rows)
        gone_N = np.zeros(len(self.length_N), dtype=np.bool_)
        gone_N[rows[rows < len(gone_N)]] = True
        _forget_pairs(gone_N, self.neighbour_NM, self.weight_NM, self.length_N, self.total_N)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the rows end to end, without their empty places."""
        used = int(np.flatnonzero(self.total_N).max(initial=-1)) + 1
        kept_NM = np.arange(self.neighbours) < self.length_N[:used, None]
        pairs: dict[str, NDArray[Any]] = {
            "neighbours": self.neighbour_NM[:used][kept_NM],
            "weights": self.weight_NM[:used][kept_NM],
            "lengths": self.length_N[:used].copy(),
            "totals": self.total_N[:used].copy(),
        }
        return pairs | {f"popularity.{name}": array for name, array in self.popularity.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        head = "popularity."
        self._empty()
        used = len(state["lengths"])
        self.popularity.load_state_dict({name[len(head) :]: a for name, a in state.items() if name.startswith(head)})
        self.grow(max(used, len(self.popularity.count_N)))
        self.length_N[:used], self.total_N[:used] = state["lengths"], state["totals"]
        kept_NM = np.arange(self.neighbours) < self.length_N[:, None]
        self.neighbour_NM[kept_NM], self.weight_NM[kept_NM] = state["neighbours"], state["weights"]


def as_column(dtype: type[np.generic], column: NDArray[Any]) -> NDArray[Any]:
    # One memory layout for the kernels: numba would compile a second version for a strided or a read-only column.
    return np.require(column, dtype, ["C", "W"])


def event_columns(
    items_B: NDArray[Any], learn_B: NDArray[Any], within_B: NDArray[Any] | None, judge_B: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    within_B = np.zeros(len(items_B), np.int16) if within_B is None else within_B
    judge_B = np.ones(len(items_B), np.bool_) if judge_B is None else judge_B
    return (
        as_column(np.int32, items_B),
        as_column(np.bool_, learn_B),
        as_column(np.int16, within_B),
        as_column(np.bool_, judge_B),
    )


def _doubled(table_N: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return the table with at least `rows` rows; its length doubles until it is enough, and new rows are zero."""
    size = len(table_N)
    while size < rows:
        size *= 2
    if size == len(table_N):
        return table_N
    # The system maps zeros on first touch, so rows that no item uses yet cost no memory.
    larger = np.zeros((size, *table_N.shape[1:]), dtype=table_N.dtype)
    larger[: len(table_N)] = table_N
    return larger


@njit(cache=True, nogil=True)
def _popularity_pass(
    items_B: NDArray[np.int32],
    learn_B: NDArray[np.bool_],
    within_B: NDArray[np.int16],
    judge_B: NDArray[np.bool_],
    ranks_B: NDArray[np.int32],
    learned_1: NDArray[np.int64],
    recent_Q: NDArray[np.int32],
    top_K: NDArray[np.int32],
    count_N: NDArray[np.int32],
    seen_N: NDArray[np.bool_],
) -> None:
    for b in range(len(items_B)):
        if items_B[b] >= 0 and judge_B[b]:
            for place in range(TOP):
                if top_K[place] == items_B[b]:
                    ranks_B[b] = place + 1
        if b + 1 == len(items_B) or within_B[b + 1] == 0:
            for k in range(b - within_B[b], b + 1):
                if items_B[k] >= 0 and learn_B[k]:
                    count_popular(items_B[k], learned_1, recent_Q, top_K, count_N, seen_N)


@njit(cache=True, nogil=True)
def _covisitation_pass(
    windows_BW: NDArray[np.int32],
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
    touched = np.empty(windows_BW.shape[1] * neighbour_NM.shape[1], dtype=np.int32)
    for b in range(len(items_B)):
        item = items_B[b]
        if item >= 0 and judge_B[b]:
            size = count_neighbours(windows_BW[b], neighbour_NM, weight_NM, length_N, total_N, score_N, touched)
            ranks_B[b] = _rank(item, size, score_N, touched, top_K)
            for t in range(size):
                score_N[touched[t]] = 0.0
        if b + 1 == len(items_B) or within_B[b + 1] == 0:
            for k in range(b - within_B[b], b + 1):
                if items_B[k] >= 0 and learn_B[k]:
                    add_pairs(windows_BW[k], items_B[k], neighbour_NM, weight_NM, length_N, total_N)
                    count_popular(items_B[k], learned_1, recent_Q, top_K, count_N, seen_N)


@njit(cache=True, nogil=True)
def count_neighbours(
    window_W: NDArray[np.int32],
    neighbour_NM: NDArray[np.int32],
    weight_NM: NDArray[np.float32],
    length_N: NDArray[np.int32],
    total_N: NDArray[np.float64],
    score_N: NDArray[np.float64],
    touched: NDArray[np.int32],
) -> int:
    """Write the candidates' scores to `score_N` and their rows to `touched`; return how many there are."""
    size, decay = 0, 1.0
    for k in range(len(window_W) - 1, -1, -1):
        row = window_W[k]
        if row >= 0 and total_N[row] > 0.0:
            share = decay / total_N[row]
            for m in range(length_N[row]):
                candidate = neighbour_NM[row, m]
                if score_N[candidate] == 0.0:
                    touched[size] = candidate
                    size += 1
                score_N[candidate] += share * weight_NM[row, m]
        decay *= _DECAY
    return size


@njit(cache=True, nogil=True)
def _rank(
    item: int, size: int, score_N: NDArray[np.float64], touched: NDArray[np.int32], top_K: NDArray[np.int32]
) -> int:
    """Return the item's rank: the candidates by score (ties: first touched first), then the popular; 0 beyond 20."""
    score = score_N[item]
    if score > 0.0:
        rank, before = 1, True
        for t in range(size):
            before = before and touched[t] != item
            if score_N[touched[t]] > score or (before and score_N[touched[t]] == score):
                rank += 1
        return rank if rank <= TOP else 0
    rank = size
    for popular in top_K:
        if popular >= 0 and score_N[popular] == 0.0:
            rank += 1
            if popular == item:
                return rank if rank <= TOP else 0
    return 0


@njit(cache=True, nogil=True)
def add_pairs(
    window_W: NDArray[np.int32],
    item: int,
    neighbour_NM: NDArray[np.int32],
    weight_NM: NDArray[np.float32],
    length_N: NDArray[np.int32],
    total_N: NDArray[np.float64],
) -> None:
    """Add `item` to the neighbours of the window's items; in a full row it replaces the weakest neighbour."""
    decay = 1.0
    for k in range(len(window_W) - 1, -1, -1):
        row = window_W[k]
        if row >= 0:
            place, weakest, length = -1, 0, length_N[row]
            for m in range(length):
                if neighbour_NM[row, m] == item:
                    place = m
                    break
                if weight_NM[row, m] < weight_NM[row, weakest]:
                    weakest = m
            if place < 0:
                place = weakest
                if length < neighbour_NM.shape[1]:
                    place = length
                    length_N[row] += 1
                neighbour_NM[row, place] = item
                weight_NM[row, place] = 0.0
            weight_NM[row, place] += decay
            total_N[row] += decay
        decay *= _DECAY


@njit(cache=True, nogil=True)
def count_popular(
    item: int,
    learned_1: NDArray[np.int64],
    recent_Q: NDArray[np.int32],
    top_K: NDArray[np.int32],
    count_N: NDArray[np.int32],
    seen_N: NDArray[np.bool_],
) -> None:
    """Count the event in the place of the oldest one; rank the most frequent items anew every 200 events."""
    place = learned_1[0] % len(recent_Q)
    if recent_Q[place] >= 0:
        count_N[recent_Q[place]] -= 1
    recent_Q[place] = item
    count_N[item] += 1
    learned_1[0] += 1
    if learned_1[0] % _REFRESH == 0:
        _refresh(learned_1[0], recent_Q, top_K, count_N, seen_N)


@njit(cache=True, nogil=True)
def _refresh(
    learned: int,
    recent_Q: NDArray[np.int32],
    top_K: NDArray[np.int32],
    count_N: NDArray[np.int32],
    seen_N: NDArray[np.bool_],
) -> None:
    """Write the most frequent rows to `top_K`; of equal ones the one that was remembered first stands first.

    The time is proportional to the remembered events, not to the catalogue.
    """
    size = 0
    top_K[:] = -1
    for q in range(len(recent_Q)):
        row = recent_Q[(learned + q) % len(recent_Q)]
        if row < 0 or seen_N[row]:
            continue
        seen_N[row] = True
        if size < TOP:
            size += 1
        elif count_N[row] <= count_N[top_K[TOP - 1]]:
            continue
        place = size - 1
        while place > 0 and count_N[top_K[place - 1]] < count_N[row]:
            top_K[place] = top_K[place - 1]
            place -= 1
        top_K[place] = row
    for row in recent_Q:
        if row >= 0:
            seen_N[row] = False


@njit(cache=True, nogil=True)
def _forget_pairs(
    gone_N: NDArray[np.bool_],
    neighbour_NM: NDArray[np.int32],
    weight_NM: NDArray[np.float32],
    length_N: NDArray[np.int32],
    total_N: NDArray[np.float64],
) -> None:
    """Empty the rows that are gone and remove them from other rows' neighbours; totals stay as counted."""
    for row in range(len(length_N)):
        kept = 0
        for m in range(length_N[row]):
            if not gone_N[row] and not gone_N[neighbour_NM[row, m]]:
                neighbour_NM[row, kept] = neighbour_NM[row, m]
                weight_NM[row, kept] = weight_NM[row, m]
                kept += 1
        length_N[row] = kept
        if gone_N[row]:
            total_N[row] = 0.0
