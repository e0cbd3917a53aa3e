"""The policy of a line on drift: it answers an alarm by learning differently for a while, a collapse by falling back.

The gain of each answer was measured (docs/drift.md). The policy only decides, by the count of learned events;
`loop.recovery` carries the answers out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from pydantic import dataclasses as checked

from stream_worker.core.drift import Alarm

Answer = Literal["fade", "rate", "replay", "rebuild"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
ROLLBACK = "rollback"
_HALF_LIVES = 10  # half-lives after which an answer ends: less than a thousandth of its excess is left (2^-10)
# Half-lives, in scored events, of the hit rate of now and of its level (not tuned).
_RECENT_EVENTS = 500
_LEVEL_EVENTS = 10_000


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class DriftConfig:
    """`[drift]`: answers to an alarm, and to a collapse (docs/drift.md has the measurements).

    fade:    a share of all that was counted of neighbours is left, once;
    rate:    all learning rates are multiplied by a factor, whose excess halves with time;
    replay:  only a share of the usual windows is replayed, and what is missing halves with time;
    rebuild: each user's (h, c) is computed again from the ring at the user's next event.

    In a *collapse* the hit rate falls below a share of its level while the slow copy of the weights is better, or too
    many steps in a row could not be taken. The line then falls back to the slow copy.
    """

    #: Answers to an alarm; empty: none. "rate" does no harm after a false alarm; "fade" cost .010 of the hit rate in a
    #: fifth of a log.
    answers: tuple[Answer, ...] = ("rate",)
    #: Share of the counts that "fade" leaves.
    fade_share: Annotated[float, Interval(gt=0, le=1)] = 0.3
    #: Factor of the learning rates under "rate". 2 and 8 gained less than 4.
    rate_factor: Annotated[float, Interval(gt=0, le=100)] = 4.0
    #: Events in which the excess of `rate_factor` over 1 halves.
    rate_events: PositiveInt = 1_000
    #: Share of the usual replayed windows that "replay" begins with. It helped an older model only.
    replay_share: Annotated[float, Interval(ge=0, le=10)] = 0.0
    #: Events in which what "replay" takes away halves.
    replay_events: PositiveInt = 2_000
    #: Whether a collapse is answered by the slow copy of the weights.
    rollback: bool = True
    #: Share of its level (over some 10,000 events) below which a hit rate (over some 500) may be a collapse.
    collapse_hit_rate: Annotated[float, Interval(gt=0, le=1)] = 0.5
    #: Nats by which the slow copy has to be better. In health the weights are better than their slow copy, by 0 to .5
    #: nats.
    collapse_nats: float = 0.1
    #: Steps in a row that could not be taken and so are a collapse.
    collapse_skips: PositiveInt = 8
    #: Events from one rollback to the next at the least, in which the line has to recover.
    rollback_rest_events: NonNegativeInt = 2_000


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
        """Return the factor of all learning rates after this many learned events; 1 if `rate` is not configured."""
        return self._fading("rate", self.config.rate_factor, self.config.rate_events, events)

    def replay_share(self, events: int) -> float:
        """Return the share of replayed windows after this many learned events; 1 if `replay` is not configured."""
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
        if not self.config.rollback or self.rests(events):
            return ""
        reason = next(filter(None, map(self._reason, verdicts)), "")
        if reason:
            self._rolled_back = events
            self.recent = self.level  # after a rollback only a new drop counts
        return reason

    def rests(self, events: int) -> bool:
        """Return whether a rollback was less than `rollback_rest_events` ago."""
        return self._rolled_back >= 0 and events - self._rolled_back < self.config.rollback_rest_events

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
