"""The configuration of the model, one set of defaults for all logs, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

from model.counting.walk import CountingConfig
from model.encoder.encoder import EncoderConfig
from model.encoder.losses import LOSSES

_LEAST = {
    "mini_batch": 1, "ranker_steps": 1, "ranker_hard": 0, "ranker_drawn": 1, "ranker_replayed": 0, "ranker_examples": 1,
    "min_items": 0, "encoder_items": 1, "targets": 1, "item_expiry_days": 0, "attic_items": 0, "burn_in": 0,
    "stale_steps": 0,
}  # fmt: skip


@dataclass(frozen=True)
class LearnerConfig:
    """Configuration of the model; sizes that follow from it are derived.

    `item_expiry_days`: for how long nobody has touched an item that leaves (0: none does), while more than `min_items`
    are live; of the last `attic_items` that left what is restored when they return. `loss`: see `losses`.
    `encoder_items`: of more items the encoder is asked about those that were seen last.
    `burn_in`, `stale_steps`: see `window_starts`. `targets`: how many events a training window predicts.

    Not `learning`: no gradient steps; counting and remembering go on. `item_vectors` "hashed": an item's vector follows
    from its id alone and is never learned. With both, (h, c) follows from a user's events and `seed` alone.
    """

    dim: int = 64
    mini_batch: int = 128
    ring_size: int = 255
    window: int = 8
    burn_in: int = 0
    stale_steps: int = 1_000
    list_length: int = 20
    max_items: int = 500_000
    min_items: int = 1_000
    item_expiry_days: float = 0.0
    attic_items: int = 100_000
    neighbours: int = 256
    candidates: int = 128
    encoder_candidates: int = 32
    encoder_items: int = 32_768
    dropout: float = 0.4
    encoder_learning_rate: float = 7e-3
    ranker_learning_rate: float = 2e-3
    ranker_steps: int = 3
    loss: str = "softmax"
    replayed: float = 2.5
    targets: int = 3
    ranker_hard: int = 12
    ranker_drawn: int = 7
    ranker_replayed: int = 64
    ranker_examples: int = 2_048
    full_softmax_items: int = 4_000
    negatives: int = 1_024
    replay_capacity: int = 20_000
    learning: bool = True
    item_vectors: str = "learned"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"model.{name}: at least {least}, got {getattr(self, name)}")
        if not 2 <= self.ring_size <= 255:
            raise ValueError(f"model.ring_size: from 2 to 255, got {self.ring_size}")
        if self.targets > 255:
            raise ValueError(f"model.targets: at most 255, got {self.targets}")
        if not 1 <= self.window <= self.ring_size:
            raise ValueError(f"model.window: from 1 to ring_size ({self.ring_size}), got {self.window}")
        if self.burn_in > self.ring_size - self.window:
            raise ValueError(
                f"model.burn_in: at most ring_size - window ({self.ring_size - self.window}), got {self.burn_in}"
            )
        if self.loss not in LOSSES:
            raise ValueError(f"model.loss: must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if not 1 <= self.list_length <= self.candidates:
            raise ValueError(f"model.list_length: from 1 to candidates ({self.candidates}), got {self.list_length}")
        if self.max_items < 64:
            raise ValueError(f"model.max_items: at least 64, got {self.max_items}")
        if self.item_vectors not in ("learned", "hashed"):
            raise ValueError(f"model.item_vectors: must be one of learned, hashed, got {self.item_vectors!r}")
        # Made here so that what they check is checked now, not when the learner is.
        _ = self.encoder, self.counting

    @property
    def encoder(self) -> EncoderConfig:
        return EncoderConfig(dim=self.dim, window=self.window, dropout=self.dropout)

    @property
    def counting(self) -> CountingConfig:
        return CountingConfig(neighbours=self.neighbours, candidates=self.candidates)
