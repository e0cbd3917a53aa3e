"""Liveness and readiness of a worker, for the probes of an orchestrator."""

from __future__ import annotations

from stream_worker.core.interfaces import Clock
from stream_worker.core.status import STARTING, Standing


class Health:
    """Answers two questions about a worker.

    *Alive* (should it be restarted?): the loop has ticked within `stall_seconds`. A loop that waits for Kafka or Redis
    still ticks, since a restart would not end the wait and would cost the group membership. *Ready* (does it work?):
    the worker has its place in the group, and has waited less than `patience_seconds` for something outside.

    stall_seconds: longest time between two ticks of a live worker.
    patience_seconds: longest wait for Kafka, Redis or the disk of a ready worker.
    start_seconds: longest time before the first tick, since kernels may have to be compiled.
    """

    def __init__(
        self,
        clock: Clock,
        stall_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        start_seconds: float = 600.0,
    ) -> None:
        self._clock = clock
        self._stall_seconds, self._patience_seconds = stall_seconds, patience_seconds
        self._start_seconds = start_seconds
        self._ticked, self._has_begun = clock.monotonic(), False
        self._standing = STARTING
        self._waiting = ""
        self._waiting_since = 0.0

    def tick(self) -> None:
        self._ticked, self._has_begun = self._clock.monotonic(), True

    def stands(self, standing: Standing) -> None:
        self._standing = standing

    def waits(self, reason: str) -> None:
        """Set what the worker waits for; "" means nothing. The wait began with the first `reason` after a ""."""
        if not self._waiting:
            self._waiting_since = self._clock.monotonic()
        self._waiting = reason

    def waiting_seconds(self) -> float:
        return self._clock.monotonic() - self._waiting_since if self._waiting else 0.0

    def alive(self) -> tuple[bool, str]:
        """Return whether the loop makes progress, and a sentence that says so."""
        age = self._clock.monotonic() - self._ticked
        if not self._has_begun:
            return age <= self._start_seconds, f"starting for {age:.1f} s, at most {self._start_seconds:.1f} s allowed"
        return age <= self._stall_seconds, f"last tick {age:.1f} s ago, at most {self._stall_seconds:.1f} s allowed"

    def is_ready(self) -> tuple[bool, str]:
        """Return whether the worker does its work, and a sentence that says so and what it waits for."""
        reason, seconds = self._waiting, self.waiting_seconds()
        words = f"{self._standing.words}; waiting for {seconds:.0f} s: {reason}" if reason else self._standing.words
        return self._standing.ready and seconds < self._patience_seconds, words
