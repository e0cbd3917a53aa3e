"""Bounds that other sections of the configuration set for the loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Each from the section that it is configured in.

    checkpoint_seconds: between the beginnings of two writes; infinite: only at the end.
    max_pending: users whose records may be owed to the store before consumption pauses.
    rebuild_records: records of a partition that are read again where the store has no memories of it.
    """

    checkpoint_seconds: float
    max_pending: int
    rebuild_records: int
