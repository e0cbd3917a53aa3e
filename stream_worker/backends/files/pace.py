"""When a recorded log's moments come around again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_worker.core.interfaces import Clock
from stream_worker.core.log_times import YEAR_SECONDS


class Pace:
    """Moments as seconds from now, `speed` times as fast as they were, counted from `began_ms`."""

    def __init__(self, speed: float, clock: Clock, began_ms: int) -> None:
        self._speed = speed
        self._clock = clock
        self._began = clock.monotonic()
        self._began_ms = began_ms

    def seconds_until(self, moment_ms: int) -> float:
        return self._began + (moment_ms - self._began_ms) / 1000 / self._speed - self._clock.monotonic()


def beginning(times_ms: Sequence[int]) -> int:
    """The first of a log's first times that lies within a year of their median: from a clock that stood at 1970, or at
    1999, the pace would be to wait for decades. 0 stands for no time."""
    known = [ms for ms in times_ms if ms > 0]
    if not known:
        return 0
    middle = float(np.median(known))
    return next((ms for ms in known if abs(ms - middle) <= YEAR_SECONDS * 1000), round(middle))
