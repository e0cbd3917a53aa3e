"""How often users return to what they did, by what they did with it: what was bought is seldom bought again, what lies
in the cart is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels import kernel

TYPES = 16
# Of each item in a user's ring by the type of the event; and of users by the type of their last event.
BY_PLACE, BY_LAST = range(2)
_DECAY = 0.5 ** (1 / 20_000)
_BLINDLY = 0.1


class Returns(NamedTuple):
    """By event type Y: how often there was something to return to, and how often the next event did. Both decay."""

    offered_2Y: NDArray[np.float64]
    returned_2Y: NDArray[np.float64]


def empty() -> Returns:
    return Returns(np.zeros((2, TYPES)), np.zeros((2, TYPES)))


def state_of(returns: Returns) -> dict[str, NDArray[Any]]:
    return {"offered_2Y": returns.offered_2Y, "returned_2Y": returns.returned_2Y}


@kernel
def count(returns: Returns, window_L, type_L, item):  # type: ignore[no-untyped-def]
    """`item` came after these events."""
    offered_2Y, returned_2Y = returns.offered_2Y, returns.returned_2Y
    for by in range(2):
        for y in range(TYPES):
            offered_2Y[by, y] *= _DECAY
            returned_2Y[by, y] *= _DECAY
    returned = False
    for d in range(len(window_L)):
        row, y = window_L[len(window_L) - 1 - d], type_L[len(window_L) - 1 - d]
        if row >= 0:
            offered_2Y[BY_PLACE, y] += 1.0
            if row == item and not returned:
                returned_2Y[BY_PLACE, y] += 1.0
                returned = True
    if window_L[-1] >= 0:
        offered_2Y[BY_LAST, type_L[-1]] += 1.0
        returned_2Y[BY_LAST, type_L[-1]] += returned


@kernel
def share(returns: Returns, by, y):  # type: ignore[no-untyped-def]
    """Of a type that was never seen some 5 %."""
    return np.float32((returns.returned_2Y[by, y] + 0.5) / (returns.offered_2Y[by, y] + 10.0))


@kernel
def are_over(returns: Returns, y, items):  # type: ignore[no-untyped-def]
    """Whether users return to what they did so a tenth as often as they would to one of `items` drawn blindly."""
    return share(returns, BY_PLACE, y) * items < _BLINDLY
