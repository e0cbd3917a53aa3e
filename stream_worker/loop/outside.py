"""Everything that a worker talks to, by its interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import CheckpointStore, Clock, MemoryStore, Sink, Source


@dataclass(frozen=True)
class Outside:
    """The outside of one worker, real or of twins.

    pause: called with the seconds to wait before something that failed is tried again.
    reached: called at each fault point, by its name.
    """

    source: Source
    sink: Sink
    store: MemoryStore
    checkpoints: CheckpointStore
    clock: Clock
    pause: Callable[[float], None] = time.sleep
    reached: Reached = no_fault
