"""A clock for tests and replays, which shows the time that it was set to."""

from __future__ import annotations


class ManualClock:
    """A clock whose time, in seconds since 1970, moves only by `sleep`."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
