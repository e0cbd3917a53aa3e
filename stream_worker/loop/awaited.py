"""Claims that wait until their partitions were heard up to what is published."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from stream_worker.core.interfaces import Clock

# A claim waits for so long while reading goes on, and where it stands still. It was given up if nobody asked for so
# long. Not tuned.
_MOST_SECONDS, _STILL_SECONDS, _GIVEN_UP_SECONDS = 60.0, 10.0, 20.0


class _Wait(NamedTuple):
    """began, asked: when the claim asked first and last. moved: since when the partition is read up to `at`."""

    began: float
    asked: float
    moved: float
    at: int


class Awaited:
    """The partitions for which a claim waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: dict[int, _Wait] = {}

    def __contains__(self, partition: int) -> bool:
        """Return True if a claim waits for a partition, and was not given up."""
        wait = self._waits.get(partition)
        return wait is not None and self._clock.monotonic() - wait.asked <= _GIVEN_UP_SECONDS

    def ask(self, partition: int, at: int) -> bool:
        """Return True if a claim of a partition that is read up to offset `at` waits on; False: it has for too long."""
        now = self._clock.monotonic()
        wait = self._waits[partition] if partition in self else _Wait(now, now, now, at)
        self._waits[partition] = wait = _Wait(wait.began, now, wait.moved if wait.at == at else now, at)
        return now - wait.began < _MOST_SECONDS and now - wait.moved < _STILL_SECONDS

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._waits.pop(partition, None)
