"""Waits for a service outside, and keeps the group membership and the health check alive meanwhile."""

from __future__ import annotations

import math

from stream_worker.core.errors import Unavailable
from stream_worker.logs import get_logger
from stream_worker.loop.outside import Outside
from stream_worker.loop.reporting import Reporter

RETRY_SECONDS = 0.5  # between two tries of a service that does not answer (not tuned)
_SILENT_SECONDS = 15.0  # between two log lines about waiting (not tuned)
_log = get_logger(__name__)


class Waiting:
    """Waits, one at a time; `Status.waiting` tells for what."""

    def __init__(self, outside: Outside, reporter: Reporter) -> None:
        self._source, self._clock = outside.source, outside.clock
        self._reporter = reporter
        self.pause = outside.pause
        self._silent_until = -math.inf

    def wait_for(self, fault: Unavailable) -> None:
        """Wait a moment for a service that does not answer, and let rebalances through."""
        if self._clock.monotonic() >= self._silent_until:
            self._silent_until = self._clock.monotonic() + _SILENT_SECONDS
            _log.warning("waiting", reason=str(fault))
        self.rest(str(fault), RETRY_SECONDS)
        self._source.serve()

    def rest(self, reason: str, seconds: float) -> None:
        """Wait for `seconds`, with `reason` in the status, and tell the observer."""
        self._reporter.status.waiting = reason
        self.pause(seconds)
        self._reporter.ticked()
