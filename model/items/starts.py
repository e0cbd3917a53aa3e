"""Where the vector of a new item starts: near the items that users touched before it, or where its id says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.items.catalog import Catalog
from model.items.item_table import ItemTable

_CONTEXT_FADE = 0.8  # weight of a window's place, beside 1 for the one behind it
_NOISE = 0.5  # length of the noise, beside 1 for the mean


class Start(Protocol):
    """A strategy. `takes_back`: an item that comes back from the attic gets the vector it had."""

    takes_back: bool

    def vectors(self, rows: NDArray[np.int32], places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        """Unit vectors [M, D] for M new items.

        rows: their rows [M]
        places: which of the B events of the batch are their first ones [M]
        windows_BL: the rows of the ring before each of the B events, -1: none
        """
        ...


class ByContext:
    """New items start near the last `window` items that the user touched before."""

    takes_back = True

    def __init__(self, items: ItemTable, window: int, rng: np.random.Generator) -> None:
        self._items, self._window, self._rng = items, window, rng

    def vectors(self, rows: NDArray[np.int32], places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        # Drawn for all events: how many newcomers are still to come may not show in the first one's noise.
        shape = len(windows_BL), self._items.all_vectors.shape[1]
        noise_BD = self._rng.standard_normal(shape, dtype=np.float32)
        return self.near(windows_BL[places, -self._window :], torch.from_numpy(noise_BD[places]))

    def near(self, windows_BW: NDArray[np.int32], noise_BD: Tensor) -> Tensor:
        """The decayed mean of the items in these windows, with some noise; unit vectors [B, D]."""
        items = self._items
        fades = _CONTEXT_FADE ** np.arange(windows_BW.shape[1])[::-1]
        weights_BW = torch.from_numpy(np.where(windows_BW >= 0, fades, 0.0).astype(np.float32)).to(items.device)
        mean_BD = torch.einsum("bw,bwd->bd", weights_BW, items.vectors(windows_BW))
        noise_BD = _NOISE * F.normalize(noise_BD.to(items.device), dim=-1)
        return F.normalize(F.normalize(mean_BD, dim=-1) + noise_BD, dim=-1)


class ByHash:
    """New items start, and start again, where their ids say."""

    takes_back = False

    def __init__(self, catalog: Catalog, dim: int) -> None:
        self._catalog, self._dim = catalog, dim

    def vectors(self, rows: NDArray[np.int32], places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        return hashed_vectors(self._catalog.ids_of_rows(rows), self._dim)


def hashed_vectors(ids: Sequence[str | None], dim: int) -> Tensor:
    """Unit vectors [len(ids), D] that follow from the ids alone, in every process alike (SHAKE-256 as two bytes a
    number, centred); zeros for None."""
    texts = [b"" if item is None else item.encode() for item in ids]
    drawn = b"".join(hashlib.shake_256(text).digest(2 * dim) for text in texts)
    vectors = np.frombuffer(drawn, dtype="<u2").reshape(-1, dim).astype(np.float32) - 32767.5
    known = np.array([item is not None for item in ids], dtype=np.float32)
    return F.normalize(torch.from_numpy(vectors * known[:, None]), dim=-1)
