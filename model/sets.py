"""Sets: events of one record without times of their own, which stand next to each other in a batch.

No event of a set came after another one. Each is predicted from its user's state before the set, and counted after all
of them were. Shape suffixes: B events.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def begins(within_B: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return the place of the first event of each event's set; its own place for an event of no set.

    within_B: events of the same set before each event
    """
    return np.arange(len(within_B)) - within_B


def own_begins(within_B: NDArray[np.int16], slot_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of the first event of the same user in each event's set, since a set may name several users."""
    if not within_B.any():
        return np.arange(len(within_B))
    of_user_and_set = begins(within_B) * (slot_B.max() + 1) + slot_B
    _, first, inverse = np.unique(of_user_and_set, return_index=True, return_inverse=True)
    own: NDArray[np.int64] = first[inverse]
    return own


def chains(own_B: NDArray[np.int64], slot_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the chains of each user: events each of which was predicted from the one before it and all before that.

    An event that is not its user's first one in a set is a chain alone, and ends the one before it.

    own_B: see `own_begins`
    """
    follows_B = own_B != np.arange(len(own_B))
    chain_B = np.zeros(len(own_B), np.int64)
    if follows_B.any():
        by_user = np.argsort(slot_B, kind="stable")
        chain_B[by_user] = 2 * np.cumsum(follows_B[by_user]) - follows_B[by_user]
    return chain_B


def pieces(within_B: NDArray[np.int16], size: int) -> Iterator[slice]:
    """Cut B events into pieces of about `size`: a cut within a set moves to its beginning. A longer set is one piece.

    Yields one piece for no events.
    """
    start = end = 0
    while end < len(within_B) or end == 0:
        end = _whole(within_B, start, start + size)
        yield slice(start, end)
        start = end


def pieces_by_cost(within_B: NDArray[np.int16], cost_B: NDArray[np.integer], size: int, most: int) -> Iterator[slice]:
    """Cut B events as `pieces` does, but each where the costs of its events reach `size`, or after `most` events."""
    upto_B = np.cumsum(cost_B)
    start = end = 0
    while end < len(within_B) or end == 0:
        before = int(upto_B[start - 1]) if start else 0
        reached = int(np.searchsorted(upto_B, before + size)) + 1
        end = _whole(within_B, start, min(reached, start + most, len(within_B)))
        yield slice(start, end)
        start = end


def _whole(within_B: NDArray[np.int16], start: int, end: int) -> int:
    """Return a cut at `end`, or at the beginning of the set there; behind it, if that is `start`."""
    if end >= len(within_B):
        return end
    if (begin := end - int(within_B[end])) > start:
        return begin
    others = np.flatnonzero(within_B[end:] == 0)
    return end + int(others[0]) if len(others) else len(within_B)
