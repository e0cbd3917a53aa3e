"""Changes of items, as the items topic or a file of items tells them: what an item is, or that it is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ItemChanges:
    """M changes in the order of the source, as columns. An item may stand there several times; the last one holds.

    A change tells all that is known of an item: what it leaves out is not known any more.

    gone_M bool: True if the item is gone; its other columns then hold what stands for "not given".
    price_M float32 (NaN: none). available_M bool (True unless the change says otherwise). blocked_M, held_M bool (False
    unless it says otherwise). ts_M float64, epoch seconds (NaN: no time of its own).
    rules: what the rules of lists say of the items, as `item_rules.RuleValues`; None: there are no such rules.
    Python lists: ids; title, brand, category ("": none); tags; vectors, a float32 array by its kind ("text").
    """

    ids: list[str]
    gone_M: NDArray[np.bool_]
    title: list[str]
    brand: list[str]
    category: list[str]
    price_M: NDArray[np.float32]
    tags: list[tuple[str, ...]]
    available_M: NDArray[np.bool_]
    blocked_M: NDArray[np.bool_]
    held_M: NDArray[np.bool_]
    vectors: list[Mapping[str, NDArray[np.float32]]]
    ts_M: NDArray[np.float64]
    rules: Sequence[NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self.ids)
