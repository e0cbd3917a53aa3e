"""The replay buffer: a uniform reservoir of all training examples, and a ring of the last ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Examples = dict[str, NDArray[Any]]


class Replay:
    """A bounded buffer. Half of every sample comes from the last `recent` examples, half from a reservoir of `capacity`
    of all examples.

    Examples are rows of named columns. Reservoir: algorithm R (Vitter, 1985), vectorised over a batch.
    """

    def __init__(self, capacity: int, recent: int) -> None:
        self.capacity = capacity
        self.recent = recent
        self.seen = 0
        self._columns: Examples = {}

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, columns: Examples, rng: np.random.Generator) -> None:
        """Add B examples. Places 0..capacity-1 are the reservoir, the places behind it a ring of the recent ones."""
        count = len(next(iter(columns.values())))
        if count == 0:
            return
        if not self._columns:
            self._columns = {
                n: np.zeros((self.capacity + self.recent, *c.shape[1:]), c.dtype) for n, c in columns.items()
            }
        index = self.seen + np.arange(count)
        drawn = (rng.random(count) * (index + 1)).astype(np.int64)
        place = np.where(index < self.capacity, index, drawn)
        kept = place < self.capacity
        ring = self.capacity + index % self.recent
        for name, column in columns.items():
            self._columns[name][place[kept]] = column[kept]
            self._columns[name][ring] = column
        self.seen += count

    def sample(self, count: int, rng: np.random.Generator) -> Examples:
        """Draw `count` examples with replacement; none from an empty buffer."""
        if self.seen == 0:
            return {}
        old = rng.integers(0, len(self), size=count // 2)
        recent = self.capacity + rng.integers(0, min(self.seen, self.recent), size=count - count // 2)
        places = np.concatenate([old, recent])
        return {name: column[places] for name, column in self._columns.items()}

    def state_dict(self) -> Examples:
        return {"seen": np.array([self.seen], dtype=np.int64), **self._columns}

    def load_state_dict(self, state: Examples) -> None:
        """Load a state. Raises ValueError for a buffer of another size."""
        for name, column in state.items():
            if name != "seen" and len(column) != self.capacity + self.recent:
                raise ValueError(
                    f"model.replay_capacity: the state has {len(column)} places, "
                    f"the configuration {self.capacity + self.recent}"
                )
        self.seen = int(state["seen"][0])
        self._columns = {name: column.copy() for name, column in state.items() if name != "seen"}
