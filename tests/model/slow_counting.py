"""Counting in plain Python, one event after another: what the compiled kernel promises, slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.counting.features import COMPARED, COUNTS, FEATURES
from model.counting.popularity import HALF_LIVES
from model.counting.tables import BACKWARD, FORWARD, NEXT, PLAIN, TABLES, WIDE

Pairs = list[list[Any]]


class SlowCounting:
    """`pairs[table][row]` is a list of [item, weight] of at most `neighbours`; weights are rounded to float32."""

    def __init__(self, neighbours: int, rows: int) -> None:
        self.neighbours, self.rows = neighbours, rows
        self.pairs: list[list[Pairs]] = [[[] for _ in range(rows)] for _ in range(TABLES)]
        self.total = [[0.0] * rows for _ in range(TABLES)]
        self.times: list[int] = []
        self.category = [0] * rows
        self.returns: list[tuple[list[tuple[int, int]], int]] = []

    def learn(self, window: Sequence[int], types: Sequence[int], item: int, category: int = 0) -> None:
        forward = wide = 1.0
        for d, before in enumerate(window[::-1][:20]):
            if before >= 0:
                if d == 0:
                    self._add(NEXT, before, item, 1.0, 0.97)
                    self._add(PLAIN, before, item, 1.0)
                if d < 10:
                    self._add(FORWARD, before, item, forward)
                if before != item:
                    if d < 10:
                        self._add(BACKWARD, item, before, forward)
                    self._add(WIDE, before, item, wide)
                    self._add(WIDE, item, before, wide)
            forward *= 0.7
            wide *= 0.93
        self.times.append(item)
        self.returns.append((list(zip(window, types, strict=True))[::-1], item))
        self.category[item] = category or self.category[item]

    def type_return(self, kind: int, by_last: bool) -> float:
        """Of what users did with this type, the share that came again; an event of age a weighs g^a."""
        g, offered, returned = 0.5 ** (1 / 20_000), 0.0, 0.0
        for age, (back, item) in enumerate(self.returns[::-1]):
            places = [place for place in back if place[0] >= 0]
            again = next((place for place in places if place[0] == item), None)
            if by_last and back[0][0] >= 0 and back[0][1] == kind:
                offered, returned = offered + g**age, returned + g**age * (again is not None)
            if not by_last:
                offered += g**age * sum(place[1] == kind for place in places)
                returned += g**age * (again is not None and again[1] == kind)
        return math.log((returned + 0.5) / (offered + 10))

    def _add(self, table: int, row: int, item: int, weight: float, decay: float = 1.0) -> None:
        pairs = self.pairs[table][row]
        self.total[table][row] = _f32(_f32(self.total[table][row] * decay) + weight)
        for pair in pairs:
            pair[1] = _f32(pair[1] * decay)
        _count(pairs, item, weight, self.neighbours)

    def weight(self, table: int, row: int, item: int) -> float:
        return next((w for i, w in self.pairs[table][row] if i == item), 0.0)

    def share(self, item: int, half_life: float) -> float:
        """Recent popularity: an event of age a weighs (1 - g) g^a, with g = 0.5^(1 / half-life)."""
        g: float = 0.5 ** (1.0 / half_life)
        newest = len(self.times) - 1
        return (1 - g) * sum(g ** (newest - k) for k, other in enumerate(self.times) if other == item)

    def hottest(self, half_life: float, count: int) -> list[int]:
        return sorted(set(self.times), key=lambda item: -self.share(item, half_life))[:count]

    def reasons(self, window: Sequence[int]) -> dict[str, set[int]]:
        """Who is proposed by which score, were there room for all."""
        rows = range(self.rows)
        scores = {row: dict(zip(COUNTS, self._scores(window[::-1], row), strict=True)) for row in rows}
        names = ("forward_recent", "next_last", "cosine_recent", "two_hop")
        return {name: {row for row in rows if scores[row][name] > 0} for name in names}

    def features(
        self,
        window: Sequence[int],
        types: Sequence[int],
        gaps: Sequence[int],
        rows: Sequence[int],
        idle: float,
        gap: float,
    ) -> list[dict[str, float]]:
        """The features of all candidates of an event, by name; the encoder's are 0."""
        every = [self._alone(window, types, gaps, row, idle, gap) for row in rows]
        for name in COMPARED:
            best = max(values[name] for values in every)
            for values in every:
                values[f"{name}_behind_best"] = values[name] - best
        return every

    def _alone(
        self,
        window: Sequence[int],
        types: Sequence[int],
        gaps: Sequence[int],
        row: int,
        idle: float,
        gap: float,
    ) -> dict[str, float]:
        """What does not depend on the other candidates."""
        back, gaps_back = list(window)[::-1], list(gaps)[::-1]
        known = [item for item in back if item >= 0]
        ages = [math.expm1(idle) + sum(map(_seconds, gaps_back[:d])) for d in range(len(back))]
        own = [d for d, item in enumerate(back) if item == row]
        session = self._session(back, gaps_back, ages)
        values: dict[str, float] = dict.fromkeys(FEATURES, 0.0)
        values |= {n: math.log(score + 1e-4) for n, score in zip(COUNTS, self._scores(back, row), strict=True)}
        values |= {f"popularity_{half:.0f}": math.log(self.share(row, float(half)) + 1e-6) for half in HALF_LIVES}
        if own:
            last = back[0]
            followed = [d for d in own if d + 1 < len(back) and back[d + 1] == last and last >= 0]
            values |= {
                "own": 1.0,
                "own_count": math.log1p(len(own)),
                "own_distance": math.log1p(own[0] + 1),
                "own_elapsed": math.log1p(ages[own[0]]),
                "own_is_last": float(row == last),
                "own_followed": math.log1p(len(followed)),
                "own_in_session": float(own[0] < session),
                "own_type_return": self.type_return(types[::-1][own[0]], by_last=False),
            }
        lately = [self.category[item] if item >= 0 else 0 for item in back[:20]]
        if category := self.category[row]:
            values["category_share"] = lately.count(category) / max(1, sum(map(bool, lately)))
            values["category_of_last"] = float(lately[0] == category)
        ever = float(HALF_LIVES[-1])
        usual = sum(math.log(self.share(item, ever) + 1e-6) for item in known) / max(1, len(known))
        return values | {
            "popularity_distance": abs(math.log(self.share(row, ever) + 1e-6) - usual),
            "history_length": math.log1p(len(known)),
            "idle": idle,
            "last_gap": gap,
            "session_position": math.log1p(session),
            "repeat_share": (len(known) - len(set(known))) / max(1, len(known)),
            "last_type_return": self.type_return(types[-1], by_last=True) if back[0] >= 0 else 0.0,
            "last_item_known": math.log1p(self.total[FORWARD][back[0]]) if back[0] >= 0 else 0.0,
        }

    def _session(self, back: Sequence[int], gaps_back: Sequence[int], ages: Sequence[float]) -> int:
        """Events since the last pause of 34 minutes or more, if that is not now."""
        if ages[0] >= 2**11:
            return 0
        pauses = [d for d, gap in enumerate(gaps_back) if gap >= 11]
        return sum(item >= 0 for item in back[: pauses[0] + 1 if pauses else None])

    def _scores(self, back: Sequence[int], row: int) -> list[float]:
        nexts = [self._share_of(NEXT, source, row) for source in (*back[:2], -1, -1)][:2]
        forwards = [self._share_of(FORWARD, source, row) for source in back[:5]]
        cosines = [self._cosine(source, row) for source in back[:20]]
        return [
            *nexts, self._share_of(PLAIN, back[0], row), forwards[0], _faded(forwards, 0.6),
            self._share_of(BACKWARD, back[0], row), cosines[0], _faded(cosines, 0.8), max(cosines),
            self._two_hop(back[0], row), sum(cosines),
        ]  # fmt: skip

    def _share_of(self, table: int, source: int, row: int) -> float:
        return self.weight(table, source, row) / max(self.total[table][source], 1e-9) if source >= 0 else 0.0

    def _cosine(self, source: int, row: int) -> float:
        if source < 0:
            return 0.0
        totals = self.total[WIDE]
        return self.weight(WIDE, source, row) / math.sqrt(max(totals[source], 1e-9) * max(totals[row], 1e-9))

    def _two_hop(self, last: int, row: int) -> float:
        if last < 0:
            return 0.0
        strongest = sorted(self.pairs[FORWARD][last], key=lambda pair: -pair[1])[:8]
        total = max(self.total[FORWARD][last], 1e-9)
        shares: list[float] = [w / total * self._share_of(FORWARD, via, row) for via, w in strongest if via != last]
        return sum(shares)


def _count(pairs: Pairs, item: int, weight: float, most: int) -> None:
    """Of a full row the weakest leaves, of equal ones the first."""
    for pair in pairs:
        if pair[0] == item:
            pair[1] = _f32(pair[1] + weight)
            return
    if len(pairs) < most:
        pairs.append([item, _f32(weight)])
    else:
        pairs[min(range(len(pairs)), key=lambda place: pairs[place][1])] = [item, _f32(weight)]


def _faded(scores: Sequence[float], fade: float) -> float:
    return sum(fade**d * score for d, score in enumerate(scores))


def _seconds(gap: int) -> float:
    return 2.0**gap - 1.0 if gap < 31 else 0.0


def _f32(value: float) -> float:
    return float(np.float32(value))
