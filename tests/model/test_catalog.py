"""The catalogue is a dictionary whose rows are bounded, recycled, and never taken from under a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from model.catalog import Catalog

_POOL = [f"item-{k}-é" for k in range(120)]
_MAX_ITEMS = 48


class CatalogIsADictionary(RuleBasedStateMachine):
    """`numbers` is the store: a number an id for ever. `live` and `seen` are what a dictionary would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = Catalog(_MAX_ITEMS)
        self.numbers: dict[str, int] = {}
        self.live: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.now = 0

    @rule(ids=st.lists(st.sampled_from(_POOL), min_size=1, max_size=_MAX_ITEMS))
    def arrive(self, ids: list[str]) -> None:
        ids_before = list(self.catalog.ids)
        evicted = [ids_before[row] for row in self.catalog.room_for(len(ids))]
        self._evicted(evicted, len(ids))
        rows = self.catalog.find(ids)
        assert [row >= 0 for row in rows] == [item in self.live for item in ids]
        unknown = [item for item in dict.fromkeys(ids) if item not in self.live]
        numbers = [self.numbers.setdefault(item, 3 * len(self.numbers) + 1) for item in unknown]
        added = self.catalog.add(unknown, numbers, self.now)
        self.live |= dict(zip(unknown, added.tolist(), strict=True))
        self.seen |= dict.fromkeys(unknown, self.now)
        assert [self.catalog.born_N[row] for row in added] == [self.now] * len(unknown)
        for item in ids:
            self.now += 1
            self.seen[item] = self.now
            self.catalog.seen_N[self.live[item]] = self.now

    def _evicted(self, evicted: list[str], count: int) -> None:
        missing = len(self.live) + count - _MAX_ITEMS
        assert len(evicted) >= missing
        assert bool(evicted) == (missing > 0)
        for item in evicted:
            del self.live[item]
        others = [self.seen[item] for item in self.live]
        assert max((self.seen[item] for item in evicted), default=-1) <= min(others, default=self.now)

    @precondition(lambda self: self.live)
    @rule()
    def resume(self) -> None:
        state = self.catalog.state_dict()
        evicted = self.catalog.evicted
        ids = Catalog.ids_of_state(state)
        assert sorted(ids) == sorted(self.live)
        self.catalog = Catalog(_MAX_ITEMS)
        self.catalog.load_state_dict(state, [self.numbers[item] for item in ids])
        assert self.catalog.evicted == evicted
        assert {k: v.tolist() for k, v in self.catalog.state_dict().items()} == {
            k: v.tolist() for k, v in state.items()
        }

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        catalog, ids = self.catalog, list(self.live)
        rows = list(self.live.values())
        assert len(catalog) == len(ids) <= _MAX_ITEMS
        assert catalog.capacity <= _MAX_ITEMS
        assert catalog.find(ids).tolist() == rows
        assert [catalog.ids[row] for row in rows] == ids
        assert catalog.number_N[rows].tolist() == [self.numbers[item] for item in ids]
        assert catalog.seen_N[rows].tolist() == [self.seen[item] for item in ids]
        assert catalog.live_rows().tolist() == sorted(rows)
        assert len(set(rows)) == len(rows)

    @invariant()
    def numbers_lead_to_rows_of_live_items_only(self) -> None:
        ids = list(self.numbers)
        numbers = np.array([self.numbers[item] for item in ids] + [0, 2, 4_000_000_000], dtype=np.uint32)
        expected = [self.live.get(item, -1) for item in ids] + [-1, -1, -1]
        assert self.catalog.rows_of_numbers(numbers).tolist() == expected


TestCatalogIsADictionary = CatalogIsADictionary.TestCase
TestCatalogIsADictionary.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_it_grows_by_doubling_and_keeps_every_item() -> None:
    """Rows, numbers and counts of all items survive growth from 1024 to a bound that is no power of two."""
    catalog, capacities = Catalog(5_000), []
    for start in range(0, 5_000, 250):
        ids = [f"i{k}" for k in range(start, start + 250)]
        catalog.add(ids, list(range(start + 1, start + 251)), now=start)
        capacities.append(catalog.capacity)
    assert sorted(set(capacities)) == [1024, 2048, 4096, 5000]
    assert catalog.find([f"i{k}" for k in range(5_000)]).tolist() == list(range(5_000))
    assert catalog.rows_of_numbers(np.arange(1, 5_001, dtype=np.uint32)).tolist() == list(range(5_000))
    assert catalog.born_N.tolist() == [k // 250 * 250 for k in range(5_000)]


def test_a_row_that_was_never_given_out_is_empty() -> None:
    """Growth leaves no copies of old rows behind."""
    catalog = Catalog(4_000)
    catalog.add([f"i{k}" for k in range(1_024)], list(range(1, 1_025)), now=9)
    catalog.add(["i1024"], [1_025], now=9)
    assert catalog.capacity == 2048
    for column in (catalog.number_N, catalog.born_N, catalog.seen_N):
        assert not column[1_025:].any()


def test_a_batch_that_cannot_fit_is_refused_and_changes_nothing() -> None:
    """More new items than rows there may be: a clear error, not a row out of bounds."""
    catalog = Catalog(64)
    catalog.add([f"i{k}" for k in range(64)], list(range(1, 65)), now=0)
    with pytest.raises(ValueError, match=r"model\.max_items"):
        catalog.room_for(65)
    assert len(catalog) == 64


def test_a_state_with_more_rows_than_the_bound_is_refused() -> None:
    """A checkpoint from before `max_items` was lowered says so; it does not hang."""
    catalog = Catalog(64)
    catalog.add([f"i{k}" for k in range(40)], list(range(1, 41)), now=0)
    with pytest.raises(ValueError, match=r"model\.max_items: at least 40"):
        Catalog(32).load_state_dict(catalog.state_dict(), list(range(1, 41)))
