"""The list maker: lists of every scenario from the same ranked candidates, each by its own rules.

So that a list is full although much is left out, three kinds of rows may stand in it, in this order: the ranked
candidates, the items that fill lists up (see `counting.filling`), and a reserve for each scenario: the most popular
items that its filter lets through, and those of each of its quotas with a least number of places.

Shape suffixes: U users, C candidates, M rows that may stand in a list, K places of a list, N rows of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batch import TYPES, Batch
from model.counting.popularity import EVER, HALF_LIVES
from model.counting.walk import Counting, Users
from model.items.catalog import Catalog
from model.items.content import Content
from model.items.item_table import ItemTable
from model.lists import purchases
from model.lists.arranging import BEHIND, REASONS, ItemColumns, Work, arrange, working_memory
from model.lists.lists import Lists, Ranked
from model.lists.purchases import Purchases
from model.lists.rules import CATEGORY, FRESH, GROUP, PROMOTED, SEEN, ListRules
from model.user_table import Before

# Rows of a reserve without those of quotas. Popularity with a half-life of 20,000 events. Not tuned.
_RESERVE, _POPULAR = 64, HALF_LIVES.tolist().index(20_000.0)
_MORE_OF_A_QUOTA = 16  # rows of a quota in the reserve beside as many as it has places; not tuned
_MEASURED_ONE_IN = 8  # examined events whose list after the rules is measured; not tuned
_OLD_AFTER = 1_024  # events after which a reserve is chosen anew; not tuned
_NOT_KNOWN: dict[str, NDArray[Any]] = {
    "hidden_N": np.zeros(0, np.bool_),
    "holds_N": np.zeros(0, np.uint64),
    "factor_NS": np.zeros((0, 1), np.float32),
    "group_NF": np.zeros((0, 1), np.uint32),
}


class ListMaker:
    """Makes lists by the rules of each scenario, and counts purchases, from which rules learn.

    Several threads may make lists at once while nothing is learned.
    """

    def __init__(
        self,
        scenarios: Mapping[str, ListRules],
        role_T: NDArray[np.int8],
        catalog: Catalog,
        counting: Counting,
        items: ItemTable,
        content: Content | None,
    ) -> None:
        """Join the parts.

        scenarios: the rules by scenario, the default one first
        role_T: the role of each event type; types that are not in it have none
        content: None where items are known from events alone
        """
        self.scenarios = dict(scenarios)
        self.default, self.default_length = next((name, rules.length) for name, rules in self.scenarios.items())
        self._role_T = np.pad(role_T, (0, TYPES - len(role_T)))
        self._catalog, self._counting, self._items, self._content = catalog, counting, items, content
        self.purchases = purchases.empty(catalog.capacity)
        self._reserves: dict[str, NDArray[np.int32]] = {}
        self._chosen_at = 0
        self.measured_one_in = _MEASURED_ONE_IN
        self._spare: dict[str, list[Work]] = {name: [] for name in scenarios}

    # -- what rules learn from -----------------------------------------------------------------------------------

    def count(self, batch: Batch, before: Before, windows_BL: NDArray[np.int32]) -> None:
        """Count the purchases of a batch. `before`, `windows_BL`: the rings before each event."""
        self._grow()
        purchases.count(
            self.purchases, self._role_T, windows_BL, before.type_BL, before.gap_BL, before.own_gap_B, batch.row_B,
            batch.type_B, batch.learn_B, self._counting.tables.category_N,
        )  # fmt: skip

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Forget rows whose items have left the catalogue."""
        self._grow()
        purchases.forget(self.purchases, rows)
        self._reserves = {}

    def refresh(self, events: int) -> None:
        """Choose the reserves anew if they are old, before lists are made. `events`: events learned so far."""
        self._grow()
        if not self._reserves or not 0 <= events - self._chosen_at < _OLD_AFTER:
            self._chosen_at = events
            self._reserves = {name: self._reserve(rules) for name, rules in self.scenarios.items()}

    def choose_anew(self) -> None:
        """Let the next `refresh` choose the reserves anew, since items have changed."""
        self._reserves = {}

    # -- lists -----------------------------------------------------------------------------------------------------

    def make(self, ranked: Ranked, users: Users, clock_ts: float, only: str = "") -> dict[str, Lists]:
        """Return the lists of U users by scenario.

        ranked: what may stand in their lists
        users: their rings
        clock_ts: time of the newest event, in seconds
        only: one scenario; empty: all of them
        """
        wanted = self.scenarios if not only else {only: self.scenarios[only]}
        return {name: self._make(name, rules, ranked, users, clock_ts) for name, rules in wanted.items()}

    def _make(self, name: str, rules: ListRules, ranked: Ranked, users: Users, clock_ts: float) -> Lists:
        count, reserve = len(ranked.rows_UM), self._reserves.get(name, np.zeros(0, np.int32))
        rows_UM = np.concatenate([ranked.rows_UM, np.broadcast_to(reserve, (count, len(reserve)))], axis=1)
        behind_M = BEHIND - np.arange(rows_UM.shape[1])
        value_UM = np.broadcast_to(behind_M, rows_UM.shape).copy()
        known_UM = value_UM[:, : ranked.value_UM.shape[1]]
        known_UM[:] = np.where(np.isfinite(ranked.value_UM), ranked.value_UM, known_UM)
        picks_UK = np.full((count, rules.length), -1, np.int32)
        promoted_UK, left_UR = np.zeros(picks_UK.shape, np.bool_), np.zeros((count, len(REASONS)), np.int32)
        work = self._work(name, rules, rows_UM.shape[1])
        arrange(
            rules, self._columns(), self.purchases, self._role_T, users, clock_ts, rows_UM, value_UM,
            self._vectors(rules, rows_UM), work, picks_UK, promoted_UK, left_UR,
        )  # fmt: skip
        self._spare[name].append(work)
        return ranked.at(rows_UM, picks_UK, promoted_UK, left_UR)

    def _work(self, name: str, rules: ListRules, rows: int) -> Work:
        """Return working memory that no other thread uses."""
        try:
            spare = self._spare[name].pop()
        except IndexError:
            spare = None
        if spare is not None and len(spare.why_M) >= rows:
            return spare
        return working_memory(rows, len(rules.quotas.kind_Q))

    def _columns(self) -> ItemColumns:
        known = {name: getattr(self._content, name, nothing) for name, nothing in _NOT_KNOWN.items()}
        return ItemColumns(
            **known, category_N=self._counting.tables.category_N, born_ts_N=self._catalog.born_ts_N
        )  # fmt: skip

    def _vectors(self, rules: ListRules, rows_UM: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return unit vectors of the rows [U, M, D] where diversity asks for them."""
        if not rules.diversity:
            return np.zeros((len(rows_UM), 0, 0), np.float32)
        return self._items.unit_vectors(np.maximum(rows_UM, 0))

    def is_measured(self, number_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return True for the events before which a list is made to measure it: one in `measured_one_in`, drawn by a
        hash of the event's number in the line, so that a replay draws the same ones."""
        hashed_B = number_B.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
        is_drawn_B: NDArray[np.bool_] = hashed_B % np.uint64(self.measured_one_in) == 0
        return is_drawn_B

    # -- reserves --------------------------------------------------------------------------------------------------

    def allowed(self) -> NDArray[np.bool_]:
        """Return True by row for live items that may stand in a default list, whoever it is for."""
        allowed_N = np.zeros(self._catalog.capacity, np.bool_)
        may_N = self._may_stand(self.scenarios[self.default], self._columns())
        allowed_N[: len(may_N)] = may_N
        return allowed_N

    def _may_stand(self, rules: ListRules, columns: ItemColumns) -> NDArray[np.bool_]:
        """Return True for rows in use of live items that may stand in a list of a scenario, whoever it is for."""
        may_N = self._catalog.live_N[: self._catalog.rows_used].copy()
        may_N[: len(columns.hidden_N)] &= ~columns.hidden_N[: len(may_N)]
        if rules.holds:
            holds_N = np.zeros(len(may_N), np.bool_)
            known = columns.holds_N[: len(may_N)]
            holds_N[: len(known)] = known & rules.holds == rules.holds
            may_N &= holds_N
        return may_N

    def _reserve(self, rules: ListRules) -> NDArray[np.int32]:
        """Return rows that may fill up the lists of a scenario, the most popular first, without a look at users.

        Items whose first events come later in a batch have rows already, but no popularity.
        """
        columns, popular = self._columns(), self._counting.tables.popularity
        may_N = self._may_stand(rules, columns)
        may_N &= popular.weight_PN[EVER, : len(may_N)] > 0
        weight_N = popular.weight_PN[_POPULAR, : len(may_N)]
        parts = [_most_popular(np.flatnonzero(may_N), weight_N, _RESERVE)]
        quotas = rules.quotas
        for q in np.flatnonzero((quotas.least_Q > 0) & (quotas.kind_Q != SEEN)).tolist():
            rows = np.flatnonzero(may_N & self._belongs(columns, rules, q, len(may_N)))
            parts.append(_most_popular(rows, weight_N, int(quotas.least_Q[q]) + _MORE_OF_A_QUOTA))
        return np.concatenate(parts)

    def _belongs(self, columns: ItemColumns, rules: ListRules, q: int, rows: int) -> NDArray[np.bool_]:
        """Return which rows belong to a quota; of young ones and of promotions those that did at any time."""
        quotas, belongs_N = rules.quotas, np.zeros(rows, np.bool_)
        if quotas.kind_Q[q] == PROMOTED:
            holds_N = columns.holds_N[:rows] & quotas.of_Q[q]
            belongs_N[: len(holds_N)] = holds_N > 0
        elif quotas.kind_Q[q] == GROUP:
            field = int(quotas.field_Q[q])
            group_N = columns.category_N[:rows] if field == CATEGORY else columns.group_NF[:rows, field - 1]
            belongs_N[: len(group_N)] = group_N == quotas.of_Q[q]
        elif quotas.kind_Q[q] == FRESH:
            # The youngest ones: those that were born last, since the clock is not known here.
            born_ts_N = columns.born_ts_N[:rows]
            belongs_N = born_ts_N > born_ts_N.max(initial=0.0) - quotas.seconds_Q[q]
        return belongs_N

    # -- state -----------------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        if len(self.purchases.bought_N) < self._catalog.capacity:
            self.purchases = purchases.grown(self.purchases, self._catalog.capacity)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the purchases and the reserves: lists after a restart are those that would have been made."""
        reserves = {f"reserve.{name}": rows for name, rows in self._reserves.items()}
        chosen_at = {"chosen_at": np.array([self._chosen_at], np.int64)}
        return {**purchases.state_of(self.purchases), **chosen_at, **reserves}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Load a state. An older one has no purchases; where it lacks a scenario, all reserves are chosen anew."""
        counted = {name: array for name, array in state.items() if name in Purchases._fields}
        self.purchases = purchases.from_state(counted, self._catalog.capacity)
        reserves = {name: state.get(f"reserve.{name}") for name in self.scenarios}
        known = {name: rows.copy() for name, rows in reserves.items() if rows is not None}
        self._reserves = known if len(known) == len(reserves) else {}
        self._chosen_at = int(state["chosen_at"][0]) if "chosen_at" in state else 0


def _most_popular(rows: NDArray[np.int64], weight_N: NDArray[np.float64], most: int) -> NDArray[np.int32]:
    """Return the `most` rows with the largest weights, largest first; of equal ones the lowest row first."""
    if len(rows) > most:
        least = np.partition(weight_N[rows], -most)[-most]
        rows = rows[weight_N[rows] >= least]
    return rows[np.argsort(-weight_N[rows], kind="stable")][:most].astype(np.int32)
