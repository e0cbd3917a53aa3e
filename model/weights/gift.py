"""A gift: the weights of a line at one moment, as columns that another line of the same shapes can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.state import Arrays

MOST_SAY = 100  # steps after which a line that began has its full say in the mean of several; not tuned
# Columns beside the modules' by name: rows of items, and their slow copy.
ROWS, SLOW_ROWS = "items", "items.slow"


@dataclass(frozen=True)
class Gift:
    """Weights of one line, absolute ones, so that a gift that is lost or late does no harm.

    columns: arrays by name; one-dimensional but for the rows of items [M, D + 1]
    ids: ids of M items, in the order of the rows
    say: weight of this line in a mean, 1 to `MOST_SAY`; it grows with the steps since the line began
    """

    columns: Arrays
    ids: Sequence[str]
    say: int

    def is_finite(self) -> bool:
        return all(bool(np.isfinite(column).all()) for column in self.columns.values())

    def has_a_row_for_each_id(self) -> bool:
        return all(len(self.columns[name]) == len(self.ids) for name in (ROWS, SLOW_ROWS))


def same_shapes(ours: Arrays, theirs: Arrays) -> bool:
    """Return whether both have the same columns of the same shapes, however many rows of items."""
    if ours.keys() != theirs.keys():
        return False
    return all(_shape(name, column) == _shape(name, theirs[name]) for name, column in ours.items())


def _shape(name: str, column: NDArray[np.floating]) -> tuple[int, ...]:
    return column.shape[1:] if name in (ROWS, SLOW_ROWS) else column.shape
