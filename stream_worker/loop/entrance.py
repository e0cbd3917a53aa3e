"""Joins the group once a worker knows what the others know, so that a partition that it takes over does not wait."""

from __future__ import annotations

from stream_worker.logs import get_logger
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.outside import Outside
from stream_worker.loop.ownership import Ownership

_MOST_SECONDS = 60.0  # of hearing before it joins (not tuned)
_log = get_logger(__name__)


class Entrance:
    """Joins at once where there is nobody to hear, or where the group keeps the slot's partitions for it: nobody reads
    them meanwhile. Else it joins when it has caught up, or after 60 seconds.

    passed: True once the worker has asked to join.
    """

    def __init__(self, outside: Outside, hearing: Hearing, ownership: Ownership) -> None:
        self._outside, self._hearing, self._ownership = outside, hearing, ownership
        self.passed = False
        self._until = 0.0

    def begin(self) -> None:
        """Join, or begin to hear. Raises Unavailable: then call it again."""
        heard = self._outside.heard
        if heard is None or heard.alone() or heard.is_awaited():
            self._join()
        else:
            self._hearing.begin()
            self._until = self._outside.clock.monotonic() + _MOST_SECONDS
            _log.info("hearing what the other workers have read, before joining the group")

    def keep(self) -> None:
        """Join if it is time. Called between two ticks."""
        if not self.passed and (self._hearing.has_caught_up() or self._outside.clock.monotonic() >= self._until):
            self._join()

    def _join(self) -> None:
        self._outside.source.subscribe(self._ownership)
        self.passed = True
