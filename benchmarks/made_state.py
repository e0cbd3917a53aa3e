"""A worker's state after years, made within minutes: a universe of users and items, its log, and the state it leaves.

Tables are filled only by the methods of their owners. Items are admitted as in a run, each at the context of its first
event; neighbours are counted by the kernels, from a made history; the encoder and the ranker learn from real batches
before that.

Legend: E events, X chains of the history that run side by side, T their steps; others as in `model`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from model.counting.tables import WIDE_SPAN
from model.counting.walk import Users, WalkedEvents
from model.items.starts import ByContext
from model.learner import Learner
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.core.codec import encode_event
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.loop.line import Line

_SUCCESSORS = 3  # items that like to follow an item
_FOLLOWS = 0.5  # share of events that follow from the one before
_SESSIONS, _SESSION_EVENTS = 1_000, 4.0  # sessions open at a time; events of one in the mean
_CHAINS, _STEPS_KEPT = 1_000, 300  # X; steps whose items rings are taken from, more than a ring holds
_EVENTS_AN_ITEM = 5  # of the made history
_RING_EVENTS = 16.0  # events of a user in the mean
_USERS_AT_ONCE = 5_000  # users whose memories are made together, to bound the host memory used
_TYPE = "view"
START_TS = 1_700_000_000  # seconds since 1970: November 2023


class Universe:
    """`users` and `items`, and the distribution of their log.

    A thousand sessions are open at a time, of 4 events in the mean; the user of a new one is drawn uniformly. Half of
    the items follow from the session's last (each has 3 successors), the others are drawn by Zipf's law: the r-th in
    proportion to 1 / r.
    """

    def __init__(self, users: int, items: int, seed: int = 0) -> None:
        self.users, self.items = users, items
        self.rng = np.random.default_rng(seed)
        self._item_of_rank = self.rng.permutation(items).astype(np.int32)
        self._successors_NS = np.stack([self.popular(items) for _ in range(_SUCCESSORS)], axis=1)
        self._sessions = [self._session() for _ in range(_SESSIONS)]

    def popular(self, count: int) -> NDArray[np.int32]:
        """Draw `count` items by Zipf's law."""
        rank = np.exp(self.rng.random(count) * np.log(self.items + 1.0)).astype(np.int64) - 1
        drawn: NDArray[np.int32] = self._item_of_rank[np.minimum(rank, self.items - 1)]
        return drawn

    def next(self, last_X: NDArray[np.int32]) -> NDArray[np.int32]:
        """Draw the item that comes after each of these."""
        follower_X = self._successors_NS[last_X, self.rng.integers(0, _SUCCESSORS, len(last_X))]
        return np.where(self.rng.random(len(last_X)) < _FOLLOWS, follower_X, self.popular(len(last_X)))

    def log(self, events: int) -> Iterator[tuple[int, int]]:
        """Yield (user, item) of the next events."""
        last_X = np.array([item for _, item in self._sessions], dtype=np.int32)
        for at, ends in zip(
            self.rng.integers(0, _SESSIONS, events).tolist(),
            (self.rng.random(events) < 1 / _SESSION_EVENTS).tolist(),
            strict=True,
        ):
            item = int(self.next(last_X[at : at + 1])[0])
            yield self._sessions[at][0], item
            last_X[at] = item
            self._sessions[at] = self._session() if ends else (self._sessions[at][0], item)

    def _session(self) -> tuple[int, int]:
        """Return the user of a session, and the item of its last event."""
        return int(self.rng.integers(self.users)), int(self.popular(1)[0])

    def records(self, events: int, first: int) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield key, value and timestamp (ms) of records, one second apart, from the `first` event of the log on."""
        for number, (user, item) in enumerate(self.log(events), first):
            name, seconds = user_name(user), START_TS + number
            yield name.encode(), encode_event(name, item_name(item), _TYPE, float(seconds)), 1000 * seconds


def user_name(user: int) -> str:
    return f"u{user}"


def item_name(item: int) -> str:
    return f"i{item}"


def fill(line: Line, store: InMemoryMemoryStore, universe: Universe, layout: MemoryFormat, line_number: int) -> None:
    """Fill line and store with what the universe's history would have left there.

    The line has learned from a part of the log already. `line_number`: the number of the line in memory records.
    """
    row_of_item = _admit(line, store, universe)
    chains_XT = _count_history(line, universe, row_of_item)
    number_XT = line.learner.catalog.number_N[chains_XT]
    _as_after_many_steps(line.learner)
    _save_users(line.learner, store, universe, number_XT, layout, line_number)


def _admit(line: Line, store: InMemoryMemoryStore, universe: Universe) -> NDArray[np.int32]:
    """Return the row of each item, and give one to those that have none."""
    learner, names = line.learner, [item_name(item) for item in range(universe.items)]
    new = [name for name, row in zip(names, learner.catalog.find(names).tolist(), strict=True) if row < 0]
    learner.add_items(new, store.number_items(new))
    for baseline in line.baselines.values():
        baseline.grow(learner.catalog.capacity)
    return learner.catalog.find(names)


def _count_history(line: Line, universe: Universe, row_of_item: NDArray[np.int32]) -> NDArray[np.int32]:
    """Count `_EVENTS_AN_ITEM` events per item, each item once before any comes again.

    Return the rows of the last steps of the chains [X, T].
    """
    learner, rng = line.learner, universe.rng
    started_N = np.zeros(learner.items.rows, np.bool_)
    started_N[learner.items.all_vectors.abs().sum(dim=1).numpy() > 0] = True
    item_X = universe.popular(_CHAINS)
    recent_XT = np.full((_CHAINS, _STEPS_KEPT), -1, np.int32)
    once = np.array_split(rng.permutation(universe.items), max(1, universe.items // _CHAINS))
    for step in range(max(_STEPS_KEPT, _EVENTS_AN_ITEM * universe.items // _CHAINS)):
        item_X = universe.next(item_X)
        if step < len(once):
            item_X[: len(once[step])] = once[step][:_CHAINS]
        row_X = row_of_item[item_X]
        window_XL = np.ascontiguousarray(recent_XT[:, -WIDE_SPAN:])
        _start(learner, row_X, window_XL, started_N, rng)
        _count(line, row_X, window_XL)
        recent_XT[:, :-1] = recent_XT[:, 1:]
        recent_XT[:, -1] = row_X
    return recent_XT


def _start(
    learner: Learner,
    row_X: NDArray[np.int32],
    window_XL: NDArray[np.int32],
    started_N: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Start the vectors of new items as the learner does, from the items around their first event."""
    rows, first = np.unique(row_X, return_index=True)
    new = ~started_N[rows]
    if new.any():
        rows, first = rows[new], first[new]
        noise = torch.from_numpy(rng.standard_normal((len(rows), learner.config.dim), dtype=np.float32))
        start = ByContext(learner.items, learner.config.window, rng)
        learner.items.start(rows, start.near(window_XL[first, -learner.config.window :], noise))
        started_N[rows] = True


