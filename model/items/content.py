"""The content of the catalogue's items: finds each row's place in the table of contents, and keeps it up to date.

Shape suffixes: N rows of the catalogue, M rows that are asked about, D size of a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.items.catalog import Catalog
from model.items.content_table import ContentTable, Descriptions
from model.items.decisions import Decisions
from model.items.rule_columns import NO_RULES, RuleColumns, RuleValues


class Content:
    """Content by catalogue row.

    table: what is known of all items, with and without a row
    slot_N: slot of each row in the table, 0: none
    hidden_N: True for rows that may not be recommended, by what is told of their items and what was decided
    begun_N: True for rows whose item vectors have started
    rules: what the rules of lists say of each row's item
    described: False where nothing but decisions tells of items, so that there is nothing to compare them by
    """

    def __init__(
        self,
        catalog: Catalog,
        decisions: Decisions | None = None,
        described: bool = True,
        unknown: RuleValues = NO_RULES,
    ) -> None:
        """unknown: what the rules say of an item of which nothing is known, M = 1"""
        self.table, self.described = ContentTable(unknown), described
        self._catalog, self._decisions = catalog, Decisions() if decisions is None else decisions
        self._clear()

    def _clear(self) -> None:
        self.slot_N = np.zeros(self._catalog.capacity, np.int32)
        self.hidden_N = np.zeros(self._catalog.capacity, np.bool_)
        self.begun_N = np.zeros(self._catalog.capacity, np.bool_)
        self.rules = RuleColumns(self.table.rules.unknown, self._catalog.capacity)

    @property
    def holds_N(self) -> NDArray[np.uint64]:  # noqa: N802
        """The conditions that hold, as bits; of length 0 if there are none."""
        return self.rules.holds_NW.reshape(-1)

    @property
    def factor_NS(self) -> NDArray[np.float32]:  # noqa: N802
        """The factor of each boost."""
        return self.rules.factor_NS

    @property
    def group_NF(self) -> NDArray[np.uint32]:  # noqa: N802
        """A code of each field's value, 0: none."""
        return self.rules.group_NF

    def change(self, changes: Descriptions) -> NDArray[np.int32]:
        """Take over changes. Returns the rows of the items that they are of."""
        ids, used_again = self.table.change(changes)
        if len(used_again):
            self._look_up(np.flatnonzero(np.isin(self.slot_N, used_again)))
        return self._renew(ids)

    def decide(self, ids: list[str], words: list[str]) -> None:
        """Take over decisions: see `Decisions.change`."""
        self._renew(self._decisions.change(ids, words))

    def forget_decisions(self) -> None:
        self._decisions.load_state_dict({})
        self._look_up(self._catalog.live_rows())

    def _renew(self, ids: list[str]) -> NDArray[np.int32]:
        """Look up anew what these items are. Returns the rows of those that have one."""
        rows = self._catalog.find(ids)
        rows = rows[rows >= 0]
        self._look_up(rows)
        return rows

    def begin(self, rows: NDArray[np.int32]) -> None:
        """Look up what rows of new items are."""
        if self._catalog.capacity > len(self.slot_N):
            for name in ("slot_N", "hidden_N", "begun_N"):
                column = getattr(self, name)
                setattr(self, name, np.pad(column, (0, self._catalog.capacity - len(column))))
            self.rules.grow(self._catalog.capacity)
        self._look_up(rows)

    def forget(self, rows: NDArray[np.int64]) -> None:
        self.slot_N[rows], self.hidden_N[rows], self.begun_N[rows] = 0, False, False
        self.rules.set(rows, self.rules.unknown)

    def comparable(self) -> NDArray[np.int64]:
        """Return the rows of items of which something is known and whose item vectors have started."""
        return np.flatnonzero((self.slot_N > 0) & self.begun_N)

    def vectors(self, rows: NDArray[np.integer[Any]]) -> Tensor:
        """Return the contents' vectors [M, D] of rows, on the host."""
        return torch.from_numpy(self.table.vector_ND[self.slot_N[rows]]).float()

    def named(self, rows: NDArray[np.int32], category_M: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return the category of each row; where the content names none, the one in `category_M`."""
        known_M = self.table.category_N[self.slot_N[rows]]
        return np.where(known_M > 0, known_M, category_M)

    def _look_up(self, rows: NDArray[np.integer[Any]]) -> None:
        ids = self._catalog.ids_of_rows(rows)
        self.slot_N[rows] = self.table.find(ids)
        self.hidden_N[rows] = self._decisions.hides(ids, self.table.hidden_N[self.slot_N[rows]])
        self.rules.set(rows, self.table.rules.at(self.slot_N[rows]))

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return self.table.state_dict()

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Load a state, for the catalogue as it is now. An empty one, of a line that knew no content, clears all."""
        self.table = ContentTable(self.table.rules.unknown)
        if state:
            self.table.load_state_dict(state)
        self._clear()
        live = self._catalog.live_rows()
        self.begun_N[live] = True
        self._look_up(live)
