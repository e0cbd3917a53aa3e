"""Baselines that rank by simple counting: recent popularity, Markov, co-visitation and the user's own last items.

They are plain Python, independent of the worker's own baselines (`stream_worker.core.baselines`), so that a test can
compare the two. A baseline ranks 20 items after a user's history, then learns the event.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

DEPTH = 20  # items of a list, as in the worker's defaults
_MEMORY, _REFRESH = 5_000, 200  # events counted, events between two counts: those of the worker's baselines
_FADE = 0.6  # weight of an item relative to the next newer one
_ROW, _ROW_KEPT = 400, 200  # the most neighbours of an item; of a fuller row the strongest ones that stay
_OWN, _HISTORY = 8, 64  # items of a user: in a list of own ones, and remembered


class Baseline(Protocol):
    def rank(self, history: Sequence[str]) -> list[str]: ...

    def learn(self, history: Sequence[str], item: str) -> None: ...


class RecentPopularity:
    """A ranking by frequency in the last 5,000 events, counted anew every 200."""

    def __init__(self) -> None:
        self._recent: deque[str] = deque()
        self._counts: Counter[str] = Counter()
        self._learned = 0
        self.top: list[str] = []

    def rank(self, history: Sequence[str]) -> list[str]:
        if self._learned % _REFRESH == 0:
            self.top = [item for item, _ in self._counts.most_common(DEPTH)]
        return self.top

    def learn(self, history: Sequence[str], item: str) -> None:
        self._learned += 1
        self._recent.append(item)
        self._counts[item] += 1
        if len(self._recent) > _MEMORY:
            oldest = self._recent.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]


class CoVisitation:
    """Decayed co-visitation with the last `span` items, then recent popularity. With span 1: first-order Markov."""

    def __init__(self, span: int, popularity: RecentPopularity) -> None:
        self._span, self._popularity = span, popularity
        self._rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._totals: Counter[str] = Counter()

    def rank(self, history: Sequence[str]) -> list[str]:
        scores: Counter[str] = Counter()
        for distance, item in enumerate(reversed(history[-self._span :])):
            if row := self._rows.get(item):
                weight = _FADE**distance / self._totals[item]
                for neighbour, count in row.items():
                    scores[neighbour] += weight * count  # type: ignore[assignment]
        best = heapq.nlargest(DEPTH, scores, key=scores.__getitem__)
        return list(dict.fromkeys(best + self._popularity.top))[:DEPTH]

    def learn(self, history: Sequence[str], item: str) -> None:
        for distance, before in enumerate(reversed(history[-self._span :])):
            row = self._rows[before]
            row[item] += _FADE**distance  # type: ignore[assignment]
            self._totals[before] += _FADE**distance  # type: ignore[assignment]
            if len(row) > _ROW:
                strongest = heapq.nlargest(_ROW_KEPT, row.items(), key=lambda pair: pair[1])
                self._rows[before] = Counter(dict(strongest))


class OwnLast:
    """The user's own last items, newest first, then those of another baseline."""

    def __init__(self, then: CoVisitation) -> None:
        self._then = then

    def rank(self, history: Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*reversed(history[-_OWN:]), *self._then.rank(history)]))[:DEPTH]

    def learn(self, history: Sequence[str], item: str) -> None:
        """Learn nothing: `then` learns as a baseline of its own."""


def baseline_ranks(users: Sequence[str], items: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return, per baseline, the rank of each event's item (0: not among the first 20; -1: the user's first event)."""
    popularity = RecentPopularity()
    markov = CoVisitation(1, popularity)
    baselines: dict[str, Baseline] = {
        "recent popularity": popularity, "Markov": markov, "co-visitation": CoVisitation(5, popularity),
        "own last items": OwnLast(markov),
    }  # fmt: skip
    ranks = {name: np.full(len(users), -1, np.int64) for name in baselines}
    histories: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_HISTORY))
    for k, (user, item) in enumerate(zip(users, items, strict=True)):
        history = list(histories[user])
        popularity.rank(history)
        for name, baseline in baselines.items():
            if history:
                ranked = baseline.rank(history)
                ranks[name][k] = ranked.index(item) + 1 if item in ranked else 0
        for baseline in baselines.values():
            baseline.learn(history, item)
        histories[user].append(item)
    return ranks