def _count(line: Line, row_X: NDArray[np.int32], window_XL: NDArray[np.int32]) -> None:
    count, width = window_XL.shape
    users = Users(
        windows_BL=window_XL,
        types_BL=np.zeros((count, width), np.uint8),
        gaps_BL=np.zeros((count, width), np.uint8),
        idle_B=np.zeros(count, np.float32),
        last_gap_B=np.zeros(count, np.float32),
    )
    all_X = np.ones(count, np.bool_)
    events = WalkedEvents(row_X, np.zeros(count, np.uint32), all_X, ~all_X, np.zeros(count, np.int16), ~all_X)
    learner = line.learner
    learner.counting.count(users, events)
    learner.catalog.see(row_X, learner.events, learner.clock_ts)
    for baseline in line.baselines.values():
        baseline.rank_then_learn(window_XL, row_X, all_X, np.zeros(count, np.int16), ~all_X)


def _as_after_many_steps(learner: Learner) -> None:
    """Set the optimizer's moments of all items, so that they take up memory as after many steps."""
    used, width = learner.catalog.rows_used, learner.config.dim + 1
    moments = learner.items.adam.state_dict(used)
    untouched = moments["steps"] == 0
    drawn = np.random.default_rng(0).standard_normal((int(untouched.sum()), width), dtype=np.float32)
    moments["m"][untouched], moments["v"][untouched], moments["steps"][untouched] = 1e-4 * drawn, 1e-6, 10
    learner.items.adam.load_state_dict(moments)


def _save_users(
    learner: Learner,
    store: InMemoryMemoryStore,
    universe: Universe,
    number_XT: NDArray[np.uint32],
    layout: MemoryFormat,
    line_number: int,
) -> None:
    """Save memories of all users to the store, and put as many as there is room for on the device."""
    token = store.claim([0])[0].token
    for start in range(0, universe.users, _USERS_AT_ONCE):
        names = [user_name(user) for user in range(start, min(start + _USERS_AT_ONCE, universe.users))]
        memories = _memories(len(names), universe.rng, number_XT, layout)
        memories["line"] = line_number
        store.save(0, token, list(zip(names, layout.encode(memories), strict=True)))
        keys = [(0, name) for name in names]
        absent = np.flatnonzero(learner.users.find(keys) < 0)[: learner.users.max_users - len(learner.users)]
        if len(absent):
            learner.users.put(learner.users.add([keys[place] for place in absent.tolist()]), memories[absent])


def _memories(
    count: int, rng: np.random.Generator, number_XT: NDArray[np.uint32], layout: MemoryFormat
) -> NDArray[np.void]:
    """Make memories with rings of about 16 events, and with states in the range of an LSTM's."""
    memories = layout.empty(count)
    kept = layout.ring_size
    ends = rng.integers(kept, number_XT.shape[1], count)
    places = ends[:, None] - np.arange(kept)[::-1]
    number_UL = number_XT[rng.integers(0, len(number_XT), count)[:, None], places]
    lengths = np.minimum(rng.geometric(1 / _RING_EVENTS, count), kept)
    memories["number"] = np.where(np.arange(kept)[::-1] < lengths[:, None], number_UL, 0)
    memories["gap"] = np.where(memories["number"] > 0, rng.integers(0, 16, (count, kept)), 0)
    memories["events"] = lengths
    memories["ts"] = START_TS - rng.integers(0, 1_000_000, count)
    memories["h"], memories["c"] = 0.2 * rng.standard_normal((2, count, layout.hidden))
    return memories
