"""Start states of training windows: truncated back-propagation from stored LSTM states.

An example keeps the `burn_in` ring entries before its window, the state after them, and the step whose weights made it.
A state older than `stale_steps` is computed again from these entries (stored state and burn-in: Kapturowski et al.,
2019).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.encoder.encoder import Encoder
from model.encoder.replay import Examples
from model.items.item_table import ItemTable
from model.state import array_of


class WindowStarts:
    """Adds the columns h, c (half precision, like users' states) and step to examples; none for `burn_in` 0."""

    def __init__(self, encoder: Encoder, items: ItemTable, burn_in: int, stale_steps: int) -> None:
        self._encoder, self._items = encoder, items
        self.burn_in, self._stale_steps = burn_in, stale_steps

    def added(self, examples: Examples, step: int) -> Examples:
        """Return the examples with start states from the present weights."""
        if not self.burn_in:
            return examples
        states = self._burned_in(examples)
        return examples | states | {"step": np.full(len(states["h"]), step)}

    def renewed(self, examples: Examples, step: int) -> Examples:
        """Return the examples; stale start states are computed again, in place."""
        if not self.burn_in:
            return examples
        stale = np.flatnonzero(step - examples["step"] > self._stale_steps)
        if len(stale):
            for name, column in self._burned_in({name: column[stale] for name, column in examples.items()}).items():
                examples[name][stale] = column
        return examples

    def of(self, examples: Examples) -> tuple[Tensor, Tensor] | None:
        """Return the start states (h, c) for `Encoder.run`; None for `burn_in` 0."""
        if not self.burn_in:
            return None
        h, c = (torch.from_numpy(examples[name]).float().to(self._items.device) for name in ("h", "c"))
        return h, c

    @torch.no_grad()
    def _burned_in(self, examples: Examples) -> Examples:
        rows, types, gaps = (examples[name][:, : self.burn_in] for name in ("window", "type", "gap"))
        ring, _ = self._encoder.ring(rows, self._items.table_ND1)
        h, c = self._encoder.run(self._encoder.window(ring, rows, types, gaps))
        # A NaN in a kept example would come back with it after the weights have recovered.
        return {"h": array_of(h.half().nan_to_num(0.0, 0.0, 0.0)), "c": array_of(c.half().nan_to_num(0.0, 0.0, 0.0))}
