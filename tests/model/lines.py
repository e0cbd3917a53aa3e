"""A line without a worker: events in, lists out, with users spilled to a dictionary of records."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.batch import Batch, Outcome
from model.items.catalog import Catalog
from model.items.decisions import Decisions
from model.learner import Learner
from model.learner_config import LearnerConfig
from model.lists.lists import Lists
from model.pace import Pace
from model.state import state_below
from stream_worker.core.memory_record import MemoryFormat

CPU = torch.device("cpu")
SMALL = LearnerConfig(
    dim=16, mini_batch=16, ring_size=8, window=4, list_length=5, max_items=64, neighbours=8, candidates=40,
    encoder_candidates=8, negatives=16, replay_capacity=64, attic_items=64,
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """`within`: events of the same set before it. `session`: hash of the session's id."""

    user: str
    item: str
    ts: float
    type: int = 0
    category: int = 0
    within: int = 0
    session: int = 0


@dataclass(frozen=True)
class Tick:
    """What a line said about a batch, by item ids; `lists` were made before each event, `after` for the last user."""

    lists: list[list[str]]
    ranks: list[int]
    log_probabilities: list[float]
    outcome: Outcome
    batch: Batch


EVERY_TYPE = np.ones(1, np.bool_)


class Line:
    """`records` and `numbers` stand for the store; they outlive the line. `pace`: that of all that comes next."""

    def __init__(
        self,
        config: LearnerConfig = SMALL,
        max_users: int = 500,
        records: dict[str, bytes] | None = None,
        numbers: dict[str, int] | None = None,
        described: bool = False,
        max_heard: int = 0,
        decisions: Decisions | None = None,
    ) -> None:
        self.learner = Learner(config, CPU, max_users, EVERY_TYPE, described, max_heard, decisions=decisions)
        self.records = {} if records is None else records
        self.numbers = {} if numbers is None else numbers
        self.pace = Pace()
        self.offset = 0
        self._format = MemoryFormat(config.ring_size, config.dim, sets=1)

    def feed(
        self,
        events: Sequence[Event],
        remember: Sequence[bool] | None = None,
        learn: Sequence[bool] | None = None,
        own: Sequence[bool] | None = None,
    ) -> Tick:
        batch = self.batch(events, remember, learn, own)
        outcome = self.learner.learn(batch, self.pace)
        outcome.losses.update(self.learner.step(self.pace))
        ids = self.learner.catalog.ids
        lists = [[ids[row] for row in rows if row >= 0] for rows in outcome.list_BK.tolist()]
        return Tick(lists, outcome.rank_B.tolist(), outcome.log_probability_B.tolist(), outcome, batch)

    def run(self, events: Sequence[Event], size: int) -> list[Tick]:
        return [self.feed(events[start : start + size]) for start in range(0, len(events), size)]

    def batch(
        self,
        events: Sequence[Event],
        remember: Sequence[bool] | None = None,
        learn: Sequence[bool] | None = None,
        own: Sequence[bool] | None = None,
    ) -> Batch:
        count = len(events)
        owned = [True] * count if own is None else own
        for heard in (False, True):
            self._recall([event.user for event, is_own in zip(events, owned, strict=True) if is_own != heard], heard)
        slot_B = self.learner.users.find([event.user for event in events])
        row_B, new_B = self._rows([event.item for event in events])
        self.offset += count
        all_B = np.ones(count, dtype=np.bool_)
        return Batch(
            slot_B=slot_B,
            row_B=row_B,
            number_B=self.learner.catalog.number_N[row_B],
            category_B=np.array([event.category for event in events], dtype=np.uint32),
            type_B=np.array([event.type for event in events], dtype=np.uint8),
            ts_B=np.array([event.ts for event in events], dtype=np.float64),
            next_offset_B=np.arange(self.offset - count, self.offset) + 1,
            target_B=all_B,
            remember_B=all_B if remember is None else np.array(remember),
            learn_B=all_B if learn is None else np.array(learn),
            new_B=new_B,
            within_B=np.array([event.within for event in events], dtype=np.int16),
            session_B=np.array([event.session for event in events], dtype=np.uint32),
            own_B=all_B if own is None else np.array(own),
            clock_B=np.array([event.ts for event in events], dtype=np.float64),
        )

    def recommended(self, user: str) -> list[str]:
        """The ids of a user's list."""
        rows = self.recommend(self._recall([user])).rows_UK[0]
        return [self.learner.catalog.ids[row] for row in rows if row >= 0]

    def recommend(self, slots: NDArray[np.int64]) -> Lists:
        self.learner.list_maker.refresh(self.learner.events)
        (lists,) = self.learner.recommend(slots, self.pace).values()
        return lists

    def spill(self) -> None:
        """Every user leaves the device, as a record."""
        self._evict(self.learner.users.occupied())

    def recycle(self, row: int) -> None:
        """The item of this row leaves, and a newcomer gets the row."""
        self.learner.catalog.evict(np.array([row]))
        self.learner.items.forget(np.array([row]))
        assert self.learner.add_items(["newcomer"], [60_000]).tolist() == [row]

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As it is now."""
        return copy.deepcopy(self.learner.state_dict())

    def resumed(
        self,
        config: LearnerConfig | None = None,
        max_users: int = 500,
        described: bool | None = None,
        decisions: Decisions | None = None,
    ) -> Line:
        """A fresh line from this one's state and records. described: None as this one."""
        arrays, meta = self.state()
        self.spill()
        if described is None:
            described = self.learner.content is not None and self.learner.content.described
        line = Line(
            config or self.learner.config, max_users, dict(self.records), dict(self.numbers), described,
            decisions=decisions,
        )  # fmt: skip
        line.offset = self.offset
        ids = Catalog.ids_of_state(state_below(arrays, "catalog"))
        line.learner.load_state_dict(arrays, meta, [line.numbers[item] for item in ids])
        return line

    def bytes_held(self) -> int:
        """Of all arrays and tensors below the learner."""
        return _bytes(self.learner, set())

    def _recall(self, users: list[str], heard: bool = False) -> np.ndarray[Any, np.dtype[np.int64]]:
        table = self.learner.users
        slots = table.find(users)
        table.touch(slots[slots >= 0])
        missing = [user for user in dict.fromkeys(users) if table.find([user])[0] < 0]
        if missing:
            gone = table.overflow(len(missing), heard=heard)
            table.evict(gone) if heard else self._evict(gone)
            added = table.add(missing, heard=heard)
            known = [place for place, user in enumerate(missing) if user in self.records]
            if known:
                table.put(added[known], self._format.decode([self.records[missing[place]] for place in known]))
            slots = table.find(users)
            table.touch(slots)
        return slots

    def _evict(self, slots: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        table = self.learner.users
        records = self._format.empty(len(slots))
        for name, column in table.get(slots).items():
            records[name] = column
        self.records |= dict(zip(table.keys_of(slots), (record.tobytes() for record in records), strict=True))
        table.evict(slots)

    def _rows(self, ids: list[str]) -> tuple[np.ndarray[Any, np.dtype[np.int32]], np.ndarray[Any, np.dtype[np.bool_]]]:
        catalog = self.learner.catalog
        self.learner.make_room(len(ids))
        row_B = catalog.find(ids)
        unknown = [item for item in dict.fromkeys(ids) if catalog.find([item])[0] < 0]
        new_B = np.zeros(len(ids), dtype=np.bool_)
        if unknown:
            self.learner.add_items(unknown, [self.numbers.setdefault(i, len(self.numbers) + 1) for i in unknown])
            row_B = catalog.find(ids)
            new_B[[ids.index(item) for item in unknown]] = True
        return row_B, new_B


def of_nobody(numbers: Sequence[int]) -> list[str | None]:
    """Ids of item numbers where nobody knows them."""
    return [None] * len(numbers)


def markov_log(seed: int, events: int, users: int = 12, items: int = 20, noise: float = 0.2) -> list[Event]:
    """Each user walks round a ring of items of five categories, and jumps anywhere with probability `noise`."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, items, size=users)
    log = []
    for k in range(events):
        user = int(rng.integers(0, users))
        at[user] = rng.integers(0, items) if rng.random() < noise else (at[user] * 7 + 3) % items
        log.append(Event(f"u{user}", f"i{at[user]}", 1.6e9 + 10.0 * k, int(rng.integers(0, 3)), 1 + at[user] % 5))
    return log


def changed(config: LearnerConfig = SMALL, **fields: Any) -> LearnerConfig:
    return replace(config, **fields)


def _bytes(value: Any, seen: set[int]) -> int:
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(_bytes(v, seen) for v in value.values())
    if isinstance(value, (list, tuple)):
        return 8 * len(value) + sum(_bytes(v, seen) for v in value if not isinstance(v, (int, str)))
    return _bytes(vars(value), seen) if hasattr(value, "__dict__") else 0
