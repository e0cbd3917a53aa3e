"""`[checkpoint]`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckpointConfig:
    """`[checkpoint]`: where, how many are kept of each slot, how often one is written."""

    path: str = "checkpoints"
    keep: int = 3
    interval_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("checkpoint.path: must be a folder, got ''")
        if self.keep < 1:
            raise ValueError(f"checkpoint.keep: must be at least 1, got {self.keep}")
        if not 0 < self.interval_seconds <= 3600:
            raise ValueError(f"checkpoint.interval_seconds: above 0, at most 3600, got {self.interval_seconds}")
