"""`[hearing]` of the configuration."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt
from pydantic import dataclasses as checked


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class HearingConfig:
    """`[hearing]`: what a worker learns from the partitions that other workers of its group own.

    It reads them, too, counts every event, and examines as many as it has time for; it publishes and saves nothing of
    them. A worker that is alone has nothing to hear.
    """

    #: Whether partitions of others are heard. Without it every worker learns from its own users alone, and a second
    #: worker makes all lists worse.
    enabled: bool = True
    #: Users of heard partitions whose newest events are kept on the device, 1.8 KB each with the default rings; the
    #: least recently used are forgotten. At least twice `worker.batch_size`. Not tuned.
    users: PositiveInt = 50_000
    #: Records of a partition that are read again where hearing begins, so that it knows what its users did last. Not
    #: tuned.
    records: NonNegativeInt = 20_000
