"""What is kept of evicted items, for the day they return: vector, bias, popularity, category, their first event.

Adam's moments are not kept: they describe gradients of another time, and starting them again costs a returning item
what any new one pays, a learning rate a step. Nor are its neighbours, of which the others' rows were cleared as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.state import array_of_texts, state_below, texts_of

_FIRST_CAPACITY = 256

Kept = dict[str, NDArray[Any]]


class Attic:
    """Items by id, in rows of named columns; of more than `capacity` the ones evicted first leave."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.columns: Kept = {}
        self._ids: list[str] = []
        self._place_of_id: dict[str, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._place_of_id)

    def put(self, ids: Sequence[str], kept: Kept) -> None:
        """A row of each column for each id."""
        newest = slice(max(0, len(ids) - self.capacity), None)
        places = np.array([self._place(item) for item in ids[newest]], dtype=np.int64)
        for name, column in kept.items():
            self._fit(name, column)
            self.columns[name][places] = column[newest]

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The place of each id, -1 where it is not here."""
        return np.array([self._place_of_id.get(item, -1) for item in ids], dtype=np.int64)

    def ids_at(self, places: NDArray[np.int64]) -> list[str | None]:
        """The id at each place, None where there is none."""
        return [(self._ids[place] or None) if place < len(self._ids) else None for place in places.tolist()]

    def take(self, places: NDArray[np.int64]) -> Kept:
        """What was kept at these places, which are free from now on."""
        for place in places.tolist():
            del self._place_of_id[self._ids[place]]
            self._ids[place] = ""
        return {name: column[places] for name, column in self.columns.items()}

    def state_dict(self) -> Kept:
        letters, lengths = array_of_texts(self._ids)
        used = {f"column.{name}": column[: len(self._ids)] for name, column in self.columns.items()}
        return {"ids": letters, "id_lengths": lengths, "next": np.array([self._next], dtype=np.int64), **used}

    def load_state_dict(self, state: Kept) -> None:
        """Raises ValueError for more items than there is room for."""
        ids = texts_of(state["ids"], state["id_lengths"])
        if len(ids) > self.capacity:
            raise ValueError(f"model.attic_items: the state has {len(ids)}, the configuration {self.capacity}")
        self._ids, self._next = ids, int(state["next"][0])
        self._place_of_id = {item: place for place, item in enumerate(ids) if item}
        self.columns = {name: column.copy() for name, column in state_below(state, "column").items()}

    def _place(self, item: str) -> int:
        """The next place of the ring, whoever was there."""
        place, self._next = self._next, (self._next + 1) % self.capacity
        if place == len(self._ids):
            self._ids.append("")
        self._place_of_id.pop(self._ids[place], None)
        if (earlier := self._place_of_id.get(item)) is not None:
            self._ids[earlier] = ""
        self._ids[place] = item
        self._place_of_id[item] = place
        return place

    def _fit(self, name: str, like: NDArray[Any]) -> None:
        column = self.columns.get(name, np.zeros((0, *like.shape[1:]), like.dtype))
        if len(column) < len(self._ids):
            size = min(self.capacity, max(_FIRST_CAPACITY, 2 * len(column), len(self._ids)))
            column = np.concatenate([column, np.zeros((size - len(column), *column.shape[1:]), column.dtype)])
        self.columns[name] = column
