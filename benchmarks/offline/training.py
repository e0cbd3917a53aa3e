"""Training on windows of the users' histories: each event but a user's first is a target once per epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.offline import losses
from benchmarks.offline.log import IntArray, Log


class SequenceModel(Protocol):
    """Item vectors, an item bias, and a state at each place of a window: an `nn.Module`."""

    items: nn.Embedding

    @property
    def bias(self) -> Tensor: ...
    def __call__(self, items_BT: Tensor) -> Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def optimizer(self) -> torch.optim.Optimizer: ...
    def train(self, mode: bool = True) -> object: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object: ...


ModelMaker = Callable[[int], SequenceModel]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training.

    window: items of a history that the model sees
    places: targets of a step, approximately
    loss: "softmax" or "binary"
    full_up_to: the most items for which softmax is over all; for more, it is over `negatives` drawn by count^`alpha`
    in_time_order: go through the log in its order, as the authors of GRU4Rec do; otherwise in random order
    """

    window: int = 50
    places: int = 512
    loss: str = "softmax"
    full_up_to: int = 4_096
    negatives: int = 2_048
    alpha: float = 0.5
    in_time_order: bool = True
    seed: int = 0


class Trainer:
    """A trainer of one model on the first `end` events of a log, one epoch per call."""

    def __init__(self, make: ModelMaker, log: Log, end: int, config: TrainingConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.items = log.known_items(end)
        self.model = make(self.items)
        self.windows = Windows(log, end, config.window)
        self._rng = np.random.default_rng(config.seed)
        self._optimizer = self.model.optimizer()
        counts_N = np.bincount(log.item_E[:end] + 1, minlength=self.items + 1).astype(np.float64)
        self._q_N = torch.from_numpy(counts_N**config.alpha * (counts_N > 0)).float()
        self._q_N /= self._q_N.sum()

    def epoch(self) -> float:
        """Train for one epoch. Return the mean loss."""
        self.model.train()
        sums = [self._step(inputs, targets) for inputs, targets in self._batches()]
        return float(np.mean(sums)) if sums else 0.0

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        spans = self.windows.spans(self._rng)
        spans = spans[np.argsort(spans[:, 2], kind="stable")] if self.config.in_time_order else spans
        for batch in cut(spans, self.config.places, self._rng):
            yield self.windows.batch(batch)

    def _step(self, inputs_BT: Tensor, targets_BT: Tensor) -> float:
        real_BT = targets_BT > 0
        loss = self._loss(self.model(inputs_BT)[real_BT], targets_BT[real_BT])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, states_MD: Tensor, targets_M: Tensor) -> Tensor:
        vectors_ND, bias_N = self.model.items.weight, self.model.bias
        if self.config.loss == "binary":
            others_M = torch.randint(1, self.items + 1, targets_M.shape)
            return losses.binary(states_MD, targets_M, vectors_ND, bias_N, others_M)
        if self.items <= self.config.full_up_to:
            return losses.full_softmax(states_MD, targets_M, vectors_ND, bias_N)
        sampled_S = torch.multinomial(self._q_N, self.config.negatives, replacement=True)
        return losses.sampled_softmax(
            states_MD, targets_M, vectors_ND, bias_N, sampled_S, self._q_N.clamp_min(1e-12).log()
        )


class Windows:
    """Stretches of at most `length` + 1 items of one user. Longer histories are cut at places that differ by epoch."""

    def __init__(self, log: Log, end: int, length: int) -> None:
        self._length = length
        order_E = np.argsort(log.user_E[:end], kind="stable")
        self._rows_E = torch.from_numpy(log.item_E[:end][order_E] + 1)
        self._event_E = order_E
        counts_U = np.bincount(log.user_E[:end])
        self._first_U, self._last_U = np.cumsum(counts_U) - counts_U, np.cumsum(counts_U) - 1

    def spans(self, rng: np.random.Generator) -> IntArray:
        """Return [W, 3] in random order: first input, number of targets, and the last event of the window."""
        begins, ends = self._cuts(rng)
        spans = np.stack([begins, ends - begins, self._event_E[ends]], axis=1)
        return rng.permutation(spans[ends > begins])

    def _cuts(self, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        long_U = self._last_U - self._first_U > self._length
        begins, ends = [self._first_U[~long_U]], [self._last_U[~long_U]]
        for first, last in zip(self._first_U[long_U], self._last_U[long_U], strict=True):
            inner = np.arange(first + rng.integers(1, self._length + 1), last, self._length)
            begins.append(np.concatenate([[first], inner]))
            ends.append(np.concatenate([inner, [last]]))
        return np.concatenate(begins), np.concatenate(ends)

    def batch(self, spans_B: IntArray) -> tuple[Tensor, Tensor]:
        """Return inputs and targets [B, T], padded with 0 at the end."""
        begin_B, size_B = torch.from_numpy(spans_B[:, 0]), torch.from_numpy(spans_B[:, 1])
        offset_T = torch.arange(int(size_B.max()))
        real_BT = offset_T < size_B[:, None]
        place_BT = (begin_B[:, None] + offset_T).masked_fill(~real_BT, 0)
        return self._rows_E[place_BT] * real_BT, self._rows_E[(place_BT + 1) * real_BT] * real_BT


def cut(spans: IntArray, places: int, rng: np.random.Generator, pool: int = 32) -> Iterator[IntArray]:
    """Yield batches of about `places` targets. Within `pool` batches, windows of similar length go together, so that
    little is padding."""
    group = np.cumsum(spans[:, 1]) // (pool * places)
    for number in np.unique(group):
        members = spans[group == number]
        members = members[np.argsort(members[:, 1], kind="stable")]
        batch = np.cumsum(members[:, 1]) // places
        for one in rng.permutation(np.unique(batch)):
            yield members[batch == one]
