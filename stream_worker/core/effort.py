"""The effort that is spent on learning: all events are learned from at rest, fewer while the worker is behind.

One number sets it, the *thinning* t: one of t events, drawn at random, is predicted, scored and learned from, and
batches and mini-batches are t times as large. Every event is remembered and counted, and every user with an event gets
a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Thinning that doubles again within 10 x patience after a halving was halved too early: then patience doubles, up to
# 16 x `calm_seconds` (docs/experiments/less-effort.md; the two numbers are not tuned).
_TOO_EARLY, _MOST_PATIENCE = 10, 16
# A first catch-up learns from at most 2 x `learn_backlog` records in full (not tuned). Without a bound it would never
# end where more events arrive than can be learned from.
_MOST_BACKLOGS = 2


@dataclass(frozen=True)
class EffortConfig:
    """`thinning`: at rest, and always in `replay`. `run` doubles it, up to `most_thinning` (the same: never), after a
    tick that leaves more unread than a batch at rest, and than can be done in `behind_seconds` at the pace of late. It
    halves it again, down to `thinning`, once the worker waited for events `idle_share` of the last `calm_seconds`, and
    is not behind: halving at most doubles the work. Where it did more, the next halving waits for twice as long.

    `learn_backlog`: a line that had no checkpoint to start from does not thin while at most so many records are unread,
    until it has caught up for the first time, or done twice as many; 0: it thins at once."""

    thinning: int = 1
    most_thinning: int = 16
    behind_seconds: float = 0.25
    calm_seconds: float = 3.0
    idle_share: float = 0.55
    learn_backlog: int = 1_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.thinning <= 256:
            raise ValueError(f"effort.thinning: from 1 to 256, got {self.thinning}")
        if not self.thinning <= self.most_thinning <= 256:
            raise ValueError(f"effort.most_thinning: from thinning ({self.thinning}) to 256, got {self.most_thinning}")
        for name in ("behind_seconds", "calm_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"effort.{name}: above 0, got {getattr(self, name)}")
        if not 0.5 <= self.idle_share < 1:
            raise ValueError(f"effort.idle_share: from 0.5 to below 1, got {self.idle_share}")
        if self.learn_backlog < 0:
            raise ValueError(f"effort.learn_backlog: at least 0, got {self.learn_backlog}")


class Effort:
    """The thinning of now. It follows the lag if `follows`, else it stays as configured.

    A line that has no checkpoint to start from does a *first catch-up*: it learns in full from the records that it
    finds. `catch_up_left` is how many records may still be learned from in full; 0 when the catch-up is over, or there
    is none.
    """

    def __init__(self, config: EffortConfig, follows: bool) -> None:
        self.config = config
        self.thinning = config.thinning
        self.catch_up_left = 0
        self._follows = follows
        self._patience = config.calm_seconds
        self._held: float | None = None  # seconds since the last change, where that was a halving
        self._waited = self._worked = 0.0
        self._records = 0

    @property
    def most(self) -> int:
        """The largest thinning that is possible."""
        return self.config.most_thinning if self._follows else self.config.thinning

    def begin_without_a_past(self) -> None:
        """Begin a first catch-up, since the line has no checkpoint to start from."""
        self.catch_up_left = _MOST_BACKLOGS * self.config.learn_backlog if self._follows else 0

    def state_dict(self) -> dict[str, int]:
        return {"catch_up_left": self.catch_up_left}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on with a first catch-up during which the line was stopped."""
        self.catch_up_left = state.get("catch_up_left", 0) if self._follows else 0

    def ticked(self, lag: int, records: int, batch_size: int, waited: float, worked: float, known: bool = True) -> bool:
        """Adjust the thinning after a tick; return True if it has changed.

        `lag`: records left unread.
        `records`: records that the tick read.
        `batch_size`: records of a batch at a thinning of 1.
        `waited`: seconds that the tick waited for records.
        `worked`: seconds that it worked on them.
        `known`: False if there may be more unread records than `lag` says.
        """
        if not self._follows:
            return False
        before = self.thinning
        self._waited += waited
        self._worked += worked
        self._records += records
        if self._held is not None:
            self._held += waited + worked
        behind = lag > max(batch_size, self.config.behind_seconds * self._records / max(self._worked, 1e-9))
        if self._catches_up(lag, records, caught_up=known and not behind):
            self._learn_from_all()
        elif behind:
            self._double()
        elif (seconds := self._waited + self._worked) >= self._patience:
            if self._waited >= self.config.idle_share * seconds:
                self._halve()
            self._begin()
        return self.thinning != before

    def _catches_up(self, lag: int, records: int, caught_up: bool) -> bool:
        """Return True if the first catch-up lets the next records be learned from in full."""
        if caught_up:
            self.catch_up_left = 0
        elif lag <= self.config.learn_backlog:
            self.catch_up_left = max(0, self.catch_up_left - records)
        return self.catch_up_left > 0 and lag <= self.config.learn_backlog

    def _learn_from_all(self) -> None:
        if self.thinning != self.config.thinning:
            self.thinning, self._held = self.config.thinning, None
            self._begin()

    def _double(self) -> None:
        if self._held is not None:
            too_early = self._held < _TOO_EARLY * self._patience
            longer = min(2 * self._patience, _MOST_PATIENCE * self.config.calm_seconds)
            self._patience = longer if too_early else self.config.calm_seconds
        self.thinning, self._held = min(2 * self.thinning, self.most), None
        self._begin()

    def _halve(self) -> None:
        if self.thinning == self.config.thinning:
            return
        if self._held is not None:  # thinning has not doubled since the last halving, so that one was not too early
            self._patience = self.config.calm_seconds
        self.thinning, self._held = max(self.thinning // 2, self.config.thinning), 0.0

    def _begin(self) -> None:
        self._waited, self._worked, self._records = 0.0, 0.0, 0
