"""`[worker]` of the configuration."""

from __future__ import annotations

import re
from typing import Annotated

from annotated_types import Interval
from pydantic import dataclasses as checked

# The slot that stands for one that is free.
AUTO = "auto"


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class WorkerConfig:
    """`[worker]`: name, device, size of a tick, and time for an orderly end."""

    #: Stable name of this worker, of letters, digits, "_", "-" and ".": its transactional id, static membership and
    #: checkpoint folder. Keep it over restarts; two workers of a group never share one. "auto": a StatefulSet's ordinal
    #: in Kubernetes, else the first of "0", "1", ... that no other worker has by Redis; without Redis "0".
    slot: str = "0"
    #: Device that the model computes on: "auto" ("cuda" where there is one, else "cpu") or a torch device ("cuda:1").
    device: str = "auto"
    #: Threads that make lists, and copy the line for a checkpoint. The lists are the same for every number. 2 was
    #: measured on two cores (ADR 0013).
    threads: Annotated[int, Interval(ge=1, le=64)] = 2
    #: Records that one tick takes at rest; at most half of `memory.device_users` and of `model.max_items`. The default
    #: is three mini-batches of `model.mini_batch` (mini-batches in docs/experiments).
    batch_size: Annotated[int, Interval(ge=1, le=100_000)] = 384
    #: Seconds that a tick waits for its first record at the most. Not tuned.
    poll_seconds: Annotated[float, Interval(gt=0, le=10)] = 0.05
    #: Seconds for an orderly end: last commit, memories, checkpoint. Keep it below the time after which a supervisor
    #: kills (Docker Compose here: 60, Kubernetes: 30), and below the 5 minutes after which a group drops a member.
    shutdown_seconds: Annotated[float, Interval(gt=0, le=120)] = 25.0

    @property
    def named_slot(self) -> str:
        """The slot; "0" for `auto` where there are no other workers."""
        return "0" if self.slot == AUTO else self.slot

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.slot):
            raise ValueError(f"worker.slot: must be of letters, digits, '_', '-' and '.', got {self.slot!r}")
