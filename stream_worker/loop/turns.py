"""Turns of what is to be looked at again: those that waited longest first, none more often than once a minute."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PAUSE_SECONDS = 60.0  # of event time, between two looks at the same place
Places = NDArray[np.integer[Any]]


class Turns:
    """Turns by place.

    first: what was found at each place when it last mattered; 0: nothing.
    queue: the places that wait, in order.
    """

    def __init__(self) -> None:
        self.first = np.zeros(0, np.uint64)
        self.queue = np.zeros(0, np.int64)
        self._looked = np.zeros(0)
        self._waits = np.zeros(0, np.bool_)

    def grow(self, places: int) -> None:
        """Make room for so many places."""
        more = (0, max(0, places - len(self.first)))
        self.first, self._waits = np.pad(self.first, more), np.pad(self._waits, more)
        self._looked = np.pad(self._looked, more, constant_values=-np.inf)

    def touch(self, places: Places) -> None:
        """Let places wait, each once, behind those that do."""
        new = places[~self._waits[places]]
        self._waits[new] = True
        self.queue = np.append(self.queue, new.astype(np.int64))

    def hurry(self, places: Places) -> None:
        """Let the turn of places that wait come without a pause."""
        self._looked[places] = -np.inf

    def ready(self, now: float) -> NDArray[np.int64]:
        """Return the places whose turn it is, by the event time `now`."""
        return self.queue[self._looked[self.queue] + _PAUSE_SECONDS <= now]

    def looked_at(self, places: Places, now: float) -> None:
        """Note that these have had their turn."""
        self._looked[places] = now
        self.pass_over(places)

    def pass_over(self, places: Places) -> None:
        """Let places wait no more."""
        if len(places):
            self._waits[places] = False
            self.queue = self.queue[self._waits[self.queue]]

    def forget(self, places: Places) -> None:
        """Forget what was found at places, and when."""
        self.first[places], self._looked[places] = 0, -np.inf

    def forget_all(self, kept: NDArray[np.bool_]) -> None:
        """Forget what was found anywhere; of the queue only the `kept` places still wait."""
        self.first[:] = 0
        self.pass_over(self.queue[~kept])
