"""The pace of a worker's ticks: how much is read and learned in one, as its effort follows the lag."""

from __future__ import annotations

from dataclasses import replace

from model.pace import Pace
from stream_worker.core.effort import Effort
from stream_worker.core.offsets import Offsets
from stream_worker.core.status import Status
from stream_worker.logs import get_logger
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.line import Line

_log = get_logger(__name__)
# The two ends of a first catch-up; new records keep coming, so the lag is hardly ever 0.
_CAUGHT_UP = "the first catch-up is over: what is unread is less than a batch, or than effort.behind_seconds of work"
_NOT_CAUGHT_UP = "the first catch-up ends behind: it has learned from twice effort.learn_backlog records"


class Pacing:
    """The effort of one worker, as its loop asks for it.

    batch_size: records of a batch at a thinning of 1.
    """

    def __init__(
        self, effort: Effort, batch_size: int, line: Line, hearing: Hearing, offsets: Offsets, status: Status
    ) -> None:
        self.effort = effort
        self._batch_size = batch_size
        self._line, self._hearing, self._offsets, self._status = line, hearing, offsets, status

    def pace(self) -> Pace:
        """Return the pace of the next batch, with what answers to drift have changed."""
        return self.now(self._line.recovery.pace(self.effort.thinning))

    def now(self, pace: Pace) -> Pace:
        """Return a pace with the effort of now."""
        return replace(pace, thinning=self.effort.thinning, heard_one_in=self.effort.heard_one_in)

    def most_owned(self) -> int:
        """Return how many records of owned partitions a tick takes at the most."""
        return self._batch_size * self.effort.thinning

    def most_heard(self) -> int:
        """Return how many records of heard partitions a tick takes at the most."""
        return self.effort.most_heard(self._batch_size, owns=bool(self._offsets.owned()))

    def behind(self) -> bool:
        """Return True if more than a batch of owned records was unread after the last tick."""
        return sum(self._status.consuming.lag.values()) > self._batch_size

    def follow(self, records: int, seconds: float) -> None:
        """Let the effort follow the lag. `records`, `seconds`: what the tick read, and how long it took."""
        effort, waited = self.effort, self._status.stage_seconds["poll"]
        own, heard = self._status.consuming.lag, self._status.hearing.lag
        # Heard records that wait for a broker, and not for this worker, are no reason to learn less.
        to_hear = sum(heard.values()) if self._hearing.more else 0
        lag, owned = sum(own.values()) + to_hear, self._offsets.owned()
        known = bool(owned) and own.keys() >= set(owned)
        before, heard_one_in = effort.catch_up_left, effort.heard_one_in
        if effort.ticked(lag, records, self._batch_size, waited, seconds - waited, known, hears=bool(heard)):
            _log.info("effort", one_in=effort.thinning, heard_one_in=effort.heard_one_in, lag=lag)
        if heard and not heard_one_in and effort.heard_one_in:
            self._line.recovery.stale_below |= self._hearing.learned()  # their users' (h, c) have stood still
        if before and not effort.catch_up_left:
            _log.info(_CAUGHT_UP if effort.caught_up else _NOT_CAUGHT_UP, events=self._line.learner.events, lag=lag)
