"""Which times of a recorded log can't be right: those of the future, as told by the rows around them.

Of a topic the broker's clock tells. A log may have gaps, be ordered by user, or by nothing: a time is too late only
where nothing leads to it. From the median of a thousand rows one may go up by steps of at most a year, in the order of
time; what lies beyond is too late, unless ten rows in a row are there: then the log has moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

YEAR_SECONDS = 366 * 86_400.0
ROWS_IN_A_ROW = 10
_BLOCK_ROWS, _MARGIN_ROWS = 500, 250


def judged(times: Iterable[float], block: int = _BLOCK_ROWS, margin: int = _MARGIN_ROWS) -> Iterator[bool]:
    """For each time (NaN: unknown) whether it is too late, by the rows up to `margin` before and behind its block."""
    times = iter(times)
    before, ahead = np.empty(0), np.array(list(islice(times, block + margin)))
    while len(ahead):
        late_W = too_late(np.concatenate((before, ahead)))
        yield from late_W[len(before) : len(before) + block].tolist()
        before = np.concatenate((before, ahead[:block]))[-margin:]
        ahead = np.concatenate((ahead[block:], np.array(list(islice(times, block)))))


def too_late(times_W: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which times of a window lie where no steps lead to."""
    late_W = times_W > _reach(times_W[~np.isnan(times_W)])
    if late_W.any():
        known_K = np.flatnonzero(~np.isnan(times_W))
        late_W[known_K] = _without_long_runs(late_W[known_K])
    return late_W


def _reach(known_K: NDArray[np.float64]) -> float:
    """The latest time to which steps lead from the median."""
    if not len(known_K):
        return np.inf
    upper_U = np.sort(known_K)[(len(known_K) - 1) // 2 :]
    steps = np.flatnonzero(np.diff(upper_U) > YEAR_SECONDS)
    return float(upper_U[steps[0]]) if len(steps) else np.inf


def _without_long_runs(late_K: NDArray[np.bool_]) -> NDArray[np.bool_]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], late_K.view(np.int8), [0]))))
    kept = late_K.copy()
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - start >= ROWS_IN_A_ROW:
            kept[start:end] = False
    return kept
