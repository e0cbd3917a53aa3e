"""Updates of users' LSTM states: one step per event, or a whole ring run anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.batch import Batch
from model.encoder.encoder import Encoder
from model.encoder.sequences import sequences_of
from model.items.catalog import Catalog
from model.items.item_table import ItemTable
from model.items.starts import hashed_vectors
from model.user_table import Before, UserTable

# Item numbers -> ids, None for an unknown number.
IdsOfNumbers = Callable[[Sequence[int]], Sequence[str | None]]


class Remembering:
    """Updates (h, c) of the users on the device. `hashed`: item vectors are a hash of the id, so that items without a
    row in this line have one, too."""

    def __init__(self, encoder: Encoder, items: ItemTable, catalog: Catalog, users: UserTable, hashed: bool) -> None:
        self._encoder, self._items, self._catalog, self._users = encoder, items, catalog, users
        self._hashed = hashed

    @torch.no_grad()
    def read(self, batch: Batch, before: Before, own_B: NDArray[np.int64]) -> Tensor:
        """Step the LSTM through the events, in order per user. Returns h [B, H] before each event, or before its set.

        before: the users before each event
        own_B: see `sets.own_begins`
        """
        device = self._items.device
        users, order_X, sizes_T, before_B = sequences_of(batch.slot_B, batch.remember_B)
        inputs_XD = self._inputs(batch, before)[torch.from_numpy(order_X).to(device)]
        h_UH, c_UH = self._users.state(users)
        after_XH, last_h, last_c = self._encoder.read(inputs_XD, torch.from_numpy(sizes_T), h_UH, c_UH)
        self._users.put_state(users[: len(last_h)], last_h, last_c)
        return torch.cat([h_UH, after_XH])[torch.from_numpy(before_B[own_B]).to(device)]

    def _inputs(self, batch: Batch, before: Before) -> Tensor:
        device = self._items.device
        types_B = torch.from_numpy(batch.type_B).long().to(device)
        gaps_B = torch.from_numpy(before.own_gap_B).long().to(device)
        return self._encoder.inputs(self._items.vectors(batch.row_B), types_B, gaps_B)

    @torch.no_grad()
    def rebuild(self, slots: NDArray[np.int64], ids_of_numbers: IdsOfNumbers) -> None:
        """Rebuild (h, c) that other weights made: run the ring through this line's LSTM.

        slots: slots of the users
        ids_of_numbers: looks up the ids of items that have no row in this line
        """
        users = self._users
        table_ND1, windows_UL = self._ring_vectors(users.number_SL[slots], ids_of_numbers)
        ring, _ = self._encoder.ring(windows_UL, table_ND1)
        window = self._encoder.window(ring, windows_UL, users.type_SL[slots], users.gap_SL[slots])
        users.put_state(slots, *self._encoder.run(window))

    def _ring_vectors(
        self, numbers_UL: NDArray[np.uint32], ids_of_numbers: IdsOfNumbers
    ) -> tuple[Tensor, NDArray[np.int32]]:
        """Return a table of item vectors and, for each ring entry, its row in the table (-1: none)."""
        if not self._hashed:
            return self._items.table_ND1, self._catalog.rows_of_numbers(numbers_UL)
        numbers, places = np.unique(numbers_UL, return_inverse=True)
        vectors = hashed_vectors(self._ids(numbers, ids_of_numbers), self._encoder.config.dim)
        rows_UL: NDArray[np.int32] = np.where(numbers_UL > 0, places.reshape(numbers_UL.shape), -1).astype(np.int32)
        return F.pad(vectors, (0, 1)).to(self._items.device), rows_UL

    def _ids(self, numbers: NDArray[np.uint32], ids_of_numbers: IdsOfNumbers) -> list[str | None]:
        rows = self._catalog.rows_of_numbers(numbers)
        foreign = numbers[(rows < 0) & (numbers > 0)].tolist()
        others = dict(zip(foreign, ids_of_numbers(foreign) if foreign else (), strict=True))
        pairs = zip(numbers.tolist(), rows.tolist(), strict=True)
        return [self._catalog.ids[row] if row >= 0 else others.get(number) for number, row in pairs]
