"""The request that a worker ends, and its deadline."""

from __future__ import annotations

import math

from stream_worker.core.interfaces import Clock


class Leaving:
    """The end of a worker; everything that waits asks it whether there is time left.

    requested: True once somebody wants the worker to end.
    by: the monotonic second by which the worker has to be gone; infinite while it stays.
    seconds: the time between the request and this deadline.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.requested = False
        self.by = math.inf
        self.seconds = seconds
        self._clock = clock

    def request(self) -> None:
        """Request the end. Safe from signal handlers and other threads."""
        self.by = self._clock.monotonic() + self.seconds
        self.requested = True

    def begin(self) -> None:
        """Begin the end, requested or not; an earlier deadline stays."""
        self.by = min(self.by, self._clock.monotonic() + self.seconds)

    def begun(self) -> bool:
        return math.isfinite(self.by)

    def over(self) -> bool:
        return self._clock.monotonic() >= self.by
