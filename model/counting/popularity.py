"""Popularity of items with several half-lives in events, and the hottest rows of each in order.

Forward decay (Cormode et al., 2009): new events weigh more, instead of old ones less. So only the row of a new event
can overtake others, and the hottest rows are exact without a pass over the catalogue.

Shape suffixes: P half-lives, N rows of the catalogue, Q hottest rows, M rows that are asked about.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels import kernel

# In events. Not tuned, but one more of 60 or of 700 brought nothing: docs/experiments/ranker.md.
HALF_LIVES = np.array([200.0, 2_000.0, 20_000.0, 2_000_000.0])
EVER = len(HALF_LIVES) - 1
HOTTEST = 40  # hottest rows kept per half-life; as many as the largest quota of "hot" in `candidates`
_LARGEST = 1e12  # weight of a new event at which all are divided by it, long before they overflow; not tuned


class Popularity(NamedTuple):
    """Weights of N rows by P half-lives.

    weight_PN: weight of each row
    newest_P: weight of the newest event
    decay_P: factor on an old event's weight per new event
    hottest_PQ: rows with the largest weights, largest first, -1: none
    """

    weight_PN: NDArray[np.float64]
    newest_P: NDArray[np.float64]
    decay_P: NDArray[np.float64]
    hottest_PQ: NDArray[np.int32]


def empty(rows: int) -> Popularity:
    count = len(HALF_LIVES)
    return Popularity(
        weight_PN=np.zeros((count, rows)),
        newest_P=np.ones(count),
        decay_P=0.5 ** (1.0 / HALF_LIVES),
        hottest_PQ=np.full((count, HOTTEST), -1, np.int32),
    )


def grown(popularity: Popularity, rows: int) -> Popularity:
    weight_PN = popularity.weight_PN
    return popularity._replace(weight_PN=np.pad(weight_PN, ((0, 0), (0, rows - weight_PN.shape[1]))))


def forget(popularity: Popularity, rows: NDArray[np.int64]) -> None:
    """Clear evicted rows; where one of them was among the hottest, others move up."""
    popularity.weight_PN[:, rows] = 0.0
    for weight_N, hottest_Q in zip(popularity.weight_PN, popularity.hottest_PQ, strict=True):
        if np.isin(hottest_Q, rows).any():
            best = np.argsort(-weight_N, kind="stable")[:HOTTEST]
            best = best[weight_N[best] > 0]
            hottest_Q[:] = -1
            hottest_Q[: len(best)] = best


def state_of(popularity: Popularity) -> dict[str, NDArray[Any]]:
    return {name: getattr(popularity, name) for name in ("weight_PN", "newest_P", "hottest_PQ")}


def kept(popularity: Popularity, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights [M, P] of rows to evict, in units of the newest event's weight, for `add_back`."""
    weight_MP: NDArray[np.float64] = (popularity.weight_PN[:, rows] / popularity.newest_P[:, None]).T.copy()
    return weight_MP


def add_back(
    popularity: Popularity, rows: NDArray[np.int32], kept_MP: NDArray[np.float64], events_M: NDArray[np.int64]
) -> None:
    """Add weights that `kept` returned, decayed since then.

    rows: rows of the items now [M]
    kept_MP: weights that `kept` returned
    events_M: number of events since then
    """
    weight_MP = kept_MP * popularity.decay_P ** events_M[:, None] * popularity.newest_P
    for row, weight_P in zip(rows.tolist(), weight_MP, strict=True):
        popularity.weight_PN[:, row] += weight_P
        for hottest_Q, weight_N in zip(popularity.hottest_PQ, popularity.weight_PN, strict=True):
            move_up(hottest_Q, weight_N, row)


@kernel
def count(popularity: Popularity, row: int, late: bool) -> None:
    """Count one event of `row`; a late one only for `EVER`, so that what was hot is not taken for what is."""
    weight_PN, newest_P = popularity.weight_PN, popularity.newest_P
    for p in range(EVER if late else 0, len(newest_P)):
        newest_P[p] /= popularity.decay_P[p]
        weight_PN[p, row] += newest_P[p]
        if newest_P[p] > _LARGEST:
            for other in range(weight_PN.shape[1]):
                weight_PN[p, other] /= newest_P[p]
            newest_P[p] = 1.0
        move_up(popularity.hottest_PQ[p], weight_PN[p], row)


@kernel
def move_up(hottest_Q, weight_N, row):  # type: ignore[no-untyped-def]
    """Put a row among the hottest where its weight belongs; the last of a full list leaves for it."""
    place = 0
    while place < len(hottest_Q) - 1 and hottest_Q[place] != row and hottest_Q[place] >= 0:
        place += 1
    held = hottest_Q[place]
    if held >= 0 and held != row and weight_N[held] >= weight_N[row]:
        return
    hottest_Q[place] = row
    while place > 0 and weight_N[hottest_Q[place - 1]] < weight_N[row]:
        hottest_Q[place] = hottest_Q[place - 1]
        place -= 1
        hottest_Q[place] = row


@kernel
def share(popularity: Popularity, p: int, row: int) -> float:
    """Return the decayed share of events that were of `row`, by half-life `p`.

    An event of age a weighs (1 - g) g^a, with g = 0.5^(1 / half-life).
    """
    decayed: float = popularity.weight_PN[p, row] / popularity.newest_P[p] * (1.0 - popularity.decay_P[p])
    return decayed
