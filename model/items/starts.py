"""Start vectors of new items: near the items that the user touched before, or a hash of the item's id.

Shape suffixes: M new items, B events, L ring entries, W newest of them, D size of a vector.
"""

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

_CONTEXT_FADE = 0.8  # factor on an item's weight in the mean per place back in the ring; not tuned
_NOISE = 0.5  # length of the noise vector; the mean has length 1; not tuned


class Start(Protocol):
    """A strategy for first vectors. takes_back: True if items that return from the attic get the vectors they had."""

    takes_back: bool

    def share(self, catalog: Catalog) -> None:
        """Draw nothing at random from now on: lines that share weights start an item alike, from its id."""
        ...

    def vectors(self, rows: NDArray[np.int32], places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        """Return unit vectors [M, D] for M new items.

        rows: their rows [M]
        places: places of their first events in the batch [M]
        windows_BL: the rows of the ring before each of the B events, -1: none
        """
        ...


class ByContext:
    """Starts new items near the last `window` items that the user touched before."""

    takes_back = True

    def __init__(self, items: ItemTable, window: int, rng: np.random.Generator) -> None:
        self.window = window
        self._items, self._rng = items, rng
        self._shared: Catalog | None = None

    def share(self, catalog: Catalog) -> None:
        """Take the noise from the items' ids, so that lines that share weights start an item alike."""
        self._shared = catalog

    def vectors(self, rows: NDArray[np.int32], places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        return self.near(windows_BL[places, -self.window :], self.noise(rows, places, len(windows_BL)))

    def noise(self, rows: NDArray[np.int32], places: NDArray[np.int64], events: int) -> Tensor:
        """Draw noise for all events, so that it does not depend on how many new items follow later in the batch.

        Returns that of the events at `places`, whose items have these rows.
        """
        if self._shared is not None:
            return hashed_vectors(self._shared.ids_of_rows(rows), self._items.all_vectors.shape[1])
        noise_BD = self._rng.standard_normal((events, self._items.all_vectors.shape[1]), dtype=np.float32)
        return torch.from_numpy(noise_BD[places])

    def near(self, windows_BW: NDArray[np.int32], noise_BD: Tensor) -> Tensor:
        """Return unit vectors [B, D]: the decayed mean of the items in these windows, plus noise."""
        return with_noise(self.mean(windows_BW), noise_BD)

    def mean(self, windows_BW: NDArray[np.int32]) -> Tensor:
        """Return the decayed mean [B, D] of the items in these windows, of length 1, or 0 without items."""
        items = self._items
        fades = _CONTEXT_FADE ** np.arange(windows_BW.shape[1])[::-1]
        weights_BW = torch.from_numpy(np.where(windows_BW >= 0, fades, 0.0).astype(np.float32)).to(items.device)
        mean_BD = torch.einsum("bw,bwd->bd", weights_BW, items.vectors(windows_BW))
        return F.normalize(mean_BD, dim=-1)


def with_noise(mean_BD: Tensor, noise_BD: Tensor) -> Tensor:
    """Return unit vectors [B, D] near these means."""
    return F.normalize(mean_BD + _NOISE * F.normalize(noise_BD.to(mean_BD.device), dim=-1), dim=-1)


class ByHash:
    """Starts items at a hash of their ids, where `model.item_vectors` is `hashed` and vectors are never learned."""

    takes_back = False

    def __init__(self, catalog: Catalog, dim: int) -> None:
        self._catalog, self._dim = catalog, dim

    def share(self, catalog: Catalog) -> None:
        """Change nothing: the vectors follow from the ids already."""

    def vectors(self, rows: NDArray[np.int32], places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        return hashed_vectors(self._catalog.ids_of_rows(rows), self._dim)


def hashed_vectors(ids: Sequence[str | None], dim: int) -> Tensor:
    """Return unit vectors [len(ids), D] that follow from the ids alone, the same in every process; zeros for None.

    They are SHAKE-256, two bytes per number, centred.
    """
    texts = [b"" if item is None else item.encode() for item in ids]
    drawn = b"".join(hashlib.shake_256(text).digest(2 * dim) for text in texts)
    vectors = np.frombuffer(drawn, dtype="<u2").reshape(-1, dim).astype(np.float32) - 32767.5
    known = np.array([item is not None for item in ids], dtype=np.float32)
    return F.normalize(torch.from_numpy(vectors * known[:, None]), dim=-1)
