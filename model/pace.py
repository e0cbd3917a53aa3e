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
    """

    thinning: int = 1
    rate_factor: float = 1.0
    replay_share: float = 1.0
