"""Chooses what a training window predicts: the event after it, and its own newest events, each from those before it.

The LSTM runs once over a window for up to `targets` predictions (ADR 0011).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoder.replay import Examples


class Prefixes(NamedTuple):
    """X predictions from M windows of W events.

    of_KM: True if the prefix without the last k events of window m is one of them, which gives their order
    target_X: row of each target
    windows_XW: item rows of each prefix, right-aligned, -1: none
    """

    of_KM: NDArray[np.bool_]
    target_X: NDArray[np.int32]
    windows_XW: NDArray[np.int32]


def prefixes(examples: Examples, width: int, is_target_T: NDArray[np.bool_]) -> Prefixes:
    """Return the predictions of training windows. No prefix is empty.

    examples: see `EncoderTrainer`; column "targets": number of newest events to predict
    width: events of a window, W
    is_target_T: True for the event types to predict
    """
    rows_MW, types_MW = examples["window"][:, -width:], examples["type"][:, -width:]
    count = min(width, int(examples["targets"].max(initial=1)))
    wanted_MW = np.where(is_target_T[types_MW], rows_MW, np.int32(-1))
    target_KM = np.concatenate([examples["target"][:, None], wanted_MW[:, : width - count : -1]], axis=1).T
    padded = np.pad(rows_MW, ((0, 0), (count - 1, 0)), constant_values=-1)
    windows_KMW = np.stack([padded[:, count - 1 - k : count - 1 - k + width] for k in range(count)])
    of_KM = (target_KM >= 0) & (windows_KMW[:, :, -1] >= 0) & (np.arange(count)[:, None] < examples["targets"])
    return Prefixes(of_KM, target_KM[of_KM], windows_KMW[of_KM])


def most_targets(in_set_M: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return how many of its newest events a window may predict, the one behind it among them, 255: any number.

    An event that follows another one of its own set is not predicted from it, so it is none, nor is any before it.

    in_set_M: see `user_table.Before`
    """
    lowest_M = in_set_M & -in_set_M
    return np.where(in_set_M == 0, 255, 1 + np.log2(np.maximum(lowest_M, 1))).astype(np.uint8)


def fewest_windows(
    slot_M: NDArray[np.int64], occurrence_M: NDArray[np.int64], chain_M: NDArray[np.int64], targets: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Choose the fewest windows that predict all M events, and return how many each predicts.

    slot_M: user slot of each event, in order of time
    occurrence_M: number of the event among its user's
    chain_M: number of the event's chain among its user's, see `sets.chains`; a window predicts events of one chain
    targets: most predictions per window
    """
    order = np.lexsort((-occurrence_M, slot_M))  # by user, the last event first
    slots, occurrences = slot_M[order], occurrence_M[order]
    is_last = (np.diff(slots, prepend=-1) != 0) | (np.diff(chain_M[order], prepend=-1) != 0)
    last = np.maximum.accumulate(np.where(is_last, np.arange(len(order)), 0))
    back = occurrences[last] - occurrences
    is_first = is_last | (np.diff(back // targets, prepend=0) != 0)
    chosen = np.flatnonzero(is_first)
    ends = np.append(chosen, len(order))[1:] - 1
    counts = occurrences[chosen] - occurrences[ends] + 1
    by_time = np.argsort(order[chosen])
    return order[chosen][by_time], counts[by_time].astype(np.uint8)
