"""The effort that is spent on learning: all events are learned from at rest, fewer while the worker is behind.

One number sets it, the *thinning* t: one of t events, drawn at random, is predicted, scored and learned from, and
batches and mini-batches are t times as large. Every event is remembered and counted, and every user with an event gets
a list.

Of the events that are heard from partitions of other workers one in k is examined: k doubles before t does, up to 16,
then to none of them, and halves after it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated

from annotated_types import Interval
from pydantic import NonNegativeInt, PositiveFloat
from pydantic import dataclasses as checked

# Thinning that doubles again within 10 x patience after a halving was halved too early: then patience doubles, up to
# 16 x `calm_seconds` (docs/experiments/less-effort.md; the two numbers are not tuned).
_TOO_EARLY, _MOST_PATIENCE = 10, 16
# A first catch-up learns from at most 2 x `learn_backlog` records in full (not tuned). Without a bound it would never
# end where more events arrive than can be learned from.
_MOST_BACKLOGS = 2
_MOST_ONE_IN = 16  # of heard events; beyond it none is examined
# Time of an event that is only counted, where one that is examined takes 1 (28 to 45 were measured). Heard events get
# a third of a tick's time, half of what the own ones take.
_COUNTED, _HEARD_SHARE = 1 / 32, 1 / 2


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class EffortConfig:
    """`[effort]`: how thinning follows the lag (docs/effort.md, ADR 0012).

    `run` doubles thinning while it is behind, and halves it once it is calm again. A halving at most doubles the work;
    where it did more, the next one waits for twice as long. `replay` stays at `thinning`.
    """

    #: Events of which one is predicted, scored and learned from while the worker is at rest. 1 is all of the quality; 4
    #: costs .01 of the hit rate (docs/speed.md).
    thinning: Annotated[int, Interval(ge=1, le=256)] = 1
    #: Thinning at the most while the worker is behind; at least `thinning`, and with the same number effort never
    #: changes. Beyond 8 little more speed is to be had (docs/speed.md).
    most_thinning: Annotated[int, Interval(ge=1, le=256)] = 16
    #: Seconds of work, at the recent pace: thinning doubles when more than this, and more than one batch, is unread
    #: after a tick. With .5 lists became a second old (less-effort in docs/experiments).
    behind_seconds: PositiveFloat = 0.25
    #: Seconds over which `idle_share` is measured.
    calm_seconds: PositiveFloat = 3.0
    #: Share of `calm_seconds` spent waiting for events at which thinning halves. More than half, since a halving at
    #: most doubles the work.
    idle_share: Annotated[float, Interval(ge=0.5, lt=1)] = 0.55
    #: Unread records up to which a line that began without a checkpoint does not thin, until it has caught up or done
    #: twice as many; 0: it thins at once. Thinned history cost .07 of the hit rate; a million records take 8 minutes on
    #: two cores (docs/effort.md).
    learn_backlog: NonNegativeInt = 1_000_000

    def __post_init__(self) -> None:
        if self.most_thinning < self.thinning:
            raise ValueError(
                f"effort.most_thinning: must be at least thinning ({self.thinning}), got {self.most_thinning}"
            )


class Effort:
    """The thinning of now. It follows the lag if `follows`, else it stays as configured.

    A line that has no checkpoint to start from does a *first catch-up*: it learns in full from the records that it
    finds. `catch_up_left` is how many records may still be learned from in full; 0 when the catch-up is over, or there
    is none. `caught_up`: it was over because the line had caught up, not because it had done as many as it may.

    heard_one_in: one in so many heard events is examined; 0: none.
    """

    def __init__(self, config: EffortConfig, follows: bool, heard_one_in: int = 1) -> None:
        self.config = config
        self.thinning = config.thinning
        self.heard_one_in = heard_one_in
        self.catch_up_left = 0
        self.caught_up = False
        self._follows = follows
        self._hears = False
        self._patience = config.calm_seconds
        self._held: float | None = None  # seconds since the last change, where that was a halving
        self._waited = self._worked = 0.0
        self._records = 0

    @property
    def most(self) -> int:
        """The largest thinning that is possible."""
        return self.config.most_thinning if self._follows else self.config.thinning

    def most_heard(self, batch_size: int, owns: bool) -> int:
        """Return how many heard records a tick takes at the most, so that own ones do not wait for long.

        batch_size: records of a batch at a thinning of 1.
        owns: False for a worker without partitions, which has all of its time for what it hears.
        """
        if not self._follows:
            return sys.maxsize
        own = batch_size * self.thinning * _cost(self.thinning)
        return max(1, int(own * (_HEARD_SHARE if owns else 1) / _cost(self.heard_one_in)))

    def begin_without_a_past(self) -> None:
        """Begin a first catch-up, since the line has no checkpoint to start from."""
        self.catch_up_left = _MOST_BACKLOGS * self.config.learn_backlog if self._follows else 0

    def state_dict(self) -> dict[str, int]:
        return {"catch_up_left": self.catch_up_left}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on with a first catch-up during which the line was stopped."""
        self.catch_up_left = state.get("catch_up_left", 0) if self._follows else 0

    def ticked(
        self,
        lag: int,
        records: int,
        batch_size: int,
        waited: float,
        worked: float,
        known: bool = True,
        hears: bool = False,
    ) -> bool:
        """Adjust the effort after a tick; return True if it has changed.

        `lag`: records left unread, owned or heard.
        `records`: records that the tick read.
        `batch_size`: records of a batch at a thinning of 1.
        `waited`: seconds that the tick waited for records.
        `worked`: seconds that it worked on them.
        `known`: False if there may be more unread records than `lag` says.
        `hears`: True if partitions of others are heard.
        """
        if not self._follows:
            return False
        before = self.thinning, self.heard_one_in
        self._hears = hears
        if not hears:
            self.heard_one_in = 1
        self._waited += waited
        self._worked += worked
        self._records += records
        if self._held is not None:
            self._held += waited + worked
        behind = lag > max(batch_size, self.config.behind_seconds * self._records / max(self._worked, 1e-9))
        if self._catches_up(lag, records, caught_up=known and not behind):
            self._learn_from_all()
            if behind:
                self._hear_less()
        elif behind:
            self._double()
        elif (seconds := self._waited + self._worked) >= self._patience:
            if self._waited >= self.config.idle_share * seconds:
                self._halve()
            self._begin()
        return (self.thinning, self.heard_one_in) != before

    def _catches_up(self, lag: int, records: int, caught_up: bool) -> bool:
        """Return True if the first catch-up lets the next records be learned from in full."""
        if caught_up:
            self.caught_up, self.catch_up_left = self.caught_up or self.catch_up_left > 0, 0
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
        self._held = None
        if not self._hear_less():
            self.thinning = min(2 * self.thinning, self.most)
        self._begin()

    def _hear_less(self) -> bool:
        """Examine fewer heard events; return False if none is examined already, or there are none."""
        if not self._hears or self.heard_one_in == 0:
            return False
        self.heard_one_in = 2 * self.heard_one_in if self.heard_one_in < _MOST_ONE_IN else 0
        return True

    def _hear_more(self) -> bool:
        """Examine more heard events; return False if all are examined, or there are none."""
        if not self._hears or self.heard_one_in == 1:
            return False
        self.heard_one_in = self.heard_one_in // 2 if self.heard_one_in else _MOST_ONE_IN
        return True

    def _halve(self) -> None:
        if self.thinning == self.config.thinning and not (self._hears and self.heard_one_in != 1):
            return
        if self._held is not None:  # thinning has not doubled since the last halving, so that one was not too early
            self._patience = self.config.calm_seconds
        if self.thinning > self.config.thinning:
            self.thinning = max(self.thinning // 2, self.config.thinning)
        else:
            self._hear_more()
        self._held = 0.0

    def _begin(self) -> None:
        self._waited, self._worked, self._records = 0.0, 0.0, 0


def _cost(one_in: int) -> float:
    """Return the time of an event where one in so many is examined (0: none), in times of one that is."""
    return (1 / one_in if one_in else 0) + _COUNTED
