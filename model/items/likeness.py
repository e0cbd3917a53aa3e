"""Features of a candidate for the ranker from what items are: how like the user's newest items it is.

Shape suffixes: B events, L ring entries, S newest of them, C candidates, D size of a vector, F features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.items.content import Content

# 0 where nothing is known of the candidate, or of the user's items. text: the cosine of the contents' vectors, to the
# newest item, to the mean of the newest ones, to the nearest of them; and the second one behind the best candidate's.
LIKENESS = (
    "brand_share", "brand_of_last", "text_of_last", "text_recent", "text_nearest", "text_behind_best"
)  # fmt: skip
_SPAN = 20  # newest items of a ring, as for categories; not tuned
_FADE = 0.9  # factor on an item's weight in their mean per place back in the ring; not tuned


def likeness(content: Content, candidates_BC: NDArray[np.int32], windows_BL: NDArray[np.int32]) -> Tensor:
    """Return features [B, C, F] in the order of LIKENESS, on the host.

    candidates_BC: rows, -1: none
    windows_BL: item rows of the users' rings, newest last, -1: none
    """
    candidate_BC, newest_BS = _slots(content, candidates_BC), _slots(content, windows_BL[:, -_SPAN:])
    texts = _texts(content, candidate_BC, newest_BS)
    return torch.cat([torch.from_numpy(_brands(content, candidate_BC, newest_BS)), texts], dim=-1)


def _slots(content: Content, rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the content's slot of each row, 0 for -1."""
    return np.where(rows >= 0, content.slot_N[rows], 0)


def _brands(content: Content, candidate_BC: NDArray[np.int32], newest_BS: NDArray[np.int32]) -> NDArray[np.float32]:
    brand_BC, brand_BS = content.table.brand_N[candidate_BC], content.table.brand_N[newest_BS]
    known_B1 = np.maximum(1, np.count_nonzero(brand_BS, axis=1))[:, None]
    same_BC = np.zeros(brand_BC.shape, np.float32)
    for brand_B in brand_BS.T:
        same_BC += brand_BC == brand_B[:, None]
    of_last_BC = brand_BC == brand_BS[:, -1:]
    brands_BC2 = np.stack([same_BC / known_B1, of_last_BC], axis=-1).astype(np.float32)
    return np.where((brand_BC > 0)[:, :, None], brands_BC2, np.float32(0.0))


def _texts(content: Content, candidate_BC: NDArray[np.int32], newest_BS: NDArray[np.int32]) -> Tensor:
    vectors_ND = torch.from_numpy(content.table.vector_ND)
    candidate_BCD, newest_BSD = (vectors_ND[torch.from_numpy(at)].float() for at in (candidate_BC, newest_BS))
    cosine_BSC = torch.bmm(newest_BSD, candidate_BCD.transpose(1, 2))
    fades_S1 = torch.from_numpy(_FADE ** np.arange(newest_BS.shape[1])[::-1, None].astype(np.float32))
    mean_B1D = F.normalize((newest_BSD * fades_S1).sum(dim=1, keepdim=True), dim=-1)
    recent_BC = torch.bmm(mean_B1D, candidate_BCD.transpose(1, 2))[:, 0]
    best_B1 = recent_BC.amax(dim=1, keepdim=True)
    return torch.stack([cosine_BSC[:, -1], recent_BC, cosine_BSC.amax(dim=1), recent_BC - best_B1], dim=-1)
