"""Interfaces of everything that a worker talks to, in one value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import (
    CheckpointStore,
    Clock,
    HeardSource,
    ItemSource,
    MemoryStore,
    Sink,
    Source,
    WeightsTopic,
)


@dataclass(frozen=True)
class Outside:
    """Everything that one worker talks to, real or twins.

    items: None where nothing but the events tells of items.
    decisions: what people decide of items; None where nobody does.
    weights: the topic by which lines share weights; None where this line's are its own.
    heard: partitions that other workers own; None where nothing is heard.
    pause: called with the seconds to wait before a new try.
    reached: called at each fault point, by its name.
    """

    source: Source
    sink: Sink
    store: MemoryStore
    checkpoints: CheckpointStore
    clock: Clock
    pause: Callable[[float], None] = time.sleep
    reached: Reached = no_fault
    items: ItemSource | None = None
    decisions: ItemSource | None = None
    weights: WeightsTopic | None = None
    heard: HeardSource | None = None
