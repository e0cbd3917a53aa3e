"""The bounds of the loop that other sections of the configuration set."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_worker.loop.hearing import HearingLimits
from stream_worker.loop.shared_lists import SharedTopics


@dataclass(frozen=True)
class Limits:
    """The bounds of the loop.

    checkpoint_seconds: time between the beginnings of two writes; infinite: only at the end.
    max_pending: memory records that may be pending before consumption pauses.
    rebuild_records: records of a partition that are read again if the store has no memories of it.
    hearing: the bounds of hearing.
    shared: which shared lists are made.
    """

    checkpoint_seconds: float
    max_pending: int
    rebuild_records: int
    hearing: HearingLimits = field(default_factory=HearingLimits)
    shared: SharedTopics = field(default_factory=SharedTopics)
