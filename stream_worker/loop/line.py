"""A line: one sequence of weights with its catalogue, monitor and baselines, and the lists that it makes.

Each worker slot has its own. "Learned once" means once in each line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch, Outcome
from model.items.catalog import Catalog
from model.learner import Learner
from model.learner_state import ENCODER_WEIGHTS, ITEM_VECTORS
from model.pace import Pace
from model.predictor import Lists
from model.state import Arrays, load_or_begin, state_below, state_of_parts
from stream_worker.core.checkpoint_format import START_ANEW
from stream_worker.core.copies import Copies, Each
from stream_worker.core.drift import Alarm
from stream_worker.core.events import SCORE_DIGITS, Events, Prediction, Recommendation
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.monitor import Monitor
from stream_worker.core.source_id import SourceId
from stream_worker.loop.recovery import Given, Recovery

# So many lists are made at a time, so that what is in between stays in the processor's cache.
_AT_A_TIME = 128


# What loading raises where a state lacks something or has another shape.
UNFIT = (KeyError, ValueError, RuntimeError, TypeError)
# Parts without which a user's (h, c) mean something else.
WEIGHTS = frozenset({ENCODER_WEIGHTS, ITEM_VECTORS})


class Baseline(Protocol):
    """A baseline that is ranked beside the worker (see `core.baselines`)."""

    def rank_then_learn(
        self, windows_BW: NDArray[np.int32], items_B: NDArray[np.int32], learn_B: NDArray[np.bool_]
    ) -> NDArray[np.int32]: ...

    def grow(self, rows: int) -> None: ...

    def forget(self, rows: NDArray[np.int64]) -> None: ...

    def state_dict(self) -> dict[str, NDArray[Any]]: ...

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None: ...


@dataclass
class Line:
    """Everything that one line of weights has learned and measured, under its name.

    offsets: L of each partition of the source `learned_of`.
    each: who makes lists and copies, maybe on several threads.
    """

    name: str
    learner: Learner
    monitor: Monitor
    baselines: dict[str, Baseline]
    offsets: dict[int, int]
    recovery: Recovery
    each: Each = map
    learned_of: SourceId = field(default_factory=lambda: SourceId(""))
    _copies: Copies = field(default_factory=Copies)

    def admit(
        self, ids: list[str], room: int, number_items: Callable[[Sequence[str]], list[int]]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """The catalogue row of each item; `new_B` marks the first event of an item that had none.

        `room` is how many items a batch may bring at the most: what is evicted for them depends on the past alone.
        """
        catalog = self.learner.catalog
        evicted = self.learner.make_room(room)
        if len(evicted):
            for baseline in self.baselines.values():
                baseline.forget(evicted)
        row_B = catalog.find(ids)
        unknown = list(dict.fromkeys(item for item, row in zip(ids, row_B.tolist(), strict=True) if row < 0))
        new_B = np.zeros(len(ids), dtype=np.bool_)
        if unknown:
            rows = self.learner.add_items(unknown, number_items(unknown))
            for baseline in self.baselines.values():
                baseline.grow(catalog.capacity)
            row_B = catalog.find(ids)
            _, first = np.unique(row_B, return_index=True)
            new_B[first] = np.isin(row_B[first], rows)
        return row_B, new_B

    def measure(self, batch: Batch, outcome: Outcome) -> list[Alarm]:
        """Let the monitor see what was predicted, beside the baselines on the same events; returns drift alarms."""
        scored = outcome.scored(batch)
        baselines = {
            name: baseline.rank_then_learn(outcome.windows_BL, batch.row_B, batch.learn_B)[scored]
            for name, baseline in self.baselines.items()
        }
        return self.monitor.update(
            outcome.rank_B[scored],
            outcome.log_probability_B[scored],
            batch.type_B[scored],
            outcome.repeat_B[scored],
            outcome.first_B[scored],
            outcome.age_B[scored],
            outcome.proposer_B[scored],
            baselines,
        )

    def recover(
        self, alarms: list[Alarm], batch: Batch, outcome: Outcome, partition_B: NDArray[np.integer]
    ) -> list[Given]:
        """Answer to what was seen of a batch that has been learned."""
        learned = dict(self.offsets)
        for partition in np.unique(partition_B).tolist():
            own = int(batch.next_offset_B[partition_B == partition].max())
            learned[partition] = max(own, learned.get(partition, 0))
        scored = outcome.scored(batch)
        rank_S = outcome.rank_B[scored[~outcome.first_B[scored]]]
        return self.recovery.after(alarms, (rank_S > 0) & (rank_S <= self.monitor.config.depth), learned)

    def forget_offsets(self) -> None:
        """What was learned came from another source, whose offsets mean nothing here."""
        self.offsets, self.recovery.stale_below = {}, {}

    def predictions(self, events: Events, outcome: Outcome, published: NDArray[np.int64]) -> Iterator[Prediction]:
        """The lists made before each of the `published` events (their places in the batch) was seen, as far as it was
        examined."""
        for k in published[outcome.examined_B[published]].tolist():
            yield Prediction(events.users[k], events.items[k], self._ids(outcome.list_BK[k]))

    def recommend(
        self, events: Events, slot_B: NDArray[np.int64], published: NDArray[np.int64], pace: Pace
    ) -> Iterator[Recommendation]:
        """One list for each user (of one partition) of the `published` events, made from all that is known now."""
        slots, user_P, counts = np.unique(slot_B[published], return_inverse=True, return_counts=True)
        last_U = np.zeros(len(slots), dtype=np.int64)
        np.maximum.at(last_U, user_P, published)
        # In the order of the log, since where a user's slot is depends on when this process began.
        order = np.argsort(last_U)
        place = np.argsort(order)
        slots, last_U, counts, user_P = slots[order], last_U[order], counts[order], place[user_P]
        lists = self._lists(slots, pace)
        rounded_UK = np.round(lists.scores_UK.astype(np.float64), SCORE_DIGITS)
        requests = _requests(events, published, user_P)
        for user, last in enumerate(last_U.tolist()):
            items = self._ids(lists.rows_UK[user])
            yield Recommendation(
                user=events.users[last],
                partition=int(events.partition_B[last]),
                next_offset=int(events.offset_B[last]) + 1,
                events=int(counts[user]),
                ts=float(events.ts_B[last]),
                items=items,
                scores=rounded_UK[user, : len(items)].tolist(),
                line=self.name,
                step=self.learner.steps,
                request_ids=requests.get(user, ()),
            )

    def _lists(self, slots: NDArray[np.int64], pace: Pace) -> Lists:
        """On all threads: of many users each makes some, of few the candidates alone are shared out, since small
        operations of several threads wait for each other."""
        if len(slots) <= _AT_A_TIME:
            return self.learner.recommend(slots, pace, self.each)
        return Lists.joined(list(self.each(partial(self.learner.recommend, pace=pace), _parts(slots))))

    def snapshot(
        self, source: SourceId, sink_state: Mapping[str, Any], memories: Mapping[str, NDArray[Any]]
    ) -> Snapshot:
        """As it is now, while the line goes on; the one before it is gone with it."""
        arrays, meta = self.learner.state_dict()
        arrays = {f"learner.{name}": array for name, array in arrays.items()}
        arrays |= state_of_parts(self._measures())
        arrays |= {f"memories.{name}": array for name, array in memories.items()}
        offsets = {str(partition): offset for partition, offset in sorted(self.offsets.items())}
        return Snapshot(
            self._copies.of(arrays, self.each),
            {
                "source": source.to_json(),
                "line": self.name,
                "offsets": offsets,
                "sink": dict(sink_state),
                "learner": meta,
            },
        )

    def restore(self, snapshot: Snapshot, number_items: Callable[[Sequence[str]], list[int]]) -> dict[str, str]:
        """Take over what a snapshot holds. Returns why, by name, of the parts that do not fit and begin anew; raises
        ValueError and KeyError for what can't be gone on without: catalogue and counts."""
        learned, fresh = dict(snapshot.state_below("learner")), self._measured()
        anew = self.learner.load_state_dict(
            learned, dict(snapshot.meta["learner"]), number_items(Catalog.ids_of_state(state_below(learned, "catalog")))
        )
        measured = {name: partial(_load_part, name, owner) for name, owner in self._measures().items()}
        anew |= load_or_begin(measured, dict(snapshot.arrays), fresh)
        self.offsets = {int(partition): offset for partition, offset in snapshot.meta["offsets"].items()}
        return anew

    def _measures(self) -> dict[str, Any]:
        """What is measured beside the learner, by its name in a snapshot."""
        baselines = {f"floor.{name}": baseline for name, baseline in self.baselines.items()}
        return {"monitor": self.monitor, "recovery": self.recovery, **baselines}

    def _measured(self) -> Arrays:
        return {name: array.copy() for name, array in state_of_parts(self._measures()).items()}

    def _ids(self, rows_K: NDArray[np.int32]) -> list[str]:
        ids = self.learner.catalog.ids
        return [ids[row] for row in rows_K.tolist() if row >= 0]


def unfit(fault: Exception) -> str:
    """What does not fit, and what helps."""
    found = f"it has no {fault.args[0]}" if isinstance(fault, KeyError) else str(fault).splitlines()[0]
    return f"{found}; set the key back, go back to the version that wrote it, or {START_ANEW}"


def _load_part(name: str, owner: Any, arrays: Arrays) -> None:
    owner.load_state_dict(state_below(arrays, name))


def _parts(slots: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Of about the same size, and an even number of them, so that two threads end together. The same whoever makes
    lists: how sums are rounded depends on the size of a part."""
    return np.array_split(slots, 2 * math.ceil(len(slots) / (2 * _AT_A_TIME)))


def _requests(events: Events, published: NDArray[np.int64], user_P: NDArray[np.int64]) -> dict[int, list[str]]:
    """The request ids of each user's events."""
    requests: dict[int, list[str]] = {}
    if any(events.request_ids):
        for place, user in zip(published.tolist(), user_P.tolist(), strict=True):
            if request := events.request_ids[place]:
                requests.setdefault(user, []).append(request)
    return requests
