"""The metrics of one group of events, over a rolling window and in total, and the shares of the proposers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.metrics.base import Metric

from stream_worker.core.quality import Figures, GroupQuality
from stream_worker.core.ranking_metrics import MRR, NDCG, BatchRolling, HitRate, LogLoss, RankCounts, RankingMetric


class Track:
    """The metrics of one group of events.

    `hit_rate_k`: the lengths of list at which the hit rate is taken.
    `window`: events of the rolling metrics.
    `with_loss`: True if the log loss is among the metrics.

    `rolling` and `total` are River metrics by name; those of one kind share their rank counts.
    """

    def __init__(self, hit_rate_k: Sequence[int], window: int, with_loss: bool) -> None:
        self._ranks = BatchRolling(RankCounts(), window)
        self._total_ranks = RankCounts()
        self._losses = BatchRolling(LogLoss(), window)
        self._total_loss = LogLoss()
        self.rolling = _metrics(hit_rate_k, self._ranks.obj, self._losses.obj if with_loss else None)
        self.total = _metrics(hit_rate_k, self._total_ranks, self._total_loss if with_loss else None)

    @property
    def events(self) -> int:
        return int(self._total_ranks.total)

    def update_many(self, ranks_B: NDArray[np.integer], logprob_B: NDArray[np.floating] | None = None) -> None:
        self._ranks.update_many(ranks_B)
        self._total_ranks.update_many(ranks_B)
        if logprob_B is not None:
            self._losses.update_many(logprob_B)
            self._total_loss.update_many(logprob_B)

    def report(self) -> GroupQuality:
        """Return the values of all metrics, rolling and in total."""
        return GroupQuality(
            rolling=Figures(len(self._ranks), _values(self.rolling)),
            total=Figures(self.events, _values(self.total)),
        )

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {
            "window_ranks": self._ranks.values(),
            "window_logprobs": self._losses.values(),
            "ranks": self._total_ranks.state_dict()["weights"],
            "loss": self._total_loss.state_dict()["loss_weight"],
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._ranks.load(state["window_ranks"])
        self._losses.load(state["window_logprobs"])
        self._total_ranks.load_state_dict({"weights": state["ranks"]})
        self._total_loss.load_state_dict({"loss_weight": state["loss"]})


class Proposers:
    """The counts of the proposers that named the items that came; `nowhere`: no proposer named the item.

    `names`: the proposers, in the order of their numbers.
    `window`: events of the rolling counts.
    """

    def __init__(self, names: Sequence[str], window: int) -> None:
        self.names = ("nowhere", *names)
        self._rolling = BatchRolling(RankCounts(), window)
        self._total = RankCounts()

    def update_many(self, proposer_B: NDArray[np.integer]) -> None:
        self._rolling.update_many(proposer_B + 1)
        self._total.update_many(proposer_B + 1)

    def report(self) -> dict[str, dict[str, float]]:
        """Return the share of each proposer among the last `window` events, and among all events."""
        return {"rolling": self._shares(self._rolling.obj), "total": self._shares(self._total)}

    def _shares(self, counts: RankCounts) -> dict[str, float]:
        found = dict(zip(self.names, counts.weight_R.tolist(), strict=False))
        return {name: found.get(name, 0.0) / max(1.0, counts.total) for name in self.names}

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"window": self._rolling.values(), "all": self._total.state_dict()["weights"]}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._rolling.load(state["window"])
        self._total.load_state_dict({"weights": state["all"]})


def _metrics(hit_rate_k: Sequence[int], counts: RankCounts, loss: LogLoss | None) -> dict[str, Metric]:
    ranking: list[RankingMetric] = [HitRate(k, counts) for k in hit_rate_k]
    ranking += [MRR(max(hit_rate_k), counts), NDCG(max(hit_rate_k), counts)]
    named: dict[str, Metric] = {metric.name: metric for metric in ranking}
    return named if loss is None else {**named, loss.name: loss}


def _values(by_name: Mapping[str, Metric]) -> dict[str, float]:
    return {name: metric.get() for name, metric in by_name.items()}
