"""Finds times of a recorded log that can't be right since they lie in the future, judged by the rows around them.

For a topic the broker's clock decides; a log has none. It may have gaps, be ordered by user, or not be ordered. So the
times of about a thousand rows are sorted, and from their median upwards all times are accepted up to the first step of
more than a year. A later time is too late, unless at least ten rows in a row have one: then the log has moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

YEAR_SECONDS = 366 * 86_400.0  # the longest step between two times, a leap year (docs/contracts.md; not tuned)
ROWS_IN_A_ROW = 10  # rows with late times that show a log which has moved on (not tuned)
_BLOCK_ROWS, _MARGIN_ROWS = 500, 250  # rows judged at a time, and rows looked at before and after them (not tuned)


def judged(times: Iterable[float], block: int = _BLOCK_ROWS, margin: int = _MARGIN_ROWS) -> Iterator[bool]:
    """Yield for each time True if it is too late.

    `times`: epoch seconds in the order of rows, NaN for unknown.
    `block`: rows that are judged together.
    `margin`: rows before and after the block that are looked at, too.
    """
    times = iter(times)
    before, ahead = np.empty(0), np.array(list(islice(times, block + margin)))
    while len(ahead):
        late_W = too_late(np.concatenate((before, ahead)))
        yield from late_W[len(before) : len(before) + block].tolist()
        before = np.concatenate((before, ahead[:block]))[-margin:]
        ahead = np.concatenate((ahead[block:], np.array(list(islice(times, block)))))


def too_late(times_W: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the times of a window of W rows that are too late."""
    late_W = times_W > _reach(times_W[~np.isnan(times_W)])
    if late_W.any():
        known_K = np.flatnonzero(~np.isnan(times_W))
        late_W[known_K] = _without_long_runs(late_W[known_K])
    return late_W


def _reach(known_K: NDArray[np.float64]) -> float:
    """Return the latest time that is reached from the median by steps of at most a year; inf if all are reached."""
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
