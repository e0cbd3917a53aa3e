"""Decisions of people on items, by id: that one is blocked, held or approved. They stand over what is told of it.

A decision may name an item that nobody has described or touched yet. An entry is small, a hash of the id and a number,
as in `content_table`.

Shape suffixes: M items that are asked about or decided on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.items.content_table import HELD, keys_of
from model.items.number_table import NumberTable

NONE, BLOCK, HOLD, APPROVE = 0, 1, 2, 3
WORDS = ("", "block", "hold", "approve")  # the decisions by their numbers


class Decisions:
    """The decision in force on each item, which is the last one.

    hold_new: True if an item that nothing was decided of waits until it is approved
    """

    def __init__(self, hold_new: bool = False) -> None:
        self.hold_new = hold_new
        self._clear()

    def _clear(self) -> None:
        self._decided_of = NumberTable(dtype=np.uint64)
        self._counts = np.zeros(len(WORDS), np.int64)

    @property
    def nbytes(self) -> int:
        return self._decided_of.nbytes

    @property
    def matters(self) -> bool:
        """False while no item's place in lists depends on a decision."""
        return self.hold_new or len(self._decided_of) > 0

    def change(self, ids: Sequence[str], words: Sequence[str]) -> list[str]:
        """Take over decisions in their order. Returns the ids, each once."""
        last = dict(zip(ids, words, strict=True))
        keys, decided_M = keys_of(list(last)), np.array([WORDS.index(word) for word in last.values()], np.int32)
        self._counts -= np.bincount(self._of(keys), minlength=len(WORDS))
        self._decided_of.put(keys, decided_M)
        self._counts += np.bincount(decided_M, minlength=len(WORDS))
        return list(last)

    def of(self, ids: Sequence[str]) -> list[str]:
        """Return the decision in force on each item, "" for none."""
        return [WORDS[decided] for decided in self._of(keys_of(ids)).tolist()]

    def counts(self) -> dict[str, int]:
        """Return the number of items by the decision that is in force on them."""
        return {word: int(self._counts[number]) for number, word in enumerate(WORDS) if word}

    def hides(self, ids: Sequence[str], told_M: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return True for each item that may not be recommended.

        told_M: the reasons in what is told of the items, `ContentTable.hidden_N`
        """
        if not self.matters:
            return told_M > 0
        decided_M = self._of(keys_of(ids))
        told_M = np.where(decided_M == APPROVE, told_M & ~np.uint8(HELD), told_M)
        waits_M = (decided_M == NONE) & self.hold_new
        hidden_M: NDArray[np.bool_] = (told_M > 0) | (decided_M == BLOCK) | (decided_M == HOLD) | waits_M
        return hidden_M

    def _of(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        return np.maximum(self._decided_of.find(keys), NONE)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        keys, decided = self._decided_of.entries()
        return {"key": keys, "decided": decided.astype(np.uint8)}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Load a state. An empty one, of a line that read no decisions, clears all."""
        self._clear()
        if state:
            self._decided_of.put(state["key"], state["decided"])
            self._counts = np.bincount(state["decided"], minlength=len(WORDS))
