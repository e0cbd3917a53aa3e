"""How often users return to what they did, by what they did with it: what was bought is seldom bought again, what lies
in the cart is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import TYPES
from model.kernels import kernel

# Of each item in a user's ring by the type of the event; and of users by the type of their last event.
BY_PLACE, BY_LAST = range(2)
_DECAY = 0.5 ** (1 / 20_000)
_BLINDLY = 0.1


class Returns(NamedTuple):
    """By event type Y: how often there was something to return to, and how often the next event did; items_Y: how many
    different items there were to return to, by the type of the newest event of each. All decay."""

    offered_2Y: NDArray[np.float64]
    returned_2Y: NDArray[np.float64]
    items_Y: NDArray[np.float64]


def empty() -> Returns:
    return Returns(np.zeros((2, TYPES)), np.zeros((2, TYPES)), np.zeros(TYPES))


def state_of(returns: Returns) -> dict[str, NDArray[Any]]:
    return dict(returns._asdict())


def from_state(state: dict[str, NDArray[Any]]) -> Returns:
    """A state without `items_Y` was made before it was counted: it is counted from now on."""
    return empty()._replace(**{name: array.copy() for name, array in state.items()})


@kernel
def count(returns: Returns, window_L, type_L, item, mark_N):  # type: ignore[no-untyped-def]
    """`item` came after these events. mark_N: -1 for each row, before and after; which were met is marked there."""
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


@kernel
def share(returns: Returns, by, y):  # type: ignore[no-untyped-def]
    """Of a type that was never seen some 5 %."""
    return np.float32((returns.returned_2Y[by, y] + 0.5) / (returns.offered_2Y[by, y] + 10.0))


@kernel
def are_over(returns: Returns, y, items):  # type: ignore[no-untyped-def]
    """Whether users return to what they did so a tenth as often as they would to one of `items` drawn blindly. Each of
    their items counts once: a ring may be full of the same few."""
    returned = np.float32((returns.returned_2Y[BY_PLACE, y] + 0.5) / (returns.items_Y[y] + 10.0))
    return returned * items < _BLINDLY
