"""A line: one sequence of weights with its catalogue, monitor and baselines, and the lists that it makes.

Each worker slot has a line of its own. "Learned once" means once in each line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch, Outcome
from model.items.catalog import Catalog
from model.items.content_table import Descriptions
from model.learner import Learner
from model.learner_state import ENCODER_WEIGHTS, ITEM_VECTORS
from model.lists.lists import Lists
from model.pace import Pace
from model.state import Arrays, load_or_begin, state_below, state_of_parts
from stream_worker.core.category_names import note_names
from stream_worker.core.checkpoint_format import START_ANEW
from stream_worker.core.copies import Copies, Each
from stream_worker.core.counted import Counted
from stream_worker.core.decisions import Decision
from stream_worker.core.drift import Alarm
from stream_worker.core.events import Events, Prediction, Recommendation
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.item_changes import ItemChanges
from stream_worker.core.monitor import Monitor
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger
from stream_worker.loop.named_lists import named
from stream_worker.loop.recovery import Given, Recovery

# Users whose lists are made at a time, so that intermediate results stay in the processor's cache (ADR 0013).
_AT_A_TIME = 128

_log = get_logger(__name__)

# Errors of loading a state that lacks something or has another shape.
UNFIT = (KeyError, ValueError, RuntimeError, TypeError)
# Parts of the state that give users' (h, c) their meaning.
WEIGHTS = frozenset({ENCODER_WEIGHTS, ITEM_VECTORS})


class Baseline(Protocol):
    """The interface of a baseline that is ranked beside the worker (see `core.baselines`)."""

    def rank_then_learn(
        self,
        windows_BW: NDArray[np.int32],
        items_B: NDArray[np.int32],
        learn_B: NDArray[np.bool_],
        within_B: NDArray[np.int16],
        judge_B: NDArray[np.bool_],
    ) -> NDArray[np.int32]: ...

    def grow(self, rows: int) -> None: ...

    def forget(self, rows: NDArray[np.int64]) -> None: ...

    def state_dict(self) -> dict[str, NDArray[Any]]: ...

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None: ...


@dataclass
class Line:
    """Everything that one line of weights has learned and measured, under its name.

    offsets: L of each partition of the source `learned_of`, owned or heard.
    counted: how many of its events were counted.
    categories: the names of categories that items have, by their codes.
    each: `map`, or an executor's `map` to make lists and copies on several threads.
    """

    name: str
    learner: Learner
    monitor: Monitor
    baselines: dict[str, Baseline]
    offsets: dict[int, int]
    recovery: Recovery
    each: Each = map
    learned_of: SourceId = field(default_factory=lambda: SourceId(""))
    counted: Counted = field(default_factory=Counted)
    categories: dict[int, str] = field(default_factory=dict)
    _copies: Copies = field(default_factory=Copies)

    def admit(
        self, ids: list[str], room: int, number_items: Callable[[Sequence[str]], list[int]]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return the catalogue row of each item, `row_B`, and a mask of the first events of new items, `new_B`.

        ids: the item ids of the batch.
        room: the most new items that a batch can bring; so many rows are freed, so that the eviction depends only on
            the past, not on this batch.
        number_items: returns the item numbers of ids.
        """
        catalog = self.learner.catalog
        evicted = self.learner.make_room(room)
        if len(evicted):
            for baseline in self.baselines.values():
                baseline.forget(evicted)
        row_B = catalog.find(ids)
        unknown = list(dict.fromkeys(ids[place] for place in np.flatnonzero(row_B < 0).tolist()))
        new_B = np.zeros(len(ids), dtype=np.bool_)
        if unknown:
            rows = self.learner.add_items(unknown, number_items(unknown))
            for baseline in self.baselines.values():
                baseline.grow(catalog.capacity)
            row_B = catalog.find(ids)
            _, first = np.unique(row_B, return_index=True)
            new_B[first] = np.isin(row_B[first], rows)
        return row_B, new_B

    def change_items(self, changes: ItemChanges) -> None:
        """Take over what is told of items; it acts from the next batch and list on."""
        note_names(self.categories, changes.category)
        self.learner.change_items(Descriptions._make(getattr(changes, name) for name in Descriptions._fields))

    def forget_items(self) -> None:
        """Forget all that was told of items."""
        self.learner.forget_items()

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Take over decisions on items, in their order; they act from the next list on."""
        assert self.learner.content is not None
        self.learner.content.decide([d.item for d in decisions], [d.decision for d in decisions])
        self.learner.list_maker.choose_anew()

    def forget_decisions(self) -> None:
        assert self.learner.content is not None
        self.learner.content.forget_decisions()
        self.learner.list_maker.choose_anew()

    def decided(self) -> dict[str, int]:
        """Return the number of items by the decision that is in force on them."""
        assert self.learner.decisions is not None
        return self.learner.decisions.counts()

    def measure(self, batch: Batch, outcome: Outcome) -> list[Alarm]:
        """Measure the predictions of a batch beside the baselines, on the same events; return drift alarms."""
        scored = outcome.scored(batch)
        judge_B = np.zeros(len(batch), np.bool_)
        judge_B[scored] = True
        columns = outcome.windows_BL, batch.row_B, batch.learn_B, batch.within_B, judge_B
        baselines = {name: baseline.rank_then_learn(*columns)[scored] for name, baseline in self.baselines.items()}
        self.monitor.update_after_rules(
            outcome.listed_B[scored], outcome.repeat_B[scored], outcome.first_B[scored], outcome.age_B[scored]
        )
        return self.monitor.update(
            outcome.rank_B[scored],
            outcome.log_probability_B[scored],
            batch.type_B[scored],
            outcome.repeat_B[scored],
            batch.row_B[scored] == outcome.windows_BL[scored, -1],
            outcome.first_B[scored],
            outcome.age_B[scored],
            outcome.proposer_B[scored],
            baselines,
        )

    def recover(
        self, alarms: list[Alarm], batch: Batch, outcome: Outcome, partition_B: NDArray[np.integer]
    ) -> list[Given]:
        """Answer drift and collapse after a batch was learned; return the answers given.

        alarms: the drift alarms that the batch raised.
        batch, outcome: the batch and how it was predicted.
        partition_B: the partition of each event.
        """
        learned = dict(self.offsets)
        for partition in np.unique(partition_B).tolist():
            own = int(batch.next_offset_B[partition_B == partition].max())
            learned[partition] = max(own, learned.get(partition, 0))
        scored = outcome.scored(batch)
        rank_S = outcome.rank_B[scored[~outcome.first_B[scored]]]
        return self.recovery.after(alarms, (rank_S > 0) & (rank_S <= self.monitor.config.depth), learned)

    def forget_offsets(self) -> None:
        """Forget all offsets, since they belong to another source."""
        self.offsets, self.recovery.stale_below = {}, {}
        self.counted.clear()

    def advance(self, ends: Mapping[int, int], owned: Collection[int]) -> None:
        """Raise L to the ends of partitions. Once an owned one has come to it, L says again what was published."""
        for partition, end in ends.items():
            learned = self.offsets.get(partition, 0)
            self.offsets[partition] = max(end, learned)
            if end >= learned and partition in owned:
                self.counted.heard.discard(partition)

    def forget_partition(self, partition: int) -> None:
        """Forget the offsets of one partition, since they begin again."""
        self.offsets.pop(partition, None)
        self.counted.forget([partition])

    def learn_of(self, source: SourceId) -> None:
        """Note the source that is learned from; forget L if it is that of an earlier topic of the name."""
        if not self.learned_of.is_same(source):
            _log.error(
                "the topic was deleted and made again: its offsets begin again, users start from what is remembered",
                topic=source.name,
                topic_id=source.topic_id,
                before=self.learned_of.topic_id,
            )
            self.forget_offsets()
            self.learned_of = source
        self.learned_of = source.completed(self.learned_of)

    def predictions(self, events: Events, outcome: Outcome, published: NDArray[np.int64]) -> Iterator[Prediction]:
        """Yield the lists that were made before the events of a batch, of those that are examined and published.

        events, outcome: the batch and how it was predicted.
        published: places in the batch of the events that are published.
        """
        return self._predictions(events, outcome.list_BK, published[outcome.examined_B[published]])

    def after_rules(self, events: Events, outcome: Outcome, published: NDArray[np.int64]) -> Iterator[Prediction]:
        """Yield the default lists after the rules that were made before the events of a batch, as in `predictions`."""
        return self._predictions(events, outcome.after_BK, published[outcome.listed_B[published] >= 0])

    def _predictions(
        self, events: Events, list_BK: NDArray[np.int32], places: NDArray[np.int64]
    ) -> Iterator[Prediction]:
        for k in places.tolist():
            yield Prediction(events.users[k], events.items[k], self._ids(list_BK[k]), int(events.offset_B[k]))

    def recommend(
        self, events: Events, slot_B: NDArray[np.int64], published: NDArray[np.int64], pace: Pace
    ) -> Iterator[Recommendation]:
        """Yield one list for each user and partition of the published events, made from all that is known now.

        events: the batch.
        slot_B: the slot of each event's user on the device.
        published: places in the batch of the events that are published.
        pace: see `model.pace`.
        """
        slots, user_P, counts = np.unique(slot_B[published], return_inverse=True, return_counts=True)
        last_U = np.zeros(len(slots), dtype=np.int64)
        np.maximum.at(last_U, user_P, published)
        # In the order of the log: slots would differ after a restart, and the order of lists with them.
        order = np.argsort(last_U)
        place = np.argsort(order)
        slots, last_U, counts, user_P = slots[order], last_U[order], counts[order], place[user_P]
        made = {name: named(lists, self.learner.catalog.ids) for name, lists in self._lists(slots, pace).items()}
        (_, default), *others = made.items()
        requests = _requests(events, published, user_P)
        for user, last in enumerate(last_U.tolist()):
            yield Recommendation(
                user=events.users[last],
                partition=int(events.partition_B[last]),
                next_offset=int(events.offset_B[last]) + 1,
                events=int(counts[user]),
                ts=float(events.ts_B[last]),
                items=default[user].items,
                scores=default[user].scores,
                line=self.name,
                step=self.learner.steps,
                request_ids=requests.get(user, ()),
                because=default[user].because,
                short=default[user].short,
                scenarios={name: lists[user] for name, lists in others},
            )

    def _lists(self, slots: NDArray[np.int64], pace: Pace) -> dict[str, Lists]:
        """Make lists by scenario, on all threads: each thread makes whole lists of many users, but shares the
        candidates of few.

        Threads with small operations wait for each other's use of Python's lock (ADR 0013).
        """
        self.learner.list_maker.refresh(self.learner.events)
        if len(slots) <= _AT_A_TIME:
            return self.learner.recommend(slots, pace, self.each)
        parts = list(self.each(partial(self.learner.recommend, pace=pace), _parts(slots)))
        return {name: Lists.joined([part[name] for part in parts]) for name in parts[0]}

    def snapshot(
        self, source: SourceId, sink_state: Mapping[str, Any], memories: Mapping[str, NDArray[Any]]
    ) -> Snapshot:
        """Return a copy of the line as it is now; it overwrites the copy that the last call returned.

        source: the source that the offsets belong to.
        sink_state: the sink's state.
        memories: the memory twin's arrays; empty for a durable store.
        """
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
                **self.counted.state_dict(),
                **({"categories": list(self.categories.values())} if self.categories else {}),
            },
        )

    def restore(self, snapshot: Snapshot, number_items: Callable[[Sequence[str]], list[int]]) -> dict[str, str]:
        """Take over the contents of a snapshot; return the parts that do not fit and begin anew, with the reason.

        Baselines that the snapshot does not know begin anew, too: an older program wrote it.

        Raises ValueError and KeyError if a part does not fit that the line can't do without: catalogue and counts.
        """
        learned, fresh = dict(snapshot.state_below("learner")), self._measured()
        anew = self.learner.load_state_dict(
            learned, dict(snapshot.meta["learner"]), number_items(Catalog.ids_of_state(state_below(learned, "catalog")))
        )
        known = {".".join(name.split(".")[:2]) for name in snapshot.arrays if name.startswith("floor.")}
        measured = {
            name: partial(_load_part, name, owner)
            for name, owner in self._measures().items()
            if name in known or not name.startswith("floor.")
        }
        anew |= load_or_begin(measured, dict(snapshot.arrays), fresh)
        self.offsets = {int(partition): offset for partition, offset in snapshot.meta["offsets"].items()}
        self.counted.load_state_dict(snapshot.meta)
        note_names(self.categories, snapshot.meta.get("categories", ()))
        return anew

    def _measures(self) -> dict[str, Any]:
        """Return the parts beside the learner that are measured, by their names in a snapshot."""
        baselines = {f"floor.{name}": baseline for name, baseline in self.baselines.items()}
        return {"monitor": self.monitor, "recovery": self.recovery, **baselines}

    def _measured(self) -> Arrays:
        return {name: array.copy() for name, array in state_of_parts(self._measures()).items()}

    def _ids(self, rows_K: NDArray[np.int32]) -> list[str]:
        ids = self.learner.catalog.ids
        return [ids[row] for row in rows_K.tolist() if row >= 0]


def unfit(fault: Exception) -> str:
    """Return a sentence for a person: what does not fit, and what to do about it."""
    found = f"it has no {fault.args[0]}" if isinstance(fault, KeyError) else str(fault).splitlines()[0]
    return f"{found}; set the key back, go back to the version that wrote it, or {START_ANEW}"


def _load_part(name: str, owner: Any, arrays: Arrays) -> None:
    owner.load_state_dict(state_below(arrays, name))


def _parts(slots: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut slots into an even number of parts of about the same size, so that two threads end together.

    The parts do not depend on the number of threads, since the rounding of sums depends on the size of a part.
    """
    return np.array_split(slots, 2 * math.ceil(len(slots) / (2 * _AT_A_TIME)))


def _requests(events: Events, published: NDArray[np.int64], user_P: NDArray[np.int64]) -> dict[int, list[str]]:
    """Return the request ids of each user's events. `user_P`: the place of each published event's user."""
    requests: dict[int, list[str]] = {}
    if any(events.request_ids):
        for place, user in zip(published.tolist(), user_P.tolist(), strict=True):
            if request := events.request_ids[place]:
                requests.setdefault(user, []).append(request)
    return requests
