"""Counting in plain Python, one event after another: what the compiled kernel promises, slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model.counting import FEATURES, HALF_LIVES, NEXT, TABLES

_NEXT, _FORWARD, _WIDE = range(TABLES)
_ENCODER = tuple(FEATURES.index(name) for name in ("encoder_log_probability", "encoder_behind_best"))
assert NEXT == _NEXT


class SlowCounting:
    """`pairs[table][row]` is a list of [item, weight] of at most `neighbours`; weights are rounded to float32."""

    def __init__(self, neighbours: int, rows: int) -> None:
        self.neighbours, self.rows = neighbours, rows
        self.pairs = [[[[-1, 0.0] for _ in range(neighbours)] for _ in range(rows)] for _ in range(TABLES)]
        self.total = [[0.0] * rows for _ in range(TABLES)]
        self.times: list[int] = []

    def learn(self, window: Sequence[int], item: int) -> None:
        forward = wide = 1.0
        for d, before in enumerate(reversed(window[-20:])):
            if before >= 0:
                if d == 0:
                    self._add(_NEXT, before, item, 1.0, 0.97)
                if d < 10:
                    self._add(_FORWARD, before, item, forward)
                if before != item:
                    self._add(_WIDE, before, item, wide)
                    self._add(_WIDE, item, before, wide)
            forward *= 0.7
            wide *= 0.93
        self.times.append(item)

    def _add(self, table: int, row: int, item: int, weight: float, decay: float = 1.0) -> None:
        pairs = self.pairs[table][row]
        self.total[table][row] = _f32(_f32(self.total[table][row] * decay) + weight)
        for pair in pairs:
            pair[1] = _f32(pair[1] * decay)
        for pair in pairs:
            if pair[0] == item:
                pair[1] = _f32(pair[1] + weight)
                return
        weakest = min(range(len(pairs)), key=lambda place: pairs[place][1])
        pairs[weakest][:] = [item, _f32(weight)]

    def weight(self, table: int, row: int, item: int) -> float:
        return next((w for i, w in self.pairs[table][row] if i == item), 0.0)

    def share(self, item: int, half_life: float) -> float:
        """Recent popularity: an event of age a weighs (1 - g) g^a, with g = 0.5^(1 / half-life)."""
        g, newest = 0.5 ** (1.0 / half_life), len(self.times) - 1
        return (1 - g) * sum(g ** (newest - k) for k, other in enumerate(self.times) if other == item)

    def proposed(self, window: Sequence[int]) -> set[int]:
        """All neighbours of the recent items."""
        rows: set[int] = set()
        for d, source in enumerate(reversed(window[-10:])):
            reach = [t for t, most in ((_NEXT, 2), (_FORWARD, 5), (_WIDE, 10)) if d < most and source >= 0]
            rows |= {item for table in reach for item, _ in self.pairs[table][source] if item >= 0}
        return rows

    def features(self, window: Sequence[int], row: int, idle: float, gap: float, born: int, seen: int, now: int) -> list[float]:  # fmt: skip # noqa: E501
        """The features of one candidate in the order of FEATURES; the encoder's are 0."""
        back = list(reversed(window))
        known = [item for item in back if item >= 0]
        own = [d + 1 for d, item in enumerate(back) if item == row]
        last = back[0]
        followed = sum(
            1 for d in range(len(back) - 1) if back[d] == row and back[d + 1] == last and last >= 0
        )  # fmt: skip
        repeats = len(known) - len(set(known))
        values = [math.log(score + 1e-4) for score in self._scores(back, row)]
        values += [math.log(self.share(row, float(half)) + 1e-6) for half in HALF_LIVES]
        values += [float(bool(own)), math.log1p(len(own)), math.log1p(own[0] if own else 0), float(row == last)]
        values += [math.log1p(followed), math.log1p(max(0, now - born)), math.log1p(max(0, now - seen)), 0.0, 0.0]
        values += [math.log1p(len(known)), idle, gap, repeats / max(1, len(known))]
        return [*values, math.log1p(self.total[_FORWARD][last]) if last >= 0 else 0.0]

    def _scores(self, back: Sequence[int], row: int) -> list[float]:
        """next_last, next_last_but_one, forward_last, forward_recent, cosine_last, cosine_recent, cosine_max."""
        nexts = [self._share_of(_NEXT, source, row) for source in (*back[:2], -1, -1)][:2]
        forwards = [self._share_of(_FORWARD, source, row) for source in back[:5]]
        cosines = [self._cosine(source, row) for source in back[:10]]
        recent = sum(0.6**d * score for d, score in enumerate(forwards))
        return [*nexts, forwards[0], recent, cosines[0], sum(0.8**d * c for d, c in enumerate(cosines)), max(cosines)]

    def _share_of(self, table: int, source: int, row: int) -> float:
        return self.weight(table, source, row) / max(self.total[table][source], 1e-9) if source >= 0 else 0.0

    def _cosine(self, source: int, row: int) -> float:
        if source < 0:
            return 0.0
        totals = self.total[_WIDE]
        return self.weight(_WIDE, source, row) / math.sqrt(max(totals[source], 1e-9) * max(totals[row], 1e-9))


def _f32(value: float) -> float:
    return float(np.float32(value))
