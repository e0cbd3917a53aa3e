"""The pace of a replay: it tells when each record of a log is due."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_worker.core.interfaces import Clock
from stream_worker.core.log_times import YEAR_SECONDS


class Pace:
    """Converts times of a log to waiting times.

    speed: 1 replays at the log's own pace, 60 replays a minute in a second.
    clock: tells the present time.
    began_ms: the time of the log, in ms since 1970, that corresponds to the creation of this object.
    """

    def __init__(self, speed: float, clock: Clock, began_ms: int) -> None:
        self._speed = speed
        self._clock = clock
        self._began = clock.monotonic()
        self._began_ms = began_ms

    def seconds_until(self, moment_ms: int) -> float:
        return self._began + (moment_ms - self._began_ms) / 1000 / self._speed - self._clock.monotonic()


def beginning(times_ms: Sequence[int]) -> int:
    """Return the first of a log's first times, in ms, that lies within a year of their median; 0: no time is known.

    A device whose clock stood at 1970 or 1999 would otherwise make the replay wait for decades.
    """
    known = [ms for ms in times_ms if ms > 0]
    if not known:
        return 0
    middle = float(np.median(known))
    return next((ms for ms in known if abs(ms - middle) <= YEAR_SECONDS * 1000), round(middle))
