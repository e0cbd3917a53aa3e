"""The encoder: LSTM state and ring of a user -> a query vector, to be compared with every item vector.

Shape suffixes, here and in the rest of `model`:
    B events or users of a batch    W window of the last items (right-aligned, row -1: empty)
    H LSTM units                    D item vector             N rows of the item table
    A users with any event          T events of the longest window
    C candidates                    F features                K length of a list
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from model.batch import GAP_BUCKETS, TYPES


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and scales; `LearnerConfig` has the defaults and bounds of the first three.

    dim: units, both D and H, since item vectors are tied to the query
    window: newest events of a ring that attention sees
    dropout: share of the LSTM's output that is zeroed while learning
    scale: factor between cosines of queries and item vectors and the logits; not tuned
    event_types: event types that have a vector of their own
    """

    dim: int
    window: int
    dropout: float
    scale: float = 8.0
    event_types: int = TYPES


class Window(NamedTuple):
    """Events of the A users who have any, left-aligned, the longest first, as an LSTM reads them.

    inputs_ATD: inputs of at most T events; arbitrary behind a user's last event
    lengths_A: number of events of each user
    users_A: place of each user in the batch
    batch: number of users with or without events
    """

    inputs_ATD: Tensor
    lengths_A: Tensor
    users_A: Tensor
    batch: int


