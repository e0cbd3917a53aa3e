"""Recorded logs, their scored events, and the measures of a list."""

from __future__ import annotations

import csv
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import DEPTH, HISTORY, baseline_ranks

# Log -> HR@20 and MRR@20 of the best study of it; and the number of its first events that count, if not all.
BARS = {"yoochoose": (0.70, 0.395), "ml100k": (0.33, 0.089), "uci": (0.25, 0.076), "globo": (0.775, 0.365)}
LIMITS = {"uci": 200_000, "globo": 200_000}


@dataclass(frozen=True)
class Log:
    """The first `limit` rows of a file.

    baselines: name -> rank of the item of each event (-1: not scored)
    parts: name -> which events belong to it, see `parts_of`
    """

    name: str
    path: Path
    limit: int | None
    baselines: dict[str, NDArray[np.int64]]
    parts: dict[str, NDArray[np.bool_]]

    @staticmethod
    def read(path: Path, limit: int | None) -> Log:
        with path.open(newline="") as file:
            rows = [(row["user"], row["item"], row.get("type", "")) for row in islice(csv.DictReader(file), limit)]
        users, items, types = zip(*rows, strict=True)
        return Log(path.stem, path, limit, baseline_ranks(users, items), parts_of(users, items, types))

    def tenths(self) -> list[NDArray[np.int64]]:
        """Return the scored events of each tenth but the first."""
        known_E = next(iter(self.baselines.values())) >= 0
        ends = [len(known_E) * tenth // 10 for tenth in range(1, 11)]
        return [start + np.flatnonzero(known_E[start:end]) for start, end in pairwise(ends)]

    def scored(self) -> NDArray[np.int64]:
        return np.concatenate(self.tenths())


def parts_of(users: Sequence[str], items: Sequence[str], types: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return parts of the events that overlap, as masks by name.

    Repeat: the item is among the user's last 255. New and known: it is not, but somebody has had it before. Not the
    last item, in all and by type where there are several: it is not the user's last one, so that, say, a purchase of
    what was viewed just before is left out.
    """
    histories: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=HISTORY))
    seen: set[str] = set()
    repeat_E, known_E, last_E = (np.zeros(len(items), np.bool_) for _ in range(3))
    for k, (user, item) in enumerate(zip(users, items, strict=True)):
        history = histories[user]
        repeat_E[k], known_E[k], last_E[k] = item in history, item in seen, bool(history) and history[-1] == item
        history.append(item)
        seen.add(item)
    parts = {"repeat": repeat_E, "new and known": known_E & ~repeat_E, "not the last item": ~last_E}
    names = sorted(set(types)) if len(set(types)) > 1 else []
    return parts | {f"{name}, not the last item": ~last_E & (np.array(types) == name) for name in names}


def hit_rate(rank_E: NDArray[np.int64]) -> float:
    return float(((rank_E > 0) & (rank_E <= DEPTH)).mean())


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share of `count` events."""
    return float(np.sqrt(share * (1 - share) / max(1, count)))


def reciprocal_rank(rank_E: NDArray[np.int64]) -> float:
    hit_E = (rank_E > 0) & (rank_E <= DEPTH)
    return float(np.where(hit_E, 1 / np.maximum(rank_E, 1), 0.0).mean())
