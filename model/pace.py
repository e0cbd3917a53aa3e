"""The pace of learning: share of events that is examined, and learning rates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Pace of one tick.

    thinning: one in `thinning` events, drawn at random, is examined: predicted, scored and learned from. All events
        are remembered and counted. Above 1 there are fewer candidates, too.
    rate_factor: factor on all learning rates; 1.0: as configured
    replay_share: factor on the number of replayed targets; 1.0: as configured
    heard_one_in: one in so many heard events, drawn at random, is examined; 0: they are counted only, and their users'
        (h, c) stay as they are
    """

    thinning: int = 1
    rate_factor: float = 1.0
    replay_share: float = 1.0
    heard_one_in: int = 1
