"""How much learning is done for each event: all of it at rest, less while the worker is behind.

The *thinning* t is the dial: of t events one, drawn at random, is predicted, scored and learned from, and batches and
mini-batches are t times as large. Every event is remembered and counted, and every user touched gets a list.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EffortConfig:
    """`thinning`: at rest, and always in `replay`. `run` doubles it, up to `most_thinning` (the same: never), after a
    tick that leaves more unread than a batch, and than can be done in `behind_seconds` at the pace of that tick. It
    halves it again, down to `thinning`, once the worker waited for events `idle_share` of the last `calm_seconds`, and
    less than a batch is unread: halving at most doubles the work."""

    thinning: int = 1
    most_thinning: int = 16
    behind_seconds: float = 0.5
    calm_seconds: float = 3.0
    idle_share: float = 0.55

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


class Effort:
    """Follows the lag where `follows`, else stays as configured."""

    def __init__(self, config: EffortConfig, follows: bool) -> None:
        self.config = config
        self.thinning = config.thinning
        self._follows = follows
        self._waited = self._worked = 0.0

    @property
    def most(self) -> int:
        """The largest thinning there can be."""
        return self.config.most_thinning if self._follows else self.config.thinning

    def ticked(self, lag: int, records: int, batch_size: int, waited: float, worked: float) -> bool:
        """After a tick that read so many records and left `lag` unread, waited for them and worked on them for so many
        seconds; `batch_size` at a thinning of 1. Returns whether the thinning is another one now."""
        if not self._follows:
            return False
        self._waited += waited
        self._worked += worked
        before, batch = self.thinning, batch_size * self.thinning
        if lag > max(batch, self.config.behind_seconds * records / max(worked, 1e-9)):
            self._change(min(2 * before, self.most))
        elif self._waited + self._worked >= self.config.calm_seconds:
            idle = self._waited >= self.config.idle_share * (self._waited + self._worked)
            self._change(max(before // 2, self.config.thinning) if idle and lag < batch else before)
        return self.thinning != before

    def _change(self, thinning: int) -> None:
        self.thinning = thinning
        self._waited = self._worked = 0.0
