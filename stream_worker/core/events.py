"""What comes in and what goes out, as plain values.

Words: a *record* is what the broker holds (bytes at an offset); an *event* is a valid record, kept as a row of columns;
a *dead letter* is an invalid one with its reason. An offset named `next_` is the next one to read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SCORE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the source delivered it. `timestamp_ms` is the broker's, epoch milliseconds.

    `row` is a file's name for where it stands, `fault` what its reader found wrong with it (class and reason): a broken
    row has no bytes that tell.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    row: str = ""
    fault: tuple[str, str] | None = None

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return self.row or f"partition {self.partition}, offset {self.offset}"


@dataclass(frozen=True, slots=True)
class EventType:
    """A kind of event: its reward, and whether it is something to predict (`target`)."""

    name: str
    reward: float = 1.0
    target: bool = True


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not an event: `error` is the class of the fault, `reason` a sentence for a person."""

    record: Record
    error: str
    reason: str


@dataclass(frozen=True)
class Events:
    """B valid events in the order of the source, as columns.

    partition_B int32, offset_B int64, ts_B float64 (epoch seconds), type_B int16 (index into the configured event
    types), value_B float32 (NaN: none), category_B uint32 (a code of the item's category, 0: none). Texts stay Python
    lists: users, items, request_ids (None: none).
    """

    partition_B: NDArray[np.int32]
    offset_B: NDArray[np.int64]
    ts_B: NDArray[np.float64]
    type_B: NDArray[np.int16]
    value_B: NDArray[np.float32]
    category_B: NDArray[np.uint32]
    users: list[str]
    items: list[str]
    request_ids: list[str | None]

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One list for one user of one input partition (contract 1). `next_offset` - 1 is its `as_of` offset, in the topic
    of `topic_id` where that is known. `scores` have `SCORE_DIGITS`, so that the bytes are stable."""

    user: str
    partition: int
    next_offset: int
    events: int
    ts: float
    items: Sequence[str]
    scores: Sequence[float]
    line: str
    step: int
    request_ids: Sequence[str] = ()
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The list made before an event was seen, best first, no item twice; `item` is what came."""

    user: str
    item: str
    ranked: Sequence[str]


@dataclass
class Outputs:
    """What one transaction publishes."""

    recommendations: list[Recommendation] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.recommendations or self.dead_letters or self.predictions)

    def require_offsets(self, next_offsets: Mapping[int, int]) -> None:
        """Raise ValueError for outputs without the offsets they come from: a lost answer could not be resolved."""
        if self and not next_offsets:
            raise ValueError("outputs without the offsets they come from can't be told apart after a lost answer")
