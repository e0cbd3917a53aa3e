"""How much of a batch is examined, and how fast the weights follow it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Effort and haste of one tick.

    thinning: one of so many events, drawn at random, is examined: predicted, scored and learned from. All are
        remembered and counted. Above 1 candidates are looked for less broadly, too.
    rate_factor: is applied to all learning rates, 1.0 for the configured ones
    replay_share: is applied to the number of replayed targets, 1.0 for the configured one
    """

    thinning: int = 1
    rate_factor: float = 1.0
    replay_share: float = 1.0
