"""How the encoder learns: Adam steps on the windows that have just ended, mixed with replayed older ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.item_table import ItemTable
from model.losses import log_inclusion, softmax_cross_entropy
from model.recommender import Encoder
from model.replay import Columns, Replay
from model.state import adam_state, joined, load_adam, part

_MOST_GRADIENT = 5.0
_MOST_DRAWN = 0.999999


class EncoderTrainer:
    """Examples are columns: the window before an event as rows, types and gaps [M, W], and the target's row [M].

    A target is compared with all `live` rows, or with `negatives` of them where there are more than
    `full_softmax_items`.
    """

    def __init__(
        self,
        encoder: Encoder,
        items: ItemTable,
        replay: Replay,
        rng: np.random.Generator,
        torch_rng: torch.Generator,
        *,
        learning_rate: float,
        full_softmax_items: int,
        negatives: int,
        item_vectors_learned: bool,
    ) -> None:
        self.replay = replay
        self.adam = torch.optim.Adam(encoder.parameters(), lr=learning_rate, fused=True)
        self._encoder, self._items, self._rng, self._torch_rng = encoder, items, rng, torch_rng
        self._learning_rate = learning_rate
        self._full_softmax_items, self._negatives = full_softmax_items, negatives
        self._item_vectors_learned = item_vectors_learned

    def learn(self, fresh: Columns, replayed: int, live: NDArray[np.int64], hot_N: NDArray[np.float64]) -> float | None:
        """One step; returns its loss, None where there was nothing to learn. `hot_N`: how popular each row is."""
        older = self.replay.sample(replayed, self._rng)
        examples = {name: np.concatenate([fresh[name], older[name]]) for name in fresh} if older else fresh
        examples = _whole(examples)
        self.replay.add(fresh, self._rng)
        if len(examples["target"]) == 0:
            return None
        return self._step(examples, *self._compared(live, hot_N))

    def _step(self, examples: Columns, compared: NDArray[np.int64], log_q_S: Tensor | None) -> float:
        windows, targets = examples["window"], examples["target"]
        rows = np.unique(np.concatenate([compared, targets, windows[windows >= 0]]))
        local_N = np.full(self._items.rows + 1, -1, dtype=np.int32)
        local_N[rows] = np.arange(len(rows))
        at = torch.from_numpy(rows).to(self._items.device).long()
        table = self._items.table_ND1[at].requires_grad_()
        queries_MD = self._queries(table, local_N[windows], examples["type"], examples["gap"])
        columns, target = (torch.from_numpy(local_N[x]).to(table.device).long() for x in (compared, targets))
        logits_MS = self._encoder.logits(queries_MD, table[columns, :-1], table[columns, -1])
        own = table[target]
        own_M = (queries_MD * F.normalize(own[:, :-1], dim=-1)).sum(-1) * self._encoder.config.scale + own[:, -1]
        loss = softmax_cross_entropy(own_M, logits_MS, columns[None] == target[:, None], log_q_S).mean()
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._encoder.parameters(), _MOST_GRADIENT)
        self.adam.step()
        if self._item_vectors_learned:
            assert table.grad is not None
            self._items.step(at, table.grad, self._learning_rate)
        return float(loss.detach())

    def _queries(
        self, table: Tensor, windows: NDArray[np.int32], types: NDArray[np.uint8], gaps: NDArray[np.uint8]
    ) -> Tensor:
        inputs, lengths = self._encoder.window(windows, types, gaps, table)
        h, _ = self._encoder.run(self._drop(inputs), lengths)
        queries_MD, _ = self._encoder.queries(self._drop(h), *self._encoder.ring(windows, table))
        return queries_MD

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout (Srivastava et al., 2014) from this line's own generator, so that a resumed line repeats it."""
        kept = 1.0 - self._encoder.config.dropout
        mask = torch.rand(x.shape, generator=self._torch_rng) < kept
        return x * mask.to(x.device) / kept

    def _compared(self, live: NDArray[np.int64], hot_N: NDArray[np.float64]) -> tuple[NDArray[np.int64], Tensor | None]:
        """The rows that a target is compared with: all, or a sample and its log inclusion probabilities.

        The sample is half uniform, half by recent popularity.
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
        return joined({"replay": self.replay.state_dict(), "adam": adam_state(self.adam)})

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        self.replay.load_state_dict(part(state, "replay"))
        load_adam(self.adam, part(state, "adam"))


def _whole(examples: Columns) -> Columns:
    """Only the examples whose target and newest item still have a row."""
    whole = (examples["target"] >= 0) & (examples["window"][:, -1] >= 0)
    return {name: column[whole] for name, column in examples.items()}
