"""`[checkpoint]` of the configuration."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval, MinLen
from pydantic import PositiveInt
from pydantic import dataclasses as checked


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class CheckpointConfig:
    """`[checkpoint]`: where checkpoints are, how often one is written, how many are kept."""

    #: Folder, from where the worker is started unless it is absolute. Checkpoints are in `<path>/<topic>-<8 hex digits
    #: of the topic's id>/<slot>`.
    path: Annotated[str, MinLen(1)] = "checkpoints"
    #: Checkpoints of a slot that are kept. An older one serves when the newest is torn.
    keep: PositiveInt = 3
    #: Seconds from one checkpoint to the next. What came since the last one is done again after a crash. Each makes the
    #: lists of that moment late by 100 to 250 ms (docs/speed.md).
    interval_seconds: Annotated[float, Interval(gt=0, le=3600)] = 5.0
