"""The attic: vector, bias, popularity, category and first event of evicted items, kept for the day they return.

Adam's moments are not kept: they describe gradients of another time, and restarting them costs a returning item no more
than a new one, first steps of the learning rate's size. Neighbours are not kept either, since the rows of the other
items no longer name the item (ADR 0008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.state import array_of_texts, state_below, texts_of

_FIRST_CAPACITY = 256  # items that the first columns have room for; doubled as needed; not tuned

Kept = dict[str, NDArray[Any]]


class Attic:
    """Items by id, with named columns. With more than `capacity` items, those that were evicted first are dropped."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.columns: Kept = {}
        self._ids: list[str] = []
        self._place_of_id: dict[str, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._place_of_id)

    def put(self, ids: Sequence[str], kept: Kept) -> None:
        """Store items. kept: named columns with a row for each id."""
        newest = slice(max(0, len(ids) - self.capacity), None)
        places = np.array([self._place(item) for item in ids[newest]], dtype=np.int64)
        for name, column in kept.items():
            self._fit(name, column)
            self.columns[name][places] = column[newest]

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the place of each id, -1: not here."""
        return np.array([self._place_of_id.get(item, -1) for item in ids], dtype=np.int64)

    def ids_at(self, places: NDArray[np.int64]) -> list[str | None]:
        """Return the id at each place, None: the place is empty."""
        return [(self._ids[place] or None) if place < len(self._ids) else None for place in places.tolist()]

    def take(self, places: NDArray[np.int64]) -> Kept:
        """Return the columns at these places, and remove the items there."""
        for place in places.tolist():
            del self._place_of_id[self._ids[place]]
            self._ids[place] = ""
        return {name: column[places] for name, column in self.columns.items()}

    def state_dict(self) -> Kept:
        letters, lengths = array_of_texts(self._ids)
        used = {f"column.{name}": column[: len(self._ids)] for name, column in self.columns.items()}
        return {"ids": letters, "id_lengths": lengths, "next": np.array([self._next], dtype=np.int64), **used}

    def load_state_dict(self, state: Kept) -> None:
        """Load a state. Raises ValueError for more items than `capacity`."""
        ids = texts_of(state["ids"], state["id_lengths"])
        if len(ids) > self.capacity:
            raise ValueError(f"model.attic_items: the state has {len(ids)}, the configuration {self.capacity}")
        self._ids, self._next = ids, int(state["next"][0])
        self._place_of_id = {item: place for place, item in enumerate(ids) if item}
        self.columns = {name: column.copy() for name, column in state_below(state, "column").items()}

    def _place(self, item: str) -> int:
        """Give an item the next place of a ring of `capacity` places; the item there before is dropped."""
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
