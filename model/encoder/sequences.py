"""The events of a batch as one sequence per user, in the order of torch's packed sequences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Sequences(NamedTuple):
    """X of B events that the LSTM reads: the first of every user, then the second, and so on.

    slots_U: user slots, the longest sequence first, users without an event to read last
    order_X: place of each event in the batch
    sizes_T: number of users with a first event, a second event, ...
    before_B: for each event, read or not, the place of its user's state before it, among the U states at the start
        followed by the X states after an event
    """

    slots_U: NDArray[np.int64]
    order_X: NDArray[np.int64]
    sizes_T: NDArray[np.int64]
    before_B: NDArray[np.int64]


def sequences_of(slot_B: NDArray[np.int64], read_B: NDArray[np.bool_]) -> Sequences:
    """Return the sequences of B events with these user slots; `read_B`: True for the events to read."""
    slots_U, user_B = np.unique(slot_B, return_inverse=True)
    longest_U = np.argsort(-np.bincount(user_B[read_B], minlength=len(slots_U)), kind="stable")
    place_U = np.empty_like(longest_U)
    place_U[longest_U] = np.arange(len(longest_U))
    place_B = place_U[user_B]
    by_user = np.argsort(place_B, kind="stable")
    # Number of events read before each one: of all users up to its own, then of its own user alone.
    before: NDArray[np.int64] = np.cumsum(read_B[by_user]) - read_B[by_user]
    first = np.searchsorted(place_B[by_user], place_B[by_user])
    number_B = np.empty_like(place_B)
    number_B[by_user] = before - before[first]
    sizes_T = np.bincount(number_B[read_B])
    start_T = np.cumsum(sizes_T) - sizes_T
    order_X = np.flatnonzero(read_B)[np.lexsort((place_B[read_B], number_B[read_B]))]
    # Places where the states after first events begin, after second events, ...; the U start states come first.
    begin_T = np.concatenate([[0], len(slots_U) + start_T])
    return Sequences(slots_U[longest_U], order_X, sizes_T, place_B + begin_T[number_B])
