"""Carries out a line's answers to drift and collapse, between two batches.

A user's state is rebuilt at the user's next event, so that no tick pauses for all users. Each memory's own next offset
tells if its state has to be rebuilt, so this holds for users who are not on the device, and after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch
from model.encoder.remembering import IdsOfNumbers
from model.learner import Learner
from model.pace import Pace
from stream_worker.core.amounts import amount
from stream_worker.core.drift import Alarm
from stream_worker.core.drift_answers import ROLLBACK, DriftAnswers, DriftConfig, Verdict


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that was given. `name`: its name; `text`: a description for a person."""

    name: str
    text: str


class Recovery:
    """The answers of one line to drift and collapse.

    stale_below: by partition, the next offset; a memory whose n is not past it has its (h, c) rebuilt.
    rebuilt: users whose states were rebuilt.
    """

    def __init__(self, learner: Learner, config: DriftConfig) -> None:
        self.answers = DriftAnswers(config)
        self.stale_below: dict[int, int] = {}
        self.rebuilt = 0
        self._learner = learner

    def pace(self, thinning: int) -> Pace:
        """Return the pace of the next batch at this thinning."""
        events = self._learner.examined
        return Pace(thinning, self.answers.rate_factor(events), self.answers.replay_share(events))

    def before(self, batch: Batch, partition_B: NDArray[np.integer], ids_of_numbers: IdsOfNumbers) -> None:
        """Rebuild the stale states of a batch's users, before it is learned.

        batch, partition_B: the batch, and the partition of each event.
        ids_of_numbers: see `Remembering.rebuild`.
        """
        if self.stale_below:
            self._rebuild(batch, partition_B, ids_of_numbers)

    def _rebuild(self, batch: Batch, partition_B: NDArray[np.integer], ids_of_numbers: IdsOfNumbers) -> None:
        users = self._learner.users
        below_B = np.array([self.stale_below.get(partition, -1) for partition in partition_B.tolist()])
        stale_B = (users.next_offset_S[batch.slot_B] <= below_B) & (users.number_SL[batch.slot_B, -1] > 0)
        if stale_B.any():
            slots = np.unique(batch.slot_B[stale_B])
            self._learner.rebuild(slots, ids_of_numbers)
            self.rebuilt += len(slots)

    def after(self, alarms: Sequence[Alarm], hits_S: NDArray[np.bool_], offsets: Mapping[int, int]) -> list[Given]:
        """Begin the answers to a batch that was learned, and return them.

        alarms: the drift alarms that it raised.
        hits_S: True for the scored events whose item was in the list.
        offsets: L after the batch, by partition.
        """
        answers, events = self.answers, self._learner.examined
        given = [Given(name, self._text(name)) for name in answers.answer(alarms, events)]
        answers.watch(hits_S)
        if reason := answers.collapse(self._verdicts(), events):
            self._learner.roll_back()
            given.append(Given(ROLLBACK, reason))
        if any(answer.name == "fade" for answer in given):
            self._learner.counting.fade(answers.config.fade_share)
        if {"rebuild", ROLLBACK} & {answer.name for answer in given}:
            self.stale_below = dict(offsets)
        return given

    def rests(self) -> bool:
        """Return whether the line fell back, and has not had the events yet in which it has to recover."""
        return self.answers.rests(self._learner.examined)

    def _verdicts(self) -> list[Verdict]:
        learner = self._learner
        return [Verdict(part, guard.in_a_row, learner.referees[part].gain) for part, guard in learner.guards.items()]

    def _text(self, name: str) -> str:
        config = self.answers.config
        if name == "fade":
            return f"counts x{config.fade_share:g}"
        if name == "rate":
            return f"rate x{config.rate_factor:g}, half of it for {amount(config.rate_events, 'event')}"
        if name == "replay":
            return f"replay x{config.replay_share:g}, half of it for {amount(config.replay_events, 'event')}"
        return "states are rebuilt"

    def state_dict(self) -> dict[str, NDArray[Any]]:
        pairs = np.array(sorted(self.stale_below.items()), dtype=np.int64).reshape(-1, 2)
        return {"stale_below": pairs, **self.answers.state_dict()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.stale_below = dict(state["stale_below"].tolist())
        self.answers.load_state_dict(state)