class Encoder(nn.Module):
    """LSTM (Hochreiter and Schmidhuber, 1997), attention over the ring with the state as query, a fully connected
    layer. Item vectors are arguments, of unit length or zeros: see `item_table`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.type_vectors = nn.Embedding(config.event_types, dim)
        self.gap_vectors = nn.Embedding(GAP_BUCKETS, dim)
        self.position_vectors = nn.Embedding(config.window, dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.hidden = nn.Linear(3 * dim, 2 * dim)
        self.output = nn.Linear(2 * dim, dim)
        for table in (self.type_vectors, self.gap_vectors, self.position_vectors):
            nn.init.normal_(table.weight, std=0.02)

    def inputs(self, items_D: Tensor, types: Tensor, gaps: Tensor) -> Tensor:
        """Return the LSTM's inputs [..., D] of events: item, type and the gap before it."""
        inputs: Tensor = self.type_vectors(types) + self.gap_vectors(gaps)
        return torch.add(inputs, items_D, alpha=self.config.dim**0.5)

    def read(self, inputs_XD: Tensor, sizes_T: Tensor, h_UH: Tensor, c_UH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the LSTM over packed sequences.

        inputs_XD: the first event of `sizes_T[0]` users, then the second event of `sizes_T[1]` of them, and so on
        sizes_T: number of users with a first event, a second event, ...
        h_UH, c_UH: states of U users, those with the longest sequences first

        Returns h after every event [X, H], and (h, c) of the users with events after their last one.
        """
        if not len(sizes_T):
            return h_UH[:0], h_UH[:0], c_UH[:0]
        start = h_UH[None, : sizes_T[0]], c_UH[None, : sizes_T[0]]
        after, (h_1UH, c_1UH) = self.lstm(PackedSequence(inputs_XD, sizes_T), start)
        return after.data, h_1UH[0], c_1UH[0]

    def run(self, window: Window, start: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return (h, c) [B, H] after the events of a window, from `start` (None: a zero state)."""
        h_BH, c_BH = start or self._zeros(window)
        if not len(window.users_A):
            return h_BH, c_BH
        packed = pack_padded_sequence(window.inputs_ATD, window.lengths_A.cpu(), batch_first=True)
        start = h_BH[window.users_A], c_BH[window.users_A]
        _, h_AH, c_AH = self.read(packed.data, packed.batch_sizes, *start)
        return h_BH.index_copy(0, window.users_A, h_AH), c_BH.index_copy(0, window.users_A, c_AH)

    def hidden_after(self, window: Window, start: tuple[Tensor, Tensor] | None = None, prefixes: int = 1) -> Tensor:
        """Return h [prefixes, B, H] after all events, after all but the last one, and so on.

        Same values as `run`, in half of the time with gradients: torch has a fused LSTM for sequences that are not
        packed. Arbitrary for a prefix without events.
        """
        h_BH, c_BH = start or self._zeros(window)
        h_KBH, users_A = h_BH.expand(prefixes, -1, -1), window.users_A
        if not len(users_A):
            return h_KBH
        all_ATH, _ = self.lstm(window.inputs_ATD, (h_BH[users_A][None], c_BH[users_A][None]))
        last_KA = (window.lengths_A - 1 - torch.arange(prefixes)[:, None]).clamp(min=0).to(all_ATH.device)
        return h_KBH.index_copy(1, users_A, all_ATH[torch.arange(len(users_A), device=all_ATH.device), last_KA])

    def _zeros(self, window: Window) -> tuple[Tensor, Tensor]:
        zeros = window.inputs_ATD.new_zeros(window.batch, self.config.dim)
        return zeros, zeros

    def window(
        self, ring_BWD: Tensor, rows_BW: NDArray[np.int32], types_BW: NDArray[np.uint8], gaps_BW: NDArray[np.uint8]
    ) -> Window:
        """Return the events of right-aligned rings.

        ring_BWD: item vectors of the rings
        rows_BW: item rows, -1: none. An evicted item between others is an event with a zero vector; places before
            the first event are left out.
        types_BW, gaps_BW: event types, and time buckets before each event
        """
        batch, width = rows_BW.shape
        filled = rows_BW >= 0
        lengths_B = np.where(filled.any(axis=1), width - filled.argmax(axis=1), 0)
        users_A = np.argsort(-lengths_B, kind="stable")[: np.count_nonzero(lengths_B)]
        lengths_A = lengths_B[users_A]
        places_AT = np.minimum(width - lengths_A[:, None] + np.arange(lengths_A.max(initial=0)), width - 1)
        at_AT = users_A[:, None] * width + places_AT
        device = ring_BWD.device
        items_ATD = F.embedding(torch.from_numpy(at_AT).to(device), ring_BWD.reshape(-1, self.config.dim))
        types_AT, gaps_AT = (torch.from_numpy(x.reshape(-1)[at_AT]).to(device).int() for x in (types_BW, gaps_BW))
        return Window(
            inputs_ATD=self.inputs(items_ATD, types_AT, gaps_AT),
            lengths_A=torch.from_numpy(lengths_A),
            users_A=torch.from_numpy(users_A).to(device),
            batch=batch,
        )

    def ring(self, rows_BW: NDArray[np.int32], table_ND1: Tensor) -> tuple[Tensor, Tensor]:
        """Return item vectors [B, W, D] of rings, zeros where there is no item, and a mask [B, W] of the items."""
        rows = torch.from_numpy(rows_BW).to(table_ND1.device)
        filled_BW = rows >= 0
        return F.embedding(rows.clamp(min=0), table_ND1)[..., :-1] * filled_BW[..., None], filled_BW

    def queries(self, h_BH: Tensor, ring_BWD: Tensor, ring_mask_BW: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit query vectors [B, D] and attention weights [B, W] (zeros for an empty ring).

        attention = softmax(ring . Q h / sqrt(D)); query = normalize(FC([h, attention . ring, newest item]))
        """
        # Unit vectors are scaled by sqrt(D): each coordinate is about 1. A key is item vector + position vector.
        size = self.config.dim**0.5
        query_BD = self.query(h_BH)
        places_BW = query_BD @ self.position_vectors.weight[-ring_BWD.shape[1] :].T / size
        # A product of matrices with one column is several times as slow, forward and backward.
        logits_BW = (ring_BWD * query_BD[:, None]).sum(dim=-1) + places_BW
        attention_BW = logits_BW.masked_fill(~ring_mask_BW, -1e9).softmax(dim=-1) * ring_mask_BW
        context_BD = size * (ring_BWD * attention_BW[:, :, None]).sum(dim=1)
        newest_BD = size * ring_BWD[:, -1] * ring_mask_BW[:, -1:]
        hidden = F.silu(self.hidden(torch.cat([h_BH, context_BD, newest_BD], dim=-1)))
        return F.normalize(self.output(hidden) + newest_BD, dim=-1), attention_BW
