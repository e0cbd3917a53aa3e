"""Ranking metrics as River metrics: hit rate, MRR, NDCG and log loss.

`y_true` is the item that came, `y_pred` the ranked list (best first) or the rank itself. A rank counts from 1; 0 means
not in the list. These metrics share one table of ranks (`RankCounts`), as River's classification metrics share one
confusion matrix. It holds whole counts, so updates are exact: reverting undoes updating to the bit, and the cuts of a
stream into batches change nothing. `LogLoss` rounds to millionths of a nat for the same reason.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from river import base, metrics, reco
from river.utils.rolling import BaseRolling

_QUANTUM = 2.0**-20  # nats, about a millionth: losses are whole multiples of it, so that their sums are exact
WORST_LOSS = -math.log(1e-15)  # nats; River clamps probabilities to the same bound


def rank_of(came: object, ranked: Sequence[object] | int | np.integer[Any]) -> int:
    """Return the position of `came` in `ranked`, from 1, or 0 if it is missing. A rank is passed through."""
    if isinstance(ranked, (int, np.integer)):
        return int(ranked)
    return next((place for place, item in enumerate(ranked, start=1) if item == came), 0)


class RankCounts(base.Base):
    """The counts of ranks, the confusion matrix of ranking metrics. `weight_R`: the weight of each rank from 0 on."""

    dtype = np.dtype(np.int32)

    def __init__(self) -> None:
        self.weight_R: NDArray[np.float64] = np.zeros(1)

    @property
    def total(self) -> float:
        return float(self.weight_R.sum())

    def update(self, rank: int, w: float = 1.0) -> None:
        self._reserve(rank + 1)
        self.weight_R[rank] += w

    def revert(self, rank: int, w: float = 1.0) -> None:
        self.update(rank, -w)

    def update_many(self, ranks_B: NDArray[np.integer]) -> None:
        added_R = np.bincount(ranks_B)
        self._reserve(len(added_R))
        self.weight_R[: len(added_R)] += added_R

    def revert_many(self, ranks_B: NDArray[np.integer]) -> None:
        gone_R = np.bincount(ranks_B)
        self.weight_R[: len(gone_R)] -= gone_R

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"weights": self.weight_R.copy()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.weight_R = np.array(state["weights"], dtype=np.float64)

    def _reserve(self, size: int) -> None:
        if size > len(self.weight_R):
            self.weight_R = np.concatenate([self.weight_R, np.zeros(size - len(self.weight_R))])


class _StreamMetric(metrics.base.Metric):
    """A metric that adds up with others by `+`, and that works with River's rankers."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The metric's name in reports."""

    def works_with(self, model: base.Estimator) -> bool:
        return isinstance(model, reco.base.Ranker)

    def __add__(self, other: object) -> metrics.base.Metrics:
        if not isinstance(other, _StreamMetric):
            raise ValueError(f"{type(self).__name__} and {type(other).__name__} metrics are not compatible")
        return metrics.base.Metrics([self, other])


class RankingMetric(_StreamMetric):
    """Mean gain of the ranks within the first `k`: sum over ranks r <= k of weight(r) gain(r) / total.

    `counts` may be shared by several metrics; then update only one of them, or the counts themselves.
    """

    _fmt = ".4f"

    def __init__(self, k: int = 20, counts: RankCounts | None = None) -> None:
        if k < 1:
            raise ValueError(f"k: must be at least 1, got {k}")
        self.k = k
        self.counts = RankCounts() if counts is None else counts

    @abc.abstractmethod
    def gain(self, rank: int) -> float:
        """Return the gain of a hit at `rank` (from 1), at most 1."""

    @property
    def bigger_is_better(self) -> bool:
        return True

    def update(self, y_true: object, y_pred: Sequence[object] | int, w: float = 1.0) -> None:
        self.counts.update(rank_of(y_true, y_pred), w)

    def revert(self, y_true: object, y_pred: Sequence[object] | int, w: float = 1.0) -> None:
        self.counts.revert(rank_of(y_true, y_pred), w)

    def update_many(self, ranks_B: NDArray[np.integer]) -> None:
        self.counts.update_many(ranks_B)

    def get(self) -> float:
        total = self.counts.total
        if not total:
            return 0.0
        weights = self.counts.weight_R[1 : self.k + 1].tolist()
        # fsum is exact, so that the result does not depend on how far the table of ranks has grown.
        return math.fsum(weight * self.gain(rank) for rank, weight in enumerate(weights, start=1)) / total

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return self.counts.state_dict()

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.counts.load_state_dict(state)


class HitRate(RankingMetric):
    """Share of events whose item was among the first `k`.

    >>> metric = HitRate(k=2)
    >>> for came, ranked in [("a", ["b", "a", "c"]), ("c", ["b", "a", "c"])]:
    ...     metric.update(came, ranked)
    >>> metric
    HitRate: 50.00%
    """

    _fmt = ".2%"

    @property
    def name(self) -> str:
        return f"hit_rate@{self.k}"

    def gain(self, rank: int) -> float:
        return 1.0


class MRR(RankingMetric):
    """Mean reciprocal rank, 1 / rank within the first `k` and 0 beyond (Voorhees 1999).

    >>> metric = MRR(k=20)
    >>> metric.update("c", ["b", "a", "d", "c"])
    >>> metric
    MRR: 0.25
    """

    @property
    def name(self) -> str:
        return f"mrr@{self.k}"

    def gain(self, rank: int) -> float:
        return 1.0 / rank


class NDCG(RankingMetric):
    """Normalised discounted cumulative gain with one relevant item: 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002).

    >>> metric = NDCG(k=20)
    >>> metric.update("c", ["b", "a", "c"])
    >>> metric
    NDCG: 0.5
    """

    @property
    def name(self) -> str:
        return f"ndcg@{self.k}"

    def gain(self, rank: int) -> float:
        return 1.0 / math.log2(rank + 1)


class LogLoss(_StreamMetric):
    """Mean of -log p(item that came), in nats; `y_pred` is the log-probability.

    NaN (no probability was given) is left out; -inf counts as `WORST_LOSS`.

    >>> metric = LogLoss()
    >>> metric.update("a", -0.5)
    >>> metric
    LogLoss: 0.5
    """

    _fmt = ".4f"
    dtype = np.dtype(np.float64)

    def __init__(self) -> None:
        self._loss = 0.0
        self._weight = 0.0

    @property
    def name(self) -> str:
        return "log_loss"

    @property
    def bigger_is_better(self) -> bool:
        return False

    @property
    def total(self) -> float:
        return self._weight

    def update(self, y_true: object, y_pred: float, w: float = 1.0) -> None:
        losses = _losses(np.array([y_pred], dtype=np.float64))
        self._loss += w * float(losses.sum())
        self._weight += w * len(losses)

    def revert(self, y_true: object, y_pred: float, w: float = 1.0) -> None:
        self.update(y_true, y_pred, -w)

    def update_many(self, logprob_B: NDArray[np.floating]) -> None:
        losses = _losses(logprob_B)
        self._loss += float(losses.sum())
        self._weight += len(losses)

    def revert_many(self, logprob_B: NDArray[np.floating]) -> None:
        losses = _losses(logprob_B)
        self._loss -= float(losses.sum())
        self._weight -= len(losses)

    def get(self) -> float:
        return self._loss / self._weight if self._weight else 0.0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"loss_weight": np.array([self._loss, self._weight])}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._loss, self._weight = state["loss_weight"].tolist()


def _losses(logprob_B: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return -log p, at most `WORST_LOSS`, as whole multiples of 2^-20; float sums of these are exact up to 8e9."""
    known = np.asarray(logprob_B, dtype=np.float64)
    known = known[~np.isnan(known)]
    losses: NDArray[np.float64] = np.rint(np.clip(-known, 0.0, WORST_LOSS) / _QUANTUM) * _QUANTUM
    return losses


