"""How much learning is done for each event: all of it at rest, less while the worker is behind.

The *thinning* t is the dial: of t events one, drawn at random, is predicted, scored and learned from, and batches and
mini-batches are t times as large. Every event is remembered and counted, and every user touched gets a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# A halving that had to be taken back within so many calm times was too early; the next one waits longer, up to so much.
_TOO_EARLY, _MOST_PATIENCE = 10, 16
# A first catch-up ends after so many times `learn_backlog` at the latest: where more comes in than can be learned from
# in full, it would have no end.
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
    """Follows the lag where `follows`, else stays as configured.

    A *first catch-up* is what a line without a past does with the records that it finds. `catch_up_left`: so many may
    still be learned from in full on its account; 0: it is over, or there is none.
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
        """The largest thinning there can be."""
        return self.config.most_thinning if self._follows else self.config.thinning

    def begin_without_a_past(self) -> None:
        """The line has no checkpoint to start from."""
        self.catch_up_left = _MOST_BACKLOGS * self.config.learn_backlog if self._follows else 0

    def state_dict(self) -> dict[str, int]:
        return {"catch_up_left": self.catch_up_left}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """A line that was stopped during its first catch-up goes on with it."""
        self.catch_up_left = state.get("catch_up_left", 0) if self._follows else 0

    def ticked(self, lag: int, records: int, batch_size: int, waited: float, worked: float, known: bool = True) -> bool:
        """After a tick that read so many records and left `lag` unread, waited for them and worked on them for so many
        seconds; `batch_size` at a thinning of 1. Not `known`: there may be more unread. Returns whether the thinning is
        another one now."""
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
        """Whether the next records are learned from in full on the first catch-up's account."""
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
        if self._held is not None:  # and so the last one was not too early
            self._patience = self.config.calm_seconds
        self.thinning, self._held = max(self.thinning // 2, self.config.thinning), 0.0

    def _begin(self) -> None:
        self._waited, self._worked, self._records = 0.0, 0.0, 0
