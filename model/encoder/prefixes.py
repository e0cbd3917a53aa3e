"""What a training window predicts: the event behind it and, from its shorter prefixes, the newest of its own events.

So that the LSTM runs once over a window for up to `targets` predictions of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoder.replay import Examples


class Prefixes(NamedTuple):
    """X predictions from M windows of W events.

    of_KM: which of the prefixes, without the last k events, of each window are among them; in this order: their
    target's row target_X, and their own events as a window windows_XW (-1: none).
    """

    of_KM: NDArray[np.bool_]
    target_X: NDArray[np.int32]
    windows_XW: NDArray[np.int32]


def prefixes(examples: Examples, width: int, is_target_T: NDArray[np.bool_]) -> Prefixes:
    """Of windows of the last `width` events; an example's column "targets" says how many of the newest events are
    predicted, `is_target_T` which types of events at all. No prefix is empty."""
    rows_MW, types_MW = examples["window"][:, -width:], examples["type"][:, -width:]
    count = min(width, int(examples["targets"].max(initial=1)))
    wanted_MW = np.where(is_target_T[types_MW], rows_MW, np.int32(-1))
    target_KM = np.concatenate([examples["target"][:, None], wanted_MW[:, : width - count : -1]], axis=1).T
    padded = np.pad(rows_MW, ((0, 0), (count - 1, 0)), constant_values=-1)
    windows_KMW = np.stack([padded[:, count - 1 - k : count - 1 - k + width] for k in range(count)])
    of_KM = (target_KM >= 0) & (windows_KMW[:, :, -1] >= 0) & (np.arange(count)[:, None] < examples["targets"])
    return Prefixes(of_KM, target_KM[of_KM], windows_KMW[of_KM])


def fewest_windows(
    slot_M: NDArray[np.int64], occurrence_M: NDArray[np.int64], targets: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Of M events in order, numbered by `occurrence_M` among their user's: those whose windows predict all of them, up
    to `targets` each, and how many each predicts."""
    order = np.lexsort((-occurrence_M, slot_M))  # of every user the last event first
    slots, occurrences = slot_M[order], occurrence_M[order]
    is_last = np.diff(slots, prepend=-1) != 0
    last = np.maximum.accumulate(np.where(is_last, np.arange(len(order)), 0))
    back = occurrences[last] - occurrences
    is_first = is_last | (np.diff(back // targets, prepend=0) != 0)
    chosen = np.flatnonzero(is_first)
    ends = np.append(chosen, len(order))[1:] - 1
    counts = occurrences[chosen] - occurrences[ends] + 1
    by_time = np.argsort(order[chosen])
    return order[chosen][by_time], counts[by_time].astype(np.uint8)
