"""Start vectors of new items from what they are: near those of the live items whose content is most like theirs.

Shape suffixes: M new items, K items like one of them, N rows, D size of a vector.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.items.catalog import Catalog
from model.items.content import Content
from model.items.item_table import ItemTable
from model.items.starts import ByContext, with_noise

_MOST_COMPARED = 8_192  # live items that a new one is compared with: those seen last; not tuned
_LIKE = 10  # items whose mean a vector starts from; not tuned


class ByContent:
    """Starts a new item near the live items whose content is most like its own, and near the user's newest items.

    Where nothing is known of it, or of any other item, it starts as `ByContext` has it.
    """

    takes_back = True

    def __init__(self, context: ByContext, content: Content, items: ItemTable, catalog: Catalog) -> None:
        self._context, self._content, self._items, self._catalog = context, content, items, catalog

    def share(self, catalog: Catalog) -> None:
        """See `ByContext.share`."""
        self._context.share(catalog)

    def vectors(self, rows: NDArray[np.int32], places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        noise_MD = self._context.noise(rows, places, len(windows_BL))
        context_MD = self._context.mean(windows_BL[places, -self._context.window :])
        return with_noise(F.normalize(context_MD + self._like(rows), dim=-1), noise_MD)

    def _like(self, rows: NDArray[np.int32]) -> Tensor:
        """Return the mean [M, D] of the items most like each row, by the square of the cosine; length 1, or 0."""
        others = self._catalog.latest(self._content.comparable(), _MOST_COMPARED)
        cosine_MN = self._content.vectors(rows) @ self._content.vectors(others).T
        best = cosine_MN.topk(min(_LIKE, len(others)), dim=1)
        vectors_MKD = self._items.vectors(others.astype(np.int32)[best.indices.numpy()])
        weight_MK = best.values.clamp(min=0.0).square().to(vectors_MKD.device)
        return F.normalize(torch.einsum("mk,mkd->md", weight_MK, vectors_MKD), dim=-1)
