"""The wish that a worker ends, and the time until when it may."""

from __future__ import annotations

import math

from stream_worker.core.interfaces import Clock


class Leaving:
    """Everything that waits asks this whether it still may.

    requested: somebody wants the worker to end.
    by: the monotonic second at which the worker is to be gone; infinite while it stays.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.requested = False
        self.by = math.inf
        self.seconds = seconds
        self._clock = clock

    def request(self) -> None:
        """Ask for the end. Safe from signal handlers and other threads."""
        self.by = self._clock.monotonic() + self.seconds
        self.requested = True

    def begin(self) -> None:
        """Start the end, asked for or not; an earlier deadline stays."""
        self.by = min(self.by, self._clock.monotonic() + self.seconds)

    def begun(self) -> bool:
        return math.isfinite(self.by)

    def over(self) -> bool:
        return self._clock.monotonic() >= self.by
