"""The clock of tests and replays: it is told the time."""

from __future__ import annotations


class ManualClock:
    """Time that stands still until it is told to move."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
