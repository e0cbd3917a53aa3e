"""Baselines that rank by simple counting: recent popularity, Markov, co-visitation and the user's own items.

They are plain Python, independent of the worker's own baselines (`stream_worker.core.baselines`), so that a test can
compare the two. A baseline ranks items after a user's history, 20 unless it is told otherwise, then learns the event.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

DEPTH = 20  # items of a list, as in the worker's defaults
_MEMORY, _REFRESH = 5_000, 200  # events counted, events between two counts: those of the worker's baselines
_FADE = 0.6  # weight of an item relative to the next newer one
_ROW, _ROW_KEPT = 400, 200  # the most neighbours of an item; of a fuller row the strongest ones that stay
_OWN, HISTORY = (
    8,
    255,
)  # items of a user: the last ones in front of a list, and remembered, as the worker's ring is long


class Baseline(Protocol):
    def rank(self, history: Sequence[str], depth: int = DEPTH) -> list[str]: ...

    def learn(self, history: Sequence[str], item: str) -> None: ...


class RecentPopularity:
    """A ranking by frequency in the last 5,000 events, counted anew every 200."""

    def __init__(self) -> None:
        self._recent: deque[str] = deque()
        self._counts: Counter[str] = Counter()
        self._learned = 0
        self._top: list[str] = []

    def rank(self, history: Sequence[str], depth: int = DEPTH) -> list[str]:
        if self._learned % _REFRESH == 0:
            self._top = [item for item, _ in self._counts.most_common()]
        return self._top[:depth]

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

    def rank(self, history: Sequence[str], depth: int = DEPTH) -> list[str]:
        scores: Counter[str] = Counter()
        for distance, item in enumerate(reversed(history[-self._span :])):
            if row := self._rows.get(item):
                weight = _FADE**distance / self._totals[item]
                for neighbour, count in row.items():
                    scores[neighbour] += weight * count  # type: ignore[assignment]
        best = heapq.nlargest(depth, scores, key=scores.__getitem__)
        return _first(depth, [*best, *self._popularity.rank(history, depth)])

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

    def rank(self, history: Sequence[str], depth: int = DEPTH) -> list[str]:
        return _first(depth, [*reversed(history[-_OWN:]), *self._then.rank(history, depth)])

    def learn(self, history: Sequence[str], item: str) -> None:
        """Learn nothing: `then` learns as a baseline of its own."""


class OwnMost:
    """The user's own items by how often they came, of equal ones the newer first, then those of another baseline."""

    def __init__(self, then: Baseline) -> None:
        self._then = then

    def rank(self, history: Sequence[str], depth: int = DEPTH) -> list[str]:
        own = [item for item, _ in Counter(reversed(history)).most_common(depth)]
        return _first(depth, own + self._then.rank(history, depth))

    def learn(self, history: Sequence[str], item: str) -> None:
        """Learn nothing: `then` learns as a baseline of its own."""


def rank_after_rules(
    baseline: Baseline,
    history: Sequence[str],
    excluded: Collection[str],
    most_seen: int = DEPTH,
    depth: int = DEPTH,
) -> list[str]:
    """Return the list of a baseline under the rules that a worker's list was under.

    It is ranked deep enough that items which are left out leave no gap. What the rules leave no room for is missing, as
    in the worker's lists.

    excluded: the items that a rule leaves out for this user
    most_seen: places at most for items of the user's history
    depth: items of the list
    """
    seen, kept, own = set(history), list[str](), 0
    for item in baseline.rank(history, depth + len(excluded) + len(seen)):
        if item not in excluded and not (item in seen and own == most_seen):
            own += item in seen
            kept.append(item)
    return kept[:depth]


def _first(depth: int, items: Sequence[str]) -> list[str]:
    """Return the first `depth` different items."""
    return list(dict.fromkeys(items))[:depth]


def baseline_ranks(users: Sequence[str], items: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return, per baseline, the rank of each event's item (0: not among the first 20; -1: the user's first event)."""
    popularity = RecentPopularity()
    markov = CoVisitation(1, popularity)
    baselines: dict[str, Baseline] = {
        "recent popularity": popularity, "Markov": markov, "co-visitation": CoVisitation(5, popularity),
        "own last items": OwnLast(markov), "own most frequent": OwnMost(popularity),
    }  # fmt: skip
    ranks = {name: np.full(len(users), -1, np.int64) for name in baselines}
    histories: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=HISTORY))
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
