"""The encoder: a user's LSTM state and ring -> a query that is compared with every item vector.

Legend of shape suffixes, here and in the rest of `model`:
    B events or users of a batch    W window of the last items (right-aligned, row -1: empty)
    H LSTM units                    D item vector             N rows of the item table
    C candidates                    F features                K length of a list
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

GAP_BUCKETS = 32


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and scales. `dim` is both D and H, since item vectors are tied to the query."""

    dim: int = 64
    window: int = 20
    scale: float = 8.0
    dropout: float = 0.4
    event_types: int = 16

    def __post_init__(self) -> None:
        if self.dim < 4:
            raise ValueError(f"model.dim: at least 4, got {self.dim}")
        if not 1 <= self.window <= 255:
            raise ValueError(f"model.window: from 1 to 255, got {self.window}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"model.dropout: from 0 to below 1, got {self.dropout}")


class Encoder(nn.Module):
    """LSTM memory step (Hochreiter and Schmidhuber, 1997), attention over the ring with the state as query, a fully
    connected layer. Item vectors come in as arguments: their table and its optimizer live in `learner`."""

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
        """What the LSTM reads of an event: its item, type and the gap before it; any leading shape, then D."""
        vectors = F.normalize(items_D, dim=-1) * items_D.shape[-1] ** 0.5
        inputs: Tensor = vectors + self.type_vectors(types) + self.gap_vectors(gaps)
        return inputs

    def step(self, inputs_BD: Tensor, h_BH: Tensor, c_BH: Tensor) -> tuple[Tensor, Tensor]:
        """One event for each of B users: (h, c) after it."""
        after: tuple[Tensor, Tensor] = torch.lstm_cell(inputs_BD, (h_BH, c_BH), *self.lstm.all_weights[0])
        return after

    def run(
        self, inputs_BWD: Tensor, lengths_B: Tensor, start: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(h, c) after the last `lengths_B` inputs of right-aligned windows, from `start` (None: a zero state)."""
        zeros = inputs_BWD.new_zeros(len(lengths_B), self.config.dim)
        h_BH, c_BH = start or (zeros, zeros)
        if not len(lengths_B):  # of which torch makes no packed sequence
            return h_BH, c_BH
        window = inputs_BWD.shape[1]
        steps = torch.arange(window, device=lengths_B.device)
        shift = (window - lengths_B).clamp(max=window - 1)
        left = (steps[None] + shift[:, None]).clamp(max=window - 1)
        aligned = inputs_BWD.gather(1, left[:, :, None].expand_as(inputs_BWD))
        packed = nn.utils.rnn.pack_padded_sequence(
            aligned, lengths_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        _, (h, c) = self.lstm(packed, (h_BH[None], c_BH[None]))
        alive = (lengths_B > 0)[:, None]
        return torch.where(alive, h[0], h_BH), torch.where(alive, c[0], c_BH)

    def window(
        self, rows_BW: NDArray[np.int32], types_BW: NDArray[np.uint8], gaps_BW: NDArray[np.uint8], table_ND1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What `run` takes: inputs [B, W, D] of right-aligned windows of rows, and their lengths [B].

        A place whose item has no row any more counts, as nothing; the places before the first one do not.
        """
        device = table_ND1.device
        filled = rows_BW >= 0
        lengths_B = np.where(filled.any(axis=1), rows_BW.shape[1] - filled.argmax(axis=1), 0)
        items_BWD = table_ND1[torch.from_numpy(np.maximum(rows_BW, 0)).long().to(device), :-1]
        items_BWD = items_BWD * torch.from_numpy(filled).to(device)[..., None]
        types, gaps = (torch.from_numpy(x).long().to(device) for x in (types_BW, gaps_BW))
        return self.inputs(items_BWD, types, gaps), torch.from_numpy(lengths_B).to(device)

    def ring(self, rows_BL: NDArray[np.int32], table_ND1: Tensor) -> tuple[Tensor, Tensor]:
        """What `queries` takes: vectors [B, W, D] of the last W places of the rings, and which of them hold an item."""
        rows_BW = torch.from_numpy(rows_BL[:, -self.config.window :]).to(table_ND1.device)
        return table_ND1[rows_BW.clamp(min=0).long(), :-1], rows_BW >= 0

    def queries(self, h_BH: Tensor, ring_BWD: Tensor, ring_mask_BW: Tensor) -> tuple[Tensor, Tensor]:
        """Unit query vectors [B, D] and attention weights [B, W] (zeros for an empty ring).

        attention = softmax(ring . Q h / sqrt(D)); query = normalize(FC([h, attention . ring, newest item]))
        """
        vectors = F.normalize(ring_BWD, dim=-1) * ring_BWD.shape[-1] ** 0.5
        window = vectors.shape[1]
        keys = vectors + self.position_vectors.weight[-window:]
        logits_BW = torch.einsum("bwd,bd->bw", keys, self.query(h_BH)) / vectors.shape[-1] ** 0.5
        logits_BW = logits_BW.masked_fill(~ring_mask_BW, -1e9)
        attention_BW = logits_BW.softmax(dim=-1) * ring_mask_BW
        context_BD = torch.einsum("bw,bwd->bd", attention_BW, vectors)
        newest_BD = vectors[:, -1] * ring_mask_BW[:, -1:]
        hidden = F.silu(self.hidden(torch.cat([h_BH, context_BD, newest_BD], dim=-1)))
        return F.normalize(self.output(hidden) + newest_BD, dim=-1), attention_BW

    def logits(self, queries_BD: Tensor, items_ND: Tensor, bias_N: Tensor) -> Tensor:
        """scale * cosine + bias, [B, N]."""
        return queries_BD @ (self.config.scale * F.normalize(items_ND, dim=-1)).T + bias_N


def hashed_vectors(ids: Sequence[str | None], dim: int) -> Tensor:
    """Unit vectors [len(ids), D] that follow from the ids alone, in every process alike (SHAKE-256 as two bytes a
    number, centred); zeros for None."""
    texts = [b"" if item is None else item.encode() for item in ids]
    drawn = b"".join(hashlib.shake_256(text).digest(2 * dim) for text in texts)
    vectors = np.frombuffer(drawn, dtype="<u2").reshape(-1, dim).astype(np.float32) - 32767.5
    known = np.array([item is not None for item in ids], dtype=np.float32)
    return F.normalize(torch.from_numpy(vectors * known[:, None]), dim=-1)
