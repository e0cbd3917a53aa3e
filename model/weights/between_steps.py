"""Calls that a learner makes between its steps, to what else has a part in the weights."""

from __future__ import annotations

from typing import Protocol


class BetweenSteps(Protocol):
    """Something that has a part in the weights beside the steps; called where no list is made."""

    def before_step(self) -> None: ...

    def after_step(self) -> None: ...