class BatchRollable(Protocol):
    """A metric that takes whole batches and gives them back."""

    dtype: np.dtype[Any]

    def update_many(self, values_B: NDArray[Any], /) -> None: ...

    def revert_many(self, values_B: NDArray[Any], /) -> None: ...


_T = TypeVar("_T", bound=BatchRollable)


class BatchRolling(BaseRolling[Any]):
    """`river.utils.Rolling` for whole batches: a ring of the last `window_size` values and the metric over them."""

    def __init__(self, obj: BatchRollable, window_size: int) -> None:
        super().__init__(obj)
        self.window_size = window_size
        self._ring: NDArray[Any] = np.zeros(window_size, dtype=obj.dtype)
        self._seen = 0

    def __len__(self) -> int:
        return min(self._seen, self.window_size)

    def update_many(self, values_B: NDArray[Any]) -> None:
        values = np.asarray(values_B)[-self.window_size :]
        leaving = max(0, len(self) + len(values) - self.window_size)
        self.obj.revert_many(self._ring[self._slots(self._seen - len(self), leaving)])
        self._ring[self._slots(self._seen, len(values))] = values
        self.obj.update_many(values)
        self._seen += len(values)

    def values(self) -> NDArray[Any]:
        """Return the values in the window, oldest first: all of its state."""
        return self._ring[self._slots(self._seen - len(self), len(self))]

    def load(self, values: NDArray[Any]) -> None:
        """Replace the contents by the newest `window_size` of these values."""
        self.obj.revert_many(self.values())
        self._seen = 0
        self.update_many(values)

    def _slots(self, first: int, count: int) -> NDArray[np.int64]:
        return np.arange(first, first + count) % self.window_size
