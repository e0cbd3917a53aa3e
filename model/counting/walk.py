"""Counting: the tables of what follows what, what is hot and what users return to, and the walk through a batch.

The tables live on the host. A compiled kernel walks a batch in order: for each event it first finds candidates and
their features from the tables, then counts the event. So counting is exact inside a batch, and no prediction sees the
event that it is for. Of a set (see `model.sets`) it counts none before it has examined all.

Shape suffixes: B events, N rows of the catalogue, C candidates, K places of a list, E proposals of the encoder, L ring
entries (of `amounts`: columns of `features.AMOUNTS`), R columns of `features.REST` (of `quota`: rounds), S proposers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import Places
from model.counting import (
    candidates,
    categories,
    evidence,
    filling,
    neighbours,
    popularity,
    proposers,
    returns,
    tables,
)
from model.counting.features import (
    AMOUNTS,
    REST,
    context,
    log_share,
    write,
    write_behind,
    write_category,
    write_context,
)
from model.counting.filling import Filling
from model.counting.popularity import EVER, Popularity
from model.counting.proposers import NO_PROPOSER
from model.counting.scratch import NONE_HIDDEN, Breadth, Scratch, clear, make_scratch
from model.counting.tables import FORWARD, Tables
from model.kernels import kernel
from model.state import joined, state_below

# A walk that learns nothing is cut into parts for threads: at most 4, of at least 8 events. That sharing pays was
# measured (docs/experiments/latency.md); the two bounds are not tuned.
_MOST_PARTS, _LEAST_OF_A_PART = 4, 8
# `map`, or the `map` of an executor.
MapSlices = Callable[[Callable[[slice], None], Iterable[slice]], Iterable[None]]


@dataclass(frozen=True)
class CountingConfig:
    """Bounds of the tables and of what they propose; `LearnerConfig` has their defaults.

    neighbours: items in one row of each counting table
    candidates: items that are proposed to the ranker
    """

    neighbours: int
    candidates: int


class Users(NamedTuple):
    """The users of B events, each as they stand before the event.

    windows_BL: item rows of the ring, newest last, -1: no entry, or an item without a row
    types_BL: event types of the ring
    gaps_BL: gap bucket before each event of the ring
    idle_B: log(1 + seconds since the user's last event)
    last_gap_B: gap bucket of the newest ring entry
    """

    windows_BL: NDArray[np.int32]
    types_BL: NDArray[np.uint8]
    gaps_BL: NDArray[np.uint8]
    idle_B: NDArray[np.float32]
    last_gap_B: NDArray[np.float32]

    def at(self, places: Places) -> Users:
        return Users._make(column[places] for column in self)


class WalkedEvents(NamedTuple):
    """B events.

    row_B: item row
    category_B: category code, 0: none (see `categories`)
    learn_B: True for events to count
    examine_B: True for events to find candidates for
    within_B: events of the same set before each event
    late_B: True for events that count for pairs and all-time popularity alone
    """

    row_B: NDArray[np.int32]
    category_B: NDArray[np.uint32]
    learn_B: NDArray[np.bool_]
    examine_B: NDArray[np.bool_]
    within_B: NDArray[np.int16]
    late_B: NDArray[np.bool_]


class Walked(NamedTuple):
    """Candidates for B examined events. Proposers are places in `proposers.PROPOSERS`, or NO_PROPOSER.

    candidates_BC: rows, -1: none
    amounts_BCL: the features whose logarithm is still to be taken
    rest_BCR: the other features; the encoder's are 0 and filled in later
    proposers_BC: proposer of each candidate
    proposer_B: proposer of the event's own item
    filling: items that fill lists up
    """

    candidates_BC: NDArray[np.int32]
    amounts_BCL: NDArray[np.float32]
    rest_BCR: NDArray[np.float32]
    proposers_BC: NDArray[np.int8]
    proposer_B: NDArray[np.int8]
    filling: Filling


class Counting:
    """Tables of N rows, and the walk through a batch. Several threads may walk at once while nothing is learned."""

    def __init__(self, config: CountingConfig, rows: int) -> None:
        self.config = config
        self.tables = tables.empty(rows, config.neighbours)
        self.quota_RS = proposers.QUOTA_RS.copy()
        self._spare: list[Scratch] = []

    @property
    def rows(self) -> int:
        return len(self.tables.rows.start_TN[0])

    def grow(self, rows: int) -> None:
        self.tables = tables.grown(self.tables, rows)

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Clear the counts of evicted rows, and remove the rows from the neighbours of all others."""
        tables.forget(self.tables, rows)

    def fade(self, share: float) -> None:
        """Multiply all neighbours' counts by `share`, so that new events soon weigh more."""
        tables.fade(self.tables, share)

    def _scratch(self) -> Scratch:
        """Return working memory that no other thread uses; made anew if all is in use, or for fewer rows."""
        try:
            spare = self._spare.pop()
        except IndexError:
            spare = None
        if spare is not None and len(spare.place_N) == self.rows:
            return spare
        return make_scratch(self.rows, self.config.neighbours, Breadth(self.config.candidates))

    def walk(
        self,
        users: Users,
        events: WalkedEvents,
        encoder_rows_BE: NDArray[np.int32],
        live_N: NDArray[np.bool_],
        breadth: Breadth,
        each: MapSlices = map,
        hidden_N: NDArray[np.bool_] = NONE_HIDDEN,
    ) -> Walked:
        """Walk all events in order, set by set: find candidates where `examine_B`, then count where `learn_B`.

        users, events: the users before each event, and the events
        encoder_rows_BE: rows that the encoder proposes for each examined event, best first, -1: none
        live_N: True for rows of live items that somebody touched before these events
        breadth: bounds of the search; with fewer candidates than configured, quotas shrink in proportion
        each: `map`, or an executor's `map` to use several threads; used only when nothing is learned
        hidden_N: True for rows that must be no candidates and fill no list; rows behind its end are not hidden
        """
        batch = len(encoder_rows_BE)
        learned = int(events.learn_B.sum())
        if learned:
            self.tables = tables.with_room(self.tables, learned)
        candidates_BC = np.full((batch, breadth.candidates), -1, dtype=np.int32)
        amounts_BCL = np.ones((batch, breadth.candidates, len(AMOUNTS)), dtype=np.float32)
        rest_BCR = np.zeros((batch, breadth.candidates, len(REST)), dtype=np.float32)
        proposers_BC = np.full((batch, breadth.candidates), NO_PROPOSER, dtype=np.int8)
        proposer_B = np.full(batch, NO_PROPOSER, dtype=np.int8)
        quota_RS = self.quota_RS * breadth.candidates // self.config.candidates
        spare_BK = np.full((batch, breadth.least), -1, dtype=np.int32)
        columns = candidates_BC, amounts_BCL, rest_BCR, proposers_BC, proposer_B, spare_BK
        items = int(np.count_nonzero(live_N))

        def look(of: slice) -> None:
            scratch = self._scratch()._replace(hidden_N=hidden_N)
            _walk(
                self.tables, scratch, breadth, quota_RS, _some(users, of), _some(events, of), encoder_rows_BE[of],
                live_N, items, *(column[of] for column in columns),
            )  # fmt: skip
            self._spare.append(scratch)

        # Each event is counted before the next one is examined, so a walk that learns can't be shared.
        alone = learned > 0 or batch < len(events.row_B)
        for _ in map(look, [slice(0, len(events.row_B))]) if alone else each(look, _parts(batch)):
            pass
        return Walked(*columns[:-1], Filling(spare_BK, in_front=items == 0))

    def count(self, users: Users, events: WalkedEvents) -> None:
        """Count the events where `learn_B`, in order, set by set, as `walk` does, without looking for candidates."""
        if learned := int(events.learn_B.sum()):
            self.tables = tables.with_room(self.tables, learned)
            scratch = self._scratch()
            _count(self.tables, scratch, users, events)
            self._spare.append(scratch)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        counted = self.tables
        parts = {"rows": neighbours.state_of(counted.rows), "popularity": popularity.state_of(counted.popularity)}
        return joined(parts | {"returns": returns.state_of(counted.returns)}) | {"category_N": counted.category_N}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Load a state. Raises ValueError for tables of another width."""
        self.tables = Tables(
            neighbours.from_state(state_below(state, "rows"), self.config.neighbours),
            popularity.empty(0)._replace(
                **{name: array.copy() for name, array in state_below(state, "popularity").items()}
            ),
            returns.from_state(state_below(state, "returns")),
            state["category_N"].copy(),
        )


def _some(columns: Any, of: slice) -> Any:
    return columns._make(column[of] for column in columns)


def _parts(count: int) -> list[slice]:
    """Cut `count` events into one part, or an even number of about equal size, so that two threads end together."""
    parts = min(_MOST_PARTS, count // _LEAST_OF_A_PART) // 2 * 2 or 1
    ends = [count * k // parts for k in range(parts + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


@kernel
def _usual(popular: Popularity, window_L, known):  # type: ignore[no-untyped-def]
    """Return the mean log-popularity of the user's items; `known`: number of ring entries with a row."""
    total = 0.0
    for row in window_L:
        if row >= 0:
            total += log_share(popular, EVER, row)
    return total / max(1, known)


@kernel
def _walk(  # type: ignore[no-untyped-def]
    counted: Tables, s: Scratch, breadth: Breadth, quota_RS, users: Users, events: WalkedEvents, encoder_rows_BE,
    live_N, items, candidates_BC, amounts_BCL, rest_BCR, proposers_BC, proposer_B, spare_BK,
):  # fmt: skip
    examined = 0
    for k in range(len(events.row_B)):
        if events.examine_B[k]:
            proposer_B[examined] = _examine(
                counted, s, breadth, quota_RS, users, k, events.row_B[k], encoder_rows_BE[examined], live_N, items,
                candidates_BC[examined], amounts_BCL[examined], rest_BCR[examined], proposers_BC[examined],
                spare_BK[examined],
            )  # fmt: skip
            examined += 1
        if k + 1 == len(events.row_B) or events.within_B[k + 1] == 0:
            _learn(counted, s, users, events, k - events.within_B[k], k + 1)


@kernel
def _count(counted: Tables, s: Scratch, users: Users, events: WalkedEvents):  # type: ignore[no-untyped-def]
    for k in range(len(events.row_B)):
        if k + 1 == len(events.row_B) or events.within_B[k + 1] == 0:
            _learn(counted, s, users, events, k - events.within_B[k], k + 1)


@kernel
def _learn(counted: Tables, s: Scratch, users: Users, events: WalkedEvents, start, end):  # type: ignore[no-untyped-def]
    """Count the events of one set, or one event alone, each after the ring before the set."""
    for k in range(start, end):
        if events.learn_B[k]:
            tables.learn(
                counted, users.windows_BL[k], users.types_BL[k], users.gaps_BL[k], users.idle_B[k], events.row_B[k],
                events.category_B[k], events.late_B[k], s.place_N,
            )  # fmt: skip


@kernel
def _examine(  # type: ignore[no-untyped-def]
    counted: Tables, s: Scratch, breadth: Breadth, quota_RS, users: Users, k, item, encoder_rows_E, live_N, items,
    candidates_C, amounts_CL, rest_CR, proposers_C, spare_K,
):  # fmt: skip
    """Write the candidates of event k, their features and proposers, and the items that fill its list up.

    counted, s: the tables, and this thread's working memory
    k: place of the event among `users`
    item: row of the event's own item
    encoder_rows_E: rows that the encoder proposes
    live_N, items: rows of live items, and their number
    candidates_C, amounts_CL, rest_CR, proposers_C, spare_K: written; see `Walked` and `Filling`

    Returns the proposer of `item`, NO_PROPOSER if it is no candidate.
    """
    window_L, type_L, gap_L = users.windows_BL[k], users.types_BL[k], users.gaps_BL[k]
    last, proposed_by = window_L[-1], NO_PROPOSER
    size = evidence.count_neighbours(counted, s, window_L, breadth)
    size, known, repeats, session = evidence.look_back(
        counted.returns, s, size, window_L, type_L, gap_L, users.idle_B[k]
    )
    evidence.leave_out(counted, s, window_L, items)
    count, size = candidates.choose(counted, s, size, quota_RS, breadth.candidates, window_L, encoder_rows_E)
    usual = _usual(counted.popularity, window_L, known)
    follows = counted.rows.total_TN[FORWARD, last] if last >= 0 else np.float32(0.0)
    returned = returns.share(counted.returns, returns.BY_LAST, type_L[-1]) if last >= 0 else np.float32(1.0)
    shared = context(known, users.idle_B[k], users.last_gap_B[k], session, repeats, returned, follows)
    categorised = categories.recent(counted.category_N, window_L, s.category_S)
    for c in range(count):
        x = s.chosen_C[c]
        row = s.row_X[x]
        candidates_C[c], proposers_C[c] = row, s.proposer_C[c]
        if row == item:
            proposed_by = s.proposer_C[c]
        write(
            amounts_CL[c], rest_CR[c], s.counts_XT[x], row, row == last, usual, session,
            counted.popularity, counted.returns,
        )  # fmt: skip
        write_context(rest_CR[c], shared)
        if categorised > 0:
            write_category(rest_CR[c], counted.category_N[row], s.category_S, categorised)
    write_behind(amounts_CL, count)
    if count < breadth.least:
        size = filling.fill(counted, s, size, breadth.least - count, window_L, live_N, spare_K)
    clear(s, size)
    return proposed_by
