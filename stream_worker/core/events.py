"""The values that come in and go out: records, events, dead letters, lists, predictions.

A *record* is one message of the broker (bytes at an offset); an *event* is a valid record, kept as a row of columns; a
*dead letter* is an invalid record with its reason. An offset named `next_` is the next one to read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

# Header of a dead letter: the indexes of the elements that it is about, such as "1,4".
ELEMENTS_HEADER = "dead_letter_elements"
SCORE_DIGITS = 6  # decimals of a published score; a float32 holds about 7 digits
WEIGHT_DIGITS = 3  # decimals of the weight of a reason


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the source delivered it.

    `timestamp_ms`: the record's own time by the broker, epoch milliseconds.
    `row`: the row of a file, in words; empty for a topic.
    `fault`: the class and reason of a fault that the file's reader found; such a row has no bytes for the decoder.
    `headers`: names and values, in the broker's order.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    row: str = ""
    fault: tuple[str, str] | None = None
    headers: Sequence[tuple[str, bytes]] = ()

    @property
    def place(self) -> str:
        """The record's place in words for a person: its row in a file, or its partition and offset."""
        return self.row or f"partition {self.partition}, offset {self.offset}"


@dataclass(frozen=True, slots=True)
class EventType:
    """A kind of event. `target`: True if its item is something to predict; `role`: what it says of its item."""

    name: str
    reward: float = 1.0
    target: bool = True
    role: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not an event, or some of the events that it should hold.

    `error`: the class of the fault.
    `reason`: a sentence for a person.
    `elements`: the indexes of the elements that are no events; empty: nothing of the record is one.
    """

    record: Record
    error: str
    reason: str
    elements: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """A record that gives the user `old` the id `user`, at `offset` of a partition."""

    partition: int
    offset: int
    user: str
    old: str


@dataclass(frozen=True)
class Events:
    """B valid events in the order of the source, as columns.

    The events of one record have the same offset and stand next to each other. Those without times of their own are a
    *set*: none of them follows another.

    partition_B int32, offset_B int64, ts_B float64 (epoch seconds), type_B int16 (index into the configured event
    types), value_B float32 (NaN: none), category_B uint32 (a code of the item's category, 0: none), within_B int16
    (events of the same set before this one), id_B uint32 and session_B uint32 (hashes of the event's id and of its
    session's, 0: none). Texts stay Python lists: users, items, request_ids (None: none).
    """

    partition_B: NDArray[np.int32]
    offset_B: NDArray[np.int64]
    ts_B: NDArray[np.float64]
    type_B: NDArray[np.int16]
    value_B: NDArray[np.float32]
    category_B: NDArray[np.uint32]
    within_B: NDArray[np.int16]
    id_B: NDArray[np.uint32]
    session_B: NDArray[np.uint32]
    users: list[str]
    items: list[str]
    request_ids: list[str | None]

    def __len__(self) -> int:
        return len(self.users)

    def at(self, places: NDArray[np.int64]) -> Events:
        """Return the events at these places."""
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        return Events(**{name: _at(column, places) for name, column in columns.items()})

    @staticmethod
    def joined(parts: Sequence[Events]) -> Events:
        """Return the events of all parts, one part after the other."""
        columns = {column.name: [getattr(part, column.name) for part in parts] for column in fields(Events)}
        return Events(**{name: _joined(column) for name, column in columns.items()})


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [entry for part in parts for entry in part]


def _at(column: NDArray[Any] | list[Any], places: NDArray[np.int64]) -> Any:
    return [column[place] for place in places.tolist()] if isinstance(column, list) else column[places]


class Reason(TypedDict):
    """The reason for an item of a list, as contract 1 has it.

    kind: see `model.reasons.KINDS`.
    item: the item of the user's history that it came from, if it came from one.
    weight: share of this cause among all that speaks for the item, rounded to `WEIGHT_DIGITS`.
    """

    kind: str
    item: NotRequired[str]
    weight: float


@dataclass(frozen=True, slots=True)
class NamedList:
    """The items of one scenario's list, best first.

    `scores`: rounded to `SCORE_DIGITS`, so that the bytes are stable.
    `short`: of a list with fewer items than it has places: how many are missing, and how many items rules left out, by
    reason; empty for a full one.
    `because`: the reason for each item; empty for a list that tells none.
    """

    items: Sequence[str]
    scores: Sequence[float]
    short: Mapping[str, int] = field(default_factory=dict)
    because: Sequence[Reason] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One list for one user of one input partition (contract 1).

    `next_offset`: 1 more than the `as_of` offset, which is the last event that the list covers.
    `events`: the user's events since their previous list.
    `ts`: epoch seconds.
    `scores`: rounded to `SCORE_DIGITS`, so that the bytes are stable.
    `line`, `step`: the line that made the list, and its count of learning steps.
    `topic_id`: the input topic's id; empty where the broker tells none.
    `short`, `because`: as in `NamedList`.
    `scenarios`: the lists of the scenarios beside the default one, whose list is `items`.
    """

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
    short: Mapping[str, int] = field(default_factory=dict)
    scenarios: Mapping[str, NamedList] = field(default_factory=dict)
    because: Sequence[Reason] = ()


@dataclass(frozen=True, slots=True)
class SharedList:
    """A list that belongs to no user: what goes with an item, or what is popular in a category.

    key: the item, or the category; empty for all categories.
    home: the partition whose owner publishes the list.
    partition, next_offset: the list of a user that stands in the same transaction, by its place in the input topic.
    ts: epoch seconds of the newest event that it knows.
    scores, line, step, topic_id: as in `Recommendation`.
    """

    key: str
    home: int
    partition: int
    next_offset: int
    ts: float
    items: Sequence[str]
    scores: Sequence[float]
    line: str
    step: int
    topic_id: str = ""

    def is_of(self, partitions: Collection[int]) -> bool:
        """Return True if one of these partitions is the list's home, or that of the user's list beside it."""
        return self.home in partitions or self.partition in partitions


@dataclass(frozen=True, slots=True)
class Prediction:
    """A list that was made before its event was seen, best first, no item twice.

    item, offset: the event's item, and the offset of its record.
    """

    user: str
    item: str
    ranked: Sequence[str]
    offset: int = 0


@dataclass
class Outputs:
    """The outputs of one transaction.

    similar, popular: shared lists, by item and by category.
    """

    recommendations: list[Recommendation] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    after_rules: list[Prediction] = field(default_factory=list)
    similar: list[SharedList] = field(default_factory=list)
    popular: list[SharedList] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    def extend(self, more: Outputs) -> None:
        """Add the outputs of another transaction."""
        for one in fields(self):
            getattr(self, one.name).extend(getattr(more, one.name))

    def require_offsets(self, next_offsets: Mapping[int, int]) -> None:
        """Raise ValueError for outputs without input offsets: only these tell what a transaction has published."""
        if self and not next_offsets:
            raise ValueError("outputs without input offsets: after a lost answer nothing tells if they were published")
