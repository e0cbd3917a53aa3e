"""The policy of a line on drift: it answers an alarm by learning differently for a while, a collapse by falling back.

The gain of each answer was measured (docs/drift.md). The policy only decides, by the count of learned events;
`loop.recovery` carries the answers out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.drift import Alarm

ANSWERS = ("fade", "rate", "replay", "rebuild")
ROLLBACK = "rollback"
_HALF_LIVES = 10  # half-lives after which an answer ends: less than a thousandth of its excess is left (2^-10)
# Half-lives, in scored events, of the hit rate of now and of its level (not tuned).
_RECENT_EVENTS = 500
_LEVEL_EVENTS = 10_000


@dataclass(frozen=True)
class DriftConfig:
    """`answers` to an alarm, any of
    fade:    `fade_share` of all that was counted of neighbours is left, once;
    rate:    all learning rates times `rate_factor`, the excess halving every `rate_events`;
    replay:  `replay_share` of the usual replayed windows, the lack halving every `replay_events`;
    rebuild: each user's (h, c) is made anew from the ring, by the weights of then, at the user's next event.

    A *collapse*: the hit rate falls below `collapse_hit_rate` times its level, and the slow copy of the weights is
    better by `collapse_nats`; or the last `collapse_skips` steps in a row could not be taken. The line then falls back
    to the slow copy, at most once in `rollback_rest_events`. `rollback` false: it never does.
    """

    answers: tuple[str, ...] = ("rate",)
    fade_share: float = 0.3
    rate_factor: float = 4.0
    rate_events: int = 1_000
    replay_share: float = 0.0
    replay_events: int = 2_000
    rollback: bool = True
    collapse_hit_rate: float = 0.5
    collapse_nats: float = 0.1
    collapse_skips: int = 8
    rollback_rest_events: int = 2_000

    def __post_init__(self) -> None:
        for name in self.answers:
            if name not in ANSWERS:
                raise ValueError(f"drift.answers: any of {', '.join(ANSWERS)}, got {name!r}")
        for name, least in (("rate_events", 1), ("replay_events", 1), ("collapse_skips", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"drift.{name}: at least {least}, got {getattr(self, name)}")
        if not 0 < self.rate_factor <= 100:
            raise ValueError(f"drift.rate_factor: above 0, at most 100, got {self.rate_factor}")
        if not 0 < self.fade_share <= 1:
            raise ValueError(f"drift.fade_share: above 0, at most 1, got {self.fade_share}")
        if not 0 <= self.replay_share <= 10:
            raise ValueError(f"drift.replay_share: from 0 to 10, got {self.replay_share}")
        if not 0 < self.collapse_hit_rate <= 1:
            raise ValueError(f"drift.collapse_hit_rate: above 0, at most 1, got {self.collapse_hit_rate}")


@dataclass(frozen=True)
class Verdict:
    """The health of one part of the weights.

    `part`: the name of the part (encoder, ranker).
    `skips`: how many of the last steps in a row were not taken.
    `gain`: by how many nats the slow copy's loss is lower than that of the live weights.
    """

    part: str
    skips: int
    gain: float


class DriftAnswers:
    """The policy, with its state: when an alarm was answered last, the hit rate of now (`recent`) and its `level`."""

    def __init__(self, config: DriftConfig) -> None:
        self.config = config
        self.recent = self.level = 0.0
        self._answered = self._rolled_back = -1
        self._scored = 0

    def answer(self, alarms: Sequence[Alarm], events: int) -> tuple[str, ...]:
        """Return the answers that begin now. `events`: events learned so far."""
        if not alarms or not self.config.answers:
            return ()
        self._answered = events
        return self.config.answers

    def rate_factor(self, events: int) -> float:
        return self._fading("rate", self.config.rate_factor, self.config.rate_events, events)

    def replay_share(self, events: int) -> float:
        return self._fading("replay", self.config.replay_share, self.config.replay_events, events)

    def _fading(self, name: str, first: float, half_life: int, events: int) -> float:
        age = events - self._answered
        if name not in self.config.answers or self._answered < 0 or age > _HALF_LIVES * half_life:
            return 1.0
        return float(1 + (first - 1) * 0.5 ** (age / half_life))

    def watch(self, hits_S: NDArray[np.bool_]) -> None:
        """Take hits of S scored events, in order, into both hit rates."""
        if not len(hits_S):
            return
        mean = float(hits_S.mean())
        self._scored += len(hits_S)
        self.recent += _weight(_RECENT_EVENTS, len(hits_S), self._scored) * (mean - self.recent)
        self.level += _weight(_LEVEL_EVENTS, len(hits_S), self._scored) * (mean - self.level)

    def collapse(self, verdicts: Sequence[Verdict], events: int) -> str:
        """Return why the line has to fall back to its slow copy now; empty if it has not."""
        rested = self._rolled_back < 0 or events - self._rolled_back >= self.config.rollback_rest_events
        if not self.config.rollback or not rested:
            return ""
        reason = next(filter(None, map(self._reason, verdicts)), "")
        if reason:
            self._rolled_back = events
            self.recent = self.level  # after a rollback only a new drop counts
        return reason

    def _reason(self, verdict: Verdict) -> str:
        config = self.config
        if verdict.skips >= config.collapse_skips:
            return f"{verdict.part}: {verdict.skips} steps in a row could not be taken"
        known = self._scored >= _LEVEL_EVENTS // 10
        if known and self.recent < config.collapse_hit_rate * self.level and verdict.gain > config.collapse_nats:
            return (
                f"{verdict.part}: hit rate {self.recent:.3f} after {self.level:.3f}, "
                f"the slow copy better by {verdict.gain:.2f} nats"
            )
        return ""

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {
            "counts": np.array([self._answered, self._rolled_back, self._scored], np.int64),
            "rates": np.array([self.recent, self.level]),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._answered, self._rolled_back, self._scored = state["counts"].tolist()
        self.recent, self.level = state["rates"].tolist()


def _weight(half_life: int, count: int, total: int) -> float:
    """Return the weight of the mean of `count` events in a running mean over `total` events.

    The running mean forgets with this half-life (in events). Before `total` has reached the half-life, all events
    weigh at least as in a plain mean.
    """
    return float(max(1 - 0.5 ** (count / half_life), count / total if total < half_life else 0.0))
