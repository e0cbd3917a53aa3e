"""Training of the encoder: one Adam step per mini-batch, on fresh windows and replayed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.encoder.compared import Compared, compared_loss
from model.encoder.encoder import Encoder
from model.encoder.losses import Loss, log_inclusion
from model.encoder.prefixes import prefixes
from model.encoder.replay import Examples, Replay
from model.encoder.window_starts import WindowStarts
from model.items.catalog import Catalog
from model.items.item_table import ItemTable
from model.optimizers.guarded_adam import GuardedAdam
from model.optimizers.row_adam import Rows, as_rows
from model.optimizers.slow_copy import DECAY
from model.state import joined, load_parts, state_below, state_of_parts

_MOST_DRAWN = 0.999999  # keeps a draw from [0, 1) inside the cumulated probabilities, which may end below 1
# Weight of a fresh example in the loss; a replayed one has 1. Measured: docs/experiments/encoder-steps.md.
_FRESH_WEIGHT = 2.0


class EncoderTrainer:
    """Trains the encoder and the item vectors on examples.

    Columns of M examples:
        window, type, gap: item rows, event types and time buckets of the W events before the target [M, W]
        target: row of the target [M]
        generation: generation of the catalogue that these rows belong to [M]
        targets: number of newest events to predict [M] (see `prefixes`); a replayed window predicts `targets`
        most: number of newest events that may be predicted [M] (see `prefixes.most_targets`)
        h, c, step: start states, see `WindowStarts`
        weight: weight in the loss [M]

    A target is compared with all `live` rows, or with a sample of `negatives` if there are more than
    `full_softmax_items`.
    """

    def __init__(
        self,
        encoder: Encoder,
        items: ItemTable,
        replay: Replay,
        starts: WindowStarts,
        rng: np.random.Generator,
        *,
        is_target_T: NDArray[np.bool_],
        targets: int,
        criterion: Loss,
        learning_rate: float,
        full_softmax_items: int,
        negatives: int,
        item_vectors_learned: bool,
    ) -> None:
        self.replay = replay
        self.fresh: Examples = {}
        self.optimizer = GuardedAdam(encoder, learning_rate, DECAY)
        self.steps = 0
        self._starts, self._criterion = starts, criterion
        self._encoder, self._items, self._rng = encoder, items, rng
        self._is_target_T, self._targets = is_target_T, targets
        self._full_softmax_items, self._negatives = full_softmax_items, negatives
        self._item_vectors_learned = item_vectors_learned

    def collect(self, fresh: Examples) -> None:
        """Keep examples for `learn`."""
        self.fresh = _joined(self.fresh, fresh) if self.fresh else fresh

    def learn(
        self,
        replayed: int,
        live: NDArray[np.int64],
        hot_N: NDArray[np.float64],
        catalog: Catalog,
        rate_factor: float,
    ) -> float | None:
        """Take one step on the collected examples. Returns its loss, None without examples.

        replayed: number of older targets beside the fresh ones
        live: rows that targets are compared with
        hot_N: decayed count of each row
        catalog: says which row an item has now
        rate_factor: factor on the learning rate
        """
        fresh, self.fresh = self.fresh, {}
        fresh = self._starts.added(_current(fresh, catalog), self.steps)
        older = self.replay.sample(replayed // self._targets, self._rng)
        if older:
            older["targets"] = np.minimum(older["most"], self._targets).astype(np.uint8)
            older = self._starts.renewed(_current(older, catalog), self.steps)
        self.replay.add(fresh, self._rng)
        fresh = _weighed(_whole(fresh), _FRESH_WEIGHT)
        examples = _joined(_weighed(_whole(older), 1.0), fresh) if older else fresh
        if not len(examples["target"]):
            return None
        compared, log_q_S = self._compared(live, hot_N)
        if self.optimizer.referee.due() and len(fresh["target"]):
            self._ask_the_referee(fresh, compared, log_q_S)
        return self._step(examples, compared, log_q_S, rate_factor)

    def _step(
        self, examples: Examples, compared: NDArray[np.int64], log_q_S: Tensor | None, rate_factor: float
    ) -> float:
        self.steps += 1
        at, local_N = self._local(examples, compared)
        table = self._items.table_ND1[at].detach().requires_grad_()
        loss = self._loss(self._encoder, table, local_N, examples, compared, log_q_S, self._drop)
        step = self.optimizer.step(loss, rate_factor, beside=table)
        if step.taken and self._item_vectors_learned and table.grad is not None:
            rate = self.optimizer.learning_rate * rate_factor
            self._items.step(at, table.grad, rate, followed=step.usual)
        return step.loss

    @torch.no_grad()
    def _ask_the_referee(self, fresh: Examples, compared: NDArray[np.int64], log_q_S: Tensor | None) -> None:
        at, local_N = self._local(fresh, compared)
        fast, slow = self._items.table_ND1[at], self._items.averages(at)
        weights = ((self._encoder, fast), (self.optimizer.slow.module, slow))
        losses = [self._loss(*pair, local_N, fresh, compared, log_q_S, lambda x: x) for pair in weights]
        self.optimizer.referee.note(*torch.stack(losses).tolist())

    def _local(self, examples: Examples, compared: NDArray[np.int64]) -> tuple[Rows, NDArray[np.int32]]:
        """Return the rows that these examples touch, and the place of each table row among them (-1: none)."""
        touched_N = np.zeros(self._items.rows + 1, dtype=np.bool_)  # the last one for -1, where no item is
        for rows in (compared, examples["target"], examples["window"][:, -self._encoder.config.window :]):
            touched_N[rows] = True
        rows = np.flatnonzero(touched_N[:-1])
        local_N = np.full(self._items.rows + 1, -1, dtype=np.int32)
        local_N[rows] = np.arange(len(rows))
        return as_rows(rows, self._items.device), local_N

    def _loss(
        self,
        encoder: Encoder,
        table: Tensor,
        local_N: NDArray[np.int32],
        examples: Examples,
        compared: NDArray[np.int64],
        log_q_S: Tensor | None,
        drop: Callable[[Tensor], Tensor],
    ) -> Tensor:
        width = encoder.config.window
        rows, types, gaps = (examples[name][:, -width:] for name in ("window", "type", "gap"))
        predicted = prefixes(examples, width, self._is_target_T)
        ring, _ = encoder.ring(local_N[rows], table)
        window = encoder.window(ring, local_N[rows], types, gaps)
        window = window._replace(inputs_ATD=drop(window.inputs_ATD))
        h_KMH = encoder.hidden_after(window, self._starts.of(examples), len(predicted.of_KM))
        h_XH = h_KMH[torch.from_numpy(predicted.of_KM).to(table.device)]
        queries_XD, _ = encoder.queries(drop(h_XH), *encoder.ring(local_N[predicted.windows_XW], table))
        weight_X = np.broadcast_to(examples["weight"], predicted.of_KM.shape)[predicted.of_KM]
        comparison = Compared(
            rows=as_rows(local_N[compared].astype(np.int64), table.device),
            log_q_S=log_q_S,
            target_X=torch.from_numpy(local_N[predicted.target_X].astype(np.int64)).to(table.device),
            place_X=torch.from_numpy(_places(predicted.target_X, compared)).to(table.device),
            weight_X=torch.from_numpy(weight_X / weight_X.sum()).to(table.device),
        )
        return compared_loss(queries_XD * encoder.config.scale, table, comparison, self._criterion)

    def roll_back(self) -> None:
        """Replace the weights by their slow copy and reset the optimizer."""
        self.optimizer.roll_back()
        self._items.roll_back()

    def _drop(self, x: Tensor) -> Tensor:
        """Apply dropout (Srivastava et al., 2014).

        The line's own generator draws, so that a resumed line repeats it. One random byte per element rounds the rate
        to 1 / 256.
        """
        kept = round(256 * (1.0 - self._encoder.config.dropout))
        drawn = np.frombuffer(self._rng.bytes(x.numel()), np.uint8).reshape(x.shape)
        mask = np.multiply(drawn < kept, 256 / kept, dtype=np.float32)
        return x * torch.from_numpy(mask).to(x.device)

    def _compared(self, live: NDArray[np.int64], hot_N: NDArray[np.float64]) -> tuple[NDArray[np.int64], Tensor | None]:
        """Return the rows that targets are compared with: all, or a sample and its log inclusion probabilities.

        Half of the sample is uniform, half by decayed counts. Yi et al. (2019) estimate an item's probability from
        the gaps between its events, since their negatives are the batch; here they are drawn, so that the
        probabilities are known exactly.
        """
        if len(live) <= self._full_softmax_items:
            return live, None
        hot = hot_N[live] + 1e-12
        probability = 0.5 * hot / hot.sum() + 0.5 / len(live)
        drawn = np.searchsorted(np.cumsum(probability), self._rng.random(self._negatives) * _MOST_DRAWN)
        drawn = np.unique(np.minimum(drawn, len(live) - 1))
        log_q = log_inclusion(torch.from_numpy(probability[drawn]), self._negatives)
        return live[drawn], log_q.to(self._items.device)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        fresh = joined({"fresh": self.fresh}) if self.fresh else {}
        return state_of_parts(self._parts()) | fresh | {"steps": np.array([self.steps], dtype=np.int64)}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        self.load_optimizer(state)
        self.load_examples(state)

    def load_optimizer(self, state: dict[str, NDArray[Any]]) -> None:
        load_parts({"optimizer": self.optimizer}, state)
        self.steps = int(state["steps"][0])

    def load_examples(self, state: dict[str, NDArray[Any]]) -> None:
        """Load fresh and replayed examples. Raises ValueError for examples of another width."""
        kept = state.get("replay.window", state.get("fresh.window"))
        expected = self._starts.burn_in + self._encoder.config.window
        if kept is not None and kept.shape[1] != expected:
            raise ValueError(
                f"model.window, model.burn_in: the state has {kept.shape[1]} entries an example, "
                f"the configuration {expected}"
            )
        load_parts({"replay": self.replay}, state)
        self.fresh = {name: column.copy() for name, column in state_below(state, "fresh").items()}

    def _parts(self) -> dict[str, Any]:
        return {"replay": self.replay, "optimizer": self.optimizer}


def _whole(examples: Examples) -> Examples:
    """Return the examples whose target and newest item still have a row."""
    whole = (examples["target"] >= 0) & (examples["window"][:, -1] >= 0)
    return {name: column[whole] for name, column in examples.items()}


def _current(examples: Examples, catalog: Catalog) -> Examples:
    """Return the examples with the rows that their items have now, -1 for evicted items."""
    rows = {name: catalog.current(examples[name], examples["generation"]) for name in ("window", "target")}
    return examples | rows


def _weighed(examples: Examples, weight: float) -> Examples:
    return examples | {"weight": np.full(len(examples["target"]), weight, np.float32)}


def _joined(one: Examples, other: Examples) -> Examples:
    return {name: np.concatenate([column, other[name]]) for name, column in one.items()}


def _places(target_X: NDArray[np.int32], compared: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each target among the compared rows, which are sorted; -1: not among them."""
    at_X = np.searchsorted(compared, target_X).clip(max=len(compared) - 1)
    return np.where(compared[at_X] == target_X, at_X, -1)
