"""Heard records that are kept back while own ones lag, so that none of them runs ahead of these in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from stream_worker.core.events import Record
from stream_worker.core.interfaces import Clock

# Seconds without an own record after which heard ones no longer wait: what lags does not come. Not tuned.
_STILL_SECONDS = 10.0


class KeptBack:
    """Keeps back what was heard, until the own records have come as far in time.

    A record that is dated ahead waits for the moment at which it came. Nothing waits for own records that have no time,
    or that do not come though they lag.

    clock: tells when records came.
    is_exempt: returns True for a partition of which nothing is kept back.

    partitions: those of which a record is kept back.
    _records: these, each with the millisecond that it waits for.
    _own_ms, _own_at: how far own records have come in time, and the monotonic second at which one came or none lagged.
    """

    def __init__(self, clock: Clock, is_exempt: Callable[[int], bool]) -> None:
        self._clock, self._is_exempt = clock, is_exempt
        self.partitions: set[int] = set()
        self._records: list[tuple[float, Record]] = []
        self._own_ms = self._own_at = -math.inf

    def sift(self, came: list[Record], own: Sequence[Record], *, behind: bool) -> list[Record]:
        """Return the heard records that may be learned now, in order, of those kept back and those that came.

        own: the own records that came.
        behind: True while own records lag.
        """
        until_ms = self._until_ms(own, behind)
        if until_ms == math.inf and not self._records:
            return came
        now_ms = 1000 * self._clock.now()
        return self._until(until_ms, [*self._records, *((min(r.timestamp_ms, now_ms), r) for r in came)])

    def forget(self, partitions: Collection[int]) -> None:
        self.partitions = self.partitions - set(partitions)
        self._records = [(ms, record) for ms, record in self._records if record.partition not in partitions]

    def _until_ms(self, own: Sequence[Record], behind: bool) -> float:
        """Return the time up to which heard records may be learned now."""
        now = self._clock.monotonic()
        self._own_ms = max((record.timestamp_ms for record in own), default=self._own_ms)
        if own or not behind:
            self._own_at = now
        waits = behind and self._own_ms >= 0 and now - self._own_at < _STILL_SECONDS
        return self._own_ms if waits else math.inf

    def _until(self, until_ms: float, dated: Sequence[tuple[float, Record]]) -> list[Record]:
        now: list[Record] = []
        later: list[tuple[float, Record]] = []
        ahead: set[int] = set()
        for ms, record in dated:
            waits = record.partition in ahead or ms > until_ms
            if waits and not self._is_exempt(record.partition):
                ahead.add(record.partition)
                later.append((ms, record))
            else:
                now.append(record)
        self._records, self.partitions = later, ahead
        return now
