"""Counting: who follows whom, what is hot, what this user returns to. Bounded tables and the features they give.

The tables live on the host, in a compiled kernel that walks a batch in order: for every event first the candidates
and their features from what came before it, then the update by it. So counting is exact inside a micro-batch, and a
prediction cannot see the event it is for.

A row of a table holds at most `neighbours` items; when it is full the weakest leaves (Metwally et al., 2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NEXT, FORWARD, WIDE = 0, 1, 2
TABLES = 3
HALF_LIVES = np.array([200.0, 2_000.0, 20_000.0, 2_000_000.0])

FEATURES = (
    "next_last", "next_last_but_one", "forward_last", "forward_recent", "cosine_last", "cosine_recent", "cosine_max",
    "popularity_200", "popularity_2000", "popularity_20000", "popularity_ever",
    "own", "own_count", "own_distance", "own_is_last", "own_followed",
    "age", "unseen_for", "encoder_log_probability", "encoder_behind_best",
    "history_length", "idle", "last_gap", "repeat_share", "last_item_known",
)  # fmt: skip
ENCODER_FEATURES = (FEATURES.index("encoder_log_probability"), FEATURES.index("encoder_behind_best"))
_EPS = 1e-4
_RECENT = 5
_SPAN = 10


@dataclass(frozen=True)
class CountingConfig:
    """Bounds of the tables and of what they propose."""

    neighbours: int = 64
    candidates: int = 112
    from_counts: int = 56
    from_history: int = 24
    from_popularity: int = 8

    def __post_init__(self) -> None:
        if self.neighbours < 4:
            raise ValueError(f"model.neighbours: at least 4, got {self.neighbours}")


class Counting:
    """Tables of N rows: neighbour rows and weights [T, N, K], row totals [T, N], decayed popularity [P, N]."""

    def __init__(self, config: CountingConfig, rows: int) -> None:
        self.config = config
        k = config.neighbours
        self.neighbour_TNK = np.full((TABLES, rows, k), -1, dtype=np.int32)
        self.weight_TNK = np.zeros((TABLES, rows, k), dtype=np.float32)
        self.total_TN = np.zeros((TABLES, rows), dtype=np.float32)
        self.popularity_PN = np.zeros((len(HALF_LIVES), rows), dtype=np.float64)
        self.increment_P = np.ones(len(HALF_LIVES), dtype=np.float64)
        self._scratch(rows)

    @property
    def rows(self) -> int:
        return self.total_TN.shape[1]

    def grow(self, rows: int) -> None:
        more = rows - self.rows
        self.neighbour_TNK = np.pad(self.neighbour_TNK, ((0, 0), (0, more), (0, 0)), constant_values=-1)
        self.weight_TNK = np.pad(self.weight_TNK, ((0, 0), (0, more), (0, 0)))
        self.total_TN = np.pad(self.total_TN, ((0, 0), (0, more)))
        self.popularity_PN = np.pad(self.popularity_PN, ((0, 0), (0, more)))
        self._scratch(rows)

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Recycle rows: their own counts go, and every place where others name them."""
        named = np.isin(self.neighbour_TNK, rows)
        self.neighbour_TNK[named] = -1
        self.weight_TNK[named] = 0.0
        self.neighbour_TNK[:, rows] = -1
        self.weight_TNK[:, rows] = 0.0
        self.total_TN[:, rows] = 0.0
        self.popularity_PN[:, rows] = 0.0

    def popular(self) -> NDArray[np.int32]:
        """The rows that are hot now, by each half-life, the shortest first; every row once."""
        count = min(self.config.from_popularity, self.rows)
        tops = []
        for shares_N in self.popularity_PN:
            top = np.argpartition(-shares_N, count - 1)[:count]
            top = top[shares_N[top] > 0]
            tops.append(top[np.argsort(-shares_N[top], kind="stable")])
        return np.array(list(dict.fromkeys(np.concatenate(tops).tolist())), dtype=np.int32)

    def walk(
        self,
        windows_BL: NDArray[np.int32],
        target_B: NDArray[np.int32],
        learn_B: NDArray[np.bool_],
        idle_B: NDArray[np.float32],
        last_gap_B: NDArray[np.float32],
        encoder_rows_BE: NDArray[np.int32],
        born_N: NDArray[np.int64],
        seen_N: NDArray[np.int64],
        now_B: NDArray[np.int64],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Candidates [B, C] (row, -1: none) and features [B, C, F] of B events in order; learns where `learn_B`.

        `windows_BL` are the rows of the user's ring before the event (newest last, -1: none or not in the catalogue);
        `now_B` counts the line's events; `seen_N` is brought up to date on the way. The encoder's features are left 0.
        """
        config = self.config
        batch = len(target_B)
        candidates_BC = np.full((batch, config.candidates), -1, dtype=np.int32)
        features_BCF = np.zeros((batch, config.candidates, len(FEATURES)), dtype=np.float32)
        self._serial += batch
        _walk(
            windows_BL, target_B, learn_B, idle_B, last_gap_B, encoder_rows_BE, self.popular(),
            born_N, seen_N, now_B, np.int64(self._serial - batch),
            self.neighbour_TNK, self.weight_TNK, self.total_TN, self.popularity_PN, self.increment_P,
            0.5 ** (1.0 / HALF_LIVES), self._stamp_N, self._index_N, self._rows_X, self._counts_XT, self._quick_X,
            np.int64(config.from_counts), np.int64(config.from_history), candidates_BC, features_BCF,
        )  # fmt: skip
        return candidates_BC, features_BCF

    def state_dict(self) -> dict[str, NDArray[Any]]:
        names = ("neighbour_TNK", "weight_TNK", "total_TN", "popularity_PN", "increment_P")
        return {name: getattr(self, name).copy() for name in names}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Raises ValueError for tables of another width."""
        width = state["neighbour_TNK"].shape[2]
        if width != self.config.neighbours:
            raise ValueError(f"model.neighbours: the state has {width}, the configuration {self.config.neighbours}")
        for name, array in state.items():
            setattr(self, name, array.copy())
        self._scratch(self.rows)

    def _scratch(self, rows: int) -> None:
        most = _SPAN * 2 * self.config.neighbours + 2 * self.config.neighbours + 1024
        self._serial = 0
        self._stamp_N = np.full(rows, -1, dtype=np.int64)
        self._index_N = np.zeros(rows, dtype=np.int32)
        self._rows_X = np.zeros(most, dtype=np.int32)
        self._counts_XT = np.zeros((most, 7), dtype=np.float32)
        self._quick_X = np.zeros(most, dtype=np.float32)


@njit(cache=True, nogil=True, inline="always")
def _touch(row, serial, stamp_N, index_N, rows_X, counts_XT, size):  # type: ignore[no-untyped-def]
    """The place of `row` among this event's candidates; a new one is appended. Returns (place, size)."""
    if stamp_N[row] == serial:
        return index_N[row], size
    stamp_N[row] = serial
    index_N[row] = size
    rows_X[size] = row
    counts_XT[size] = 0.0
    return size, size + 1


@njit(cache=True, nogil=True)
def _add(table, row, item, weight, decay, neighbour_TNK, weight_TNK, total_TN):  # type: ignore[no-untyped-def]
    """weight_TNK[table, row, item] += weight, after decaying the row; a full row loses its weakest item."""
    width = neighbour_TNK.shape[2]
    if decay < 1.0:
        total_TN[table, row] *= decay
        for j in range(width):
            weight_TNK[table, row, j] *= decay
    total_TN[table, row] += weight
    weakest = 0
    for j in range(width):
        if neighbour_TNK[table, row, j] == item:
            weight_TNK[table, row, j] += weight
            return
        if weight_TNK[table, row, j] < weight_TNK[table, row, weakest]:
            weakest = j
    neighbour_TNK[table, row, weakest] = item
    weight_TNK[table, row, weakest] = weight


@njit(cache=True, nogil=True)
def _learn(  # type: ignore[no-untyped-def]
    window_L, item, neighbour_TNK, weight_TNK, total_TN, popularity_PN, increment_P, growth_P
):
    """Count one event: `item` came after `window_L`."""
    ring = len(window_L)
    forward, wide = 1.0, 1.0
    for d in range(min(2 * _SPAN, ring)):
        before = window_L[ring - 1 - d]
        if before >= 0:
            if d == 0:
                _add(NEXT, before, item, 1.0, 0.97, neighbour_TNK, weight_TNK, total_TN)
            if d < _SPAN:
                _add(FORWARD, before, item, forward, 1.0, neighbour_TNK, weight_TNK, total_TN)
            if before != item:
                _add(WIDE, before, item, wide, 1.0, neighbour_TNK, weight_TNK, total_TN)
                _add(WIDE, item, before, wide, 1.0, neighbour_TNK, weight_TNK, total_TN)
        forward *= 0.7
        wide *= 0.93
    for p in range(len(increment_P)):
        # Forward decay (Cormode et al., 2009): new events weigh more, instead of all old ones less.
        increment_P[p] /= growth_P[p]
        popularity_PN[p, item] += increment_P[p]
        if increment_P[p] > 1e12:
            popularity_PN[p] /= increment_P[p]
            increment_P[p] = 1.0


@njit(cache=True, nogil=True)
def _propose(  # type: ignore[no-untyped-def]
    window_L, serial, neighbour_TNK, weight_TNK, total_TN, stamp_N, index_N, rows_X, counts_XT, quick_X
):
    """All neighbours of the recent items, with their counting scores [X, 7]; returns how many."""
    size = 0
    ring = len(window_L)
    width = neighbour_TNK.shape[2]
    near, far = 1.0, 1.0
    for d in range(min(_SPAN, ring)):
        source = window_L[ring - 1 - d]
        if source >= 0:
            if d < 2:
                scale = 1.0 / max(total_TN[NEXT, source], 1e-9)
                for j in range(width):
                    row = neighbour_TNK[NEXT, source, j]
                    if row >= 0:
                        x, size = _touch(row, serial, stamp_N, index_N, rows_X, counts_XT, size)
                        counts_XT[x, d] = weight_TNK[NEXT, source, j] * scale
            if d < _RECENT:
                scale = 1.0 / max(total_TN[FORWARD, source], 1e-9)
                for j in range(width):
                    row = neighbour_TNK[FORWARD, source, j]
                    if row >= 0:
                        x, size = _touch(row, serial, stamp_N, index_N, rows_X, counts_XT, size)
                        score = weight_TNK[FORWARD, source, j] * scale
                        if d == 0:
                            counts_XT[x, 2] = score
                        counts_XT[x, 3] += near * score
            own = max(total_TN[WIDE, source], 1e-9)
            for j in range(width):
                row = neighbour_TNK[WIDE, source, j]
                if row >= 0:
                    x, size = _touch(row, serial, stamp_N, index_N, rows_X, counts_XT, size)
                    score = weight_TNK[WIDE, source, j] / np.sqrt(own * max(total_TN[WIDE, row], 1e-9))
                    if d == 0:
                        counts_XT[x, 4] = score
                    counts_XT[x, 5] += far * score
                    counts_XT[x, 6] = max(counts_XT[x, 6], score)
        near *= 0.6
        far *= 0.8
    for x in range(size):
        quick_X[x] = counts_XT[x, 3] + 0.5 * counts_XT[x, 0] + 0.3 * counts_XT[x, 5]
    return size


@njit(cache=True, nogil=True)
def _choose(row, serial, chosen_C, count, stamp_N, index_N, rows_X, counts_XT, quick_X, size):  # type: ignore[no-untyped-def]
    """Put a row among the chosen, once; `quick_X` below 0 marks it. Returns (count, size)."""
    if count >= len(chosen_C) or size >= len(rows_X):
        return count, size
    x, size = _touch(row, serial, stamp_N, index_N, rows_X, counts_XT, size)
    if quick_X[x] != -1.0:
        quick_X[x] = -1.0
        chosen_C[count] = x
        count += 1
    return count, size


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    windows_BL, target_B, learn_B, idle_B, last_gap_B, encoder_rows_BE, popular_P,
    born_N, seen_N, now_B, first_serial,
    neighbour_TNK, weight_TNK, total_TN, popularity_PN, increment_P,
    growth_P, stamp_N, index_N, rows_X, counts_XT, quick_X,
    from_counts, from_history, candidates_BC, features_BCF,
):  # fmt: skip
    ring = windows_BL.shape[1]
    chosen_C = np.zeros(candidates_BC.shape[1], dtype=np.int32)
    for k in range(len(target_B)):
        serial = first_serial + k
        window_L = windows_BL[k]
        last = window_L[ring - 1]
        proposed = _propose(
            window_L, serial, neighbour_TNK, weight_TNK, total_TN, stamp_N, index_N, rows_X, counts_XT, quick_X
        )
        size = proposed
        count = 0
        # 1. the encoder's, 2. the user's own, 3. the best by counting, 4. what is hot, as far as there is room
        quick_X[size:] = 0.0
        threshold = 0.0
        if proposed > from_counts:
            threshold = -np.partition(-quick_X[:proposed], from_counts - 1)[from_counts - 1]
        for e in range(encoder_rows_BE.shape[1]):
            if encoder_rows_BE[k, e] >= 0:
                count, size = _choose(
                    encoder_rows_BE[k, e], serial, chosen_C, count, stamp_N, index_N, rows_X, counts_XT, quick_X, size
                )
        taken = 0
        history = 0
        repeats = 0
        for d in range(ring):
            row = window_L[ring - 1 - d]
            if row >= 0:
                history += 1
                before = count
                if taken < from_history:
                    count, size = _choose(
                        row, serial, chosen_C, count, stamp_N, index_N, rows_X, counts_XT, quick_X, size
                    )
                    taken += count - before
        for x in range(proposed):
            if quick_X[x] >= threshold and quick_X[x] > 0.0 and count < len(chosen_C):
                quick_X[x] = -1.0
                chosen_C[count] = x
                count += 1
        for p in range(len(popular_P)):
            count, size = _choose(
                popular_P[p], serial, chosen_C, count, stamp_N, index_N, rows_X, counts_XT, quick_X, size
            )
        for j in range(1, ring):
            if window_L[j] >= 0:
                for i in range(j):
                    if window_L[i] == window_L[j]:
                        repeats += 1
                        break
        known = 0.0
        if last >= 0:
            known = np.log1p(total_TN[FORWARD, last])
        for c in range(count):
            x = chosen_C[c]
            row = rows_X[x]
            candidates_BC[k, c] = row
            f = features_BCF[k, c]
            for t in range(7):
                f[t] = np.log(counts_XT[x, t] + _EPS)
            for p in range(len(increment_P)):
                share = popularity_PN[p, row] / increment_P[p] * (1.0 - growth_P[p])
                f[7 + p] = np.log(share + 1e-6)
            own_count = 0
            distance = 0
            followed = 0
            for d in range(ring):
                j = ring - 1 - d
                if window_L[j] == row:
                    own_count += 1
                    if distance == 0:
                        distance = d + 1
                    if j > 0 and window_L[j - 1] == last and last >= 0:
                        followed += 1
            f[11] = 1.0 if own_count > 0 else 0.0
            f[12] = np.log1p(own_count)
            f[13] = np.log1p(distance)
            f[14] = 1.0 if row == last else 0.0
            f[15] = np.log1p(followed)
            f[16] = np.log1p(max(0, now_B[k] - born_N[row]))
            f[17] = np.log1p(max(0, now_B[k] - seen_N[row]))
            f[20] = np.log1p(history)
            f[21] = idle_B[k]
            f[22] = last_gap_B[k]
            f[23] = repeats / max(1, history)
            f[24] = known
        if learn_B[k]:
            item = target_B[k]
            _learn(window_L, item, neighbour_TNK, weight_TNK, total_TN, popularity_PN, increment_P, growth_P)
            seen_N[item] = now_B[k]
