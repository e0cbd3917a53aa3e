"""Columns of what the rules of lists say of items: they are worked out elsewhere, once a change, and looked up here.

Shape suffixes: N slots or rows, M items that change, W words of 64 conditions (0 or 1), S boosts, F fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Columns of M items: the conditions that hold, as bits (uint64, [M, W]); factors (float32, [M, S]); codes of groups, 0
# for none (uint32, [M, F]).
RuleValues = Sequence[NDArray[Any]]
NO_RULES: RuleValues = (np.zeros((1, 0), np.uint64), np.zeros((1, 0), np.float32), np.zeros((1, 0), np.uint32))
_NAMES = ("holds_NW", "factor_NS", "group_NF")


class RuleColumns:
    """Columns of what rules say of each row; of width 0 where there are no such rules.

    holds_NW: bit e of the word is set where the e-th condition holds
    factor_NS: the factor of each boost
    group_NF: a code of each field's value, 0: none
    """

    def __init__(self, unknown: RuleValues, rows: int) -> None:
        """unknown: the values of an item of which nothing is known, M = 1; all rows begin with them."""
        self.unknown = unknown
        self.holds_NW, self.factor_NS, self.group_NF = (column.repeat(rows, axis=0) for column in unknown)

    @property
    def nbytes(self) -> int:
        return sum(int(column.nbytes) for column in self._columns())

    def grow(self, rows: int) -> None:
        for name, column, unknown in zip(_NAMES, self._columns(), self.unknown, strict=True):
            if rows > len(column):
                setattr(self, name, np.concatenate([column, unknown.repeat(rows - len(column), axis=0)]))

    def set(self, rows: NDArray[np.integer[Any]], values: RuleValues) -> None:
        for column, given in zip(self._columns(), values, strict=True):
            column[rows] = given

    def at(self, rows: NDArray[np.integer[Any]]) -> RuleValues:
        return [column[rows] for column in self._columns()]

    def state_dict(self, rows: int) -> dict[str, NDArray[Any]]:
        """Return the columns of the first rows, those that have a width."""
        return {
            name: column[:rows] for name, column in zip(_NAMES, self._columns(), strict=True) if column.shape[1] > 0
        }

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Load the columns that have the widths of today's rules; those of other rules are left out."""
        for name, column in zip(_NAMES, self._columns(), strict=True):
            if (had := state.get(name)) is not None and had.shape[1:] == column.shape[1:]:
                column[: len(had)] = had

    def _columns(self) -> list[NDArray[Any]]:
        return [self.holds_NW, self.factor_NS, self.group_NF]
