"""Recorded logs, their scored events, and the measures of a list."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import DEPTH, baseline_ranks

# Log -> HR@20 and MRR@20 of the best study of it; and the number of its first events that count, if not all.
BARS = {"yoochoose": (0.70, 0.395), "ml100k": (0.33, 0.089), "uci": (0.25, 0.076), "globo": (0.775, 0.365)}
LIMITS = {"uci": 200_000, "globo": 200_000}


@dataclass(frozen=True)
class Log:
    """The first `limit` rows of a file. `baselines`: name -> rank of the item of each event (-1: not scored)."""

    name: str
    path: Path
    limit: int | None
    baselines: dict[str, NDArray[np.int64]]

    @staticmethod
    def read(path: Path, limit: int | None) -> Log:
        with path.open(newline="") as file:
            rows = [(row["user"], row["item"]) for row in islice(csv.DictReader(file), limit)]
        return Log(path.stem, path, limit, baseline_ranks(*zip(*rows, strict=True)))

    def tenths(self) -> list[NDArray[np.int64]]:
        """Return the scored events of each tenth but the first."""
        known_E = next(iter(self.baselines.values())) >= 0
        ends = [len(known_E) * tenth // 10 for tenth in range(1, 11)]
        return [start + np.flatnonzero(known_E[start:end]) for start, end in pairwise(ends)]

    def scored(self) -> NDArray[np.int64]:
        return np.concatenate(self.tenths())


def hit_rate(rank_E: NDArray[np.int64]) -> float:
    return float(((rank_E > 0) & (rank_E <= DEPTH)).mean())


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share of `count` events."""
    return float(np.sqrt(share * (1 - share) / max(1, count)))


def reciprocal_rank(rank_E: NDArray[np.int64]) -> float:
    hit_E = (rank_E > 0) & (rank_E <= DEPTH)
    return float(np.where(hit_E, 1 / np.maximum(rank_E, 1), 0.0).mean())
