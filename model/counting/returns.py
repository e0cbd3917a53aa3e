"""Shares of return: how often users return to an item, by the type of the event that they did with it, and by session.

What was bought is seldom bought again; what lies in the cart often is: docs/experiments/returns.md. In a basket that is
being filled nothing comes twice, though it is what the user had last: docs/experiments/own-history.md.

Shape suffixes: Y event types, L ring entries, N rows of the catalogue. The axis of two sessions: an earlier one, the
present one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import SESSION_ENDS, TYPES
from model.kernels import kernel

# BY_PLACE: share of ring entries that the next event repeats, by the entry's type. BY_LAST: share of next events that
# repeat some ring entry, by the type of the last one.
BY_PLACE, BY_LAST = range(2)
_DECAY = 0.5 ** (1 / 20_000)  # of all counts per event: a half-life of 20,000 events; not tuned
# Share of chance, 1 / items, below which users do not return to items; the only value on record, with what it brings:
# docs/experiments/returns.md.
_BLINDLY = 0.1


class Returns(NamedTuple):
    """Decayed counts by event type; the first axis of two is BY_PLACE, BY_LAST.

    offered_2Y: by place: ring entries of each type; by last: events after a ring whose last entry has the type
    returned_2Y: how many of these the next event returned to
    items_Y: different items in the rings, by the type of each item's newest entry
    items_2: different items in the rings, by the session of each item's newest entry
    again_2: how many of these the next event returned to
    """

    offered_2Y: NDArray[np.float64]
    returned_2Y: NDArray[np.float64]
    items_Y: NDArray[np.float64]
    items_2: NDArray[np.float64]
    again_2: NDArray[np.float64]


def empty() -> Returns:
    return Returns(np.zeros((2, TYPES)), np.zeros((2, TYPES)), np.zeros(TYPES), np.zeros(2), np.zeros(2))


def state_of(returns: Returns) -> dict[str, NDArray[Any]]:
    return dict(returns._asdict())


def from_state(state: dict[str, NDArray[Any]]) -> Returns:
    """Return the counts of a state. Those that an older state lacks begin at 0."""
    return empty()._replace(**{name: array.copy() for name, array in state.items()})


@kernel
def session_places(gap_L, idle):  # type: ignore[no-untyped-def]
    """Return how many of the newest places of a ring are of the present session.

    gap_L: gap bucket before each event of the ring
    idle: log(1 + seconds since the user's last event)
    """
    if np.expm1(idle) >= 2.0**SESSION_ENDS:
        return 0
    for d in range(len(gap_L)):
        if gap_L[len(gap_L) - 1 - d] >= SESSION_ENDS:
            return d + 1
    return len(gap_L)


@kernel
def count(returns: Returns, window_L, type_L, places, item, mark_N):  # type: ignore[no-untyped-def]
    """Count one event: `item` came after the ring of rows `window_L` (-1: none) with types `type_L`.

    places: newest places of the ring that are of the present session
    mark_N: working memory, -1 for each row before and after; used to count each item of the ring once
    """
    offered_2Y, returned_2Y = returns.offered_2Y, returns.returned_2Y
    _decay(returns)
    returned = False
    for d in range(len(window_L)):
        row, y = window_L[len(window_L) - 1 - d], type_L[len(window_L) - 1 - d]
        if row >= 0:
            offered_2Y[BY_PLACE, y] += 1.0
            if row == item and not returned:
                returned_2Y[BY_PLACE, y] += 1.0
                returned = True
            if mark_N[row] < 0:
                mark_N[row] = 0
                returns.items_Y[y] += 1.0
                returns.items_2[int(d < places)] += 1.0
                returns.again_2[int(d < places)] += row == item
    for row in window_L:
        if row >= 0:
            mark_N[row] = -1
    if window_L[-1] >= 0:
        offered_2Y[BY_LAST, type_L[-1]] += 1.0
        returned_2Y[BY_LAST, type_L[-1]] += returned


@kernel
def _decay(returns: Returns):  # type: ignore[no-untyped-def]
    for y in range(TYPES):
        for by in range(2):
            returns.offered_2Y[by, y] *= _DECAY
            returns.returned_2Y[by, y] *= _DECAY
        returns.items_Y[y] *= _DECAY
    for session in range(2):
        returns.items_2[session] *= _DECAY
        returns.again_2[session] *= _DECAY


@kernel
def share(returns: Returns, by, y):  # type: ignore[no-untyped-def]
    """Return the share of offers that were taken, for event type `y`.

    The prior of .5 / 10, 5 % for an unseen type, is not tuned.

    by: BY_PLACE or BY_LAST
    """
    return np.float32((returns.returned_2Y[by, y] + 0.5) / (returns.offered_2Y[by, y] + 10.0))


@kernel
def share_of_session(returns: Returns, is_present):  # type: ignore[no-untyped-def]
    """Return the share of items of the present session, or of earlier ones, that users return to next.

    The prior is that of `share`.
    """
    session = int(is_present)
    return np.float32((returns.again_2[session] + 0.5) / (returns.items_2[session] + 10.0))


@kernel
def are_over(returns: Returns, y, items):  # type: ignore[no-untyped-def]
    """True if users return to an item after event type `y` less than a tenth as often as chance, 1 / `items`, gives.

    Each different item of a ring counts once, since a ring may be full of the same few.
    """
    returned = np.float32((returns.returned_2Y[BY_PLACE, y] + 0.5) / (returns.items_Y[y] + 10.0))
    return returned * items < _BLINDLY
