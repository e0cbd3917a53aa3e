"""An exchange of weights between lines of one process, which is the same at every run."""

from __future__ import annotations

from model.learner import Learner
from model.weights.gift import Gift
from model.weights.shared_weights import SharedWeights


class Exchange:
    """The newest gift of each line. Every line takes each gift once, before its next step."""

    def __init__(self) -> None:
        self._shared: dict[str, SharedWeights] = {}
        # Line -> the newest gift of each other line that it has not taken.
        self._waiting: dict[str, dict[str, Gift]] = {}

    def join(self, name: str, learner: Learner) -> None:
        """Let a line give after each of its steps, and take before the next one."""
        self._shared[name], self._waiting[name] = SharedWeights(learner), {}
        learner.life.start.share(learner.catalog)
        learner.between_steps = _Place(self, name, learner)

    def give(self, name: str, learner: Learner) -> None:
        """Give a line's weights to all others."""
        if (gift := self._shared[name].give()) is not None:
            for other in self._waiting.keys() - {name}:
                self._waiting[other][name] = gift

    def take(self, name: str, learner: Learner) -> None:
        """Bring a line's weights to the mean with what others gave since it last took."""
        waiting, self._waiting[name] = self._waiting[name], {}
        self._shared[name].take([waiting[other] for other in sorted(waiting)])


class _Place:
    """The place of one line in an exchange."""

    def __init__(self, exchange: Exchange, name: str, learner: Learner) -> None:
        self._exchange, self._name, self._learner = exchange, name, learner

    def before_step(self) -> None:
        self._exchange.take(self._name, self._learner)

    def after_step(self) -> None:
        self._exchange.give(self._name, self._learner)
