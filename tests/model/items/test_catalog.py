"""The catalogue is a dictionary; its rows are bounded, recycled under generations, never taken from under a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from model.items.catalog import Catalog

_POOL = [f"item-{k}-é" for k in range(120)]
_MAX_ITEMS, _MIN_ITEMS, _EXPIRY = 48, 6, 160.0


class CatalogIsADictionary(RuleBasedStateMachine):
    """`numbers` is the store: a number an id until the catalogue is told another, or 0 where it has none left. `live`,
    `seen` and `seen_ts` are what a dictionary would hold; `kept` are rows that somebody keeps, of which item, and since
    which generation."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = _catalog()
        self.numbers: dict[str, int] = {}
        self.given = 0
        self.live: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.seen_ts: dict[str, float] = {}
        self.kept: list[tuple[str, int, int]] = []
        self.ended: dict[str, int] = {}
        self.now, self.clock = 0, 1e9

    @rule(ids=st.lists(st.sampled_from(_POOL), min_size=1, max_size=_MAX_ITEMS))
    def arrive(self, ids: list[str]) -> None:
        leaving = self.catalog.leaving(len(ids), self.clock)
        evicted = [self.catalog.ids[row] for row in leaving]
        self._evicted(evicted, len(ids))
        if evicted:
            self.catalog.evict(leaving)
        rows = self.catalog.find(ids)
        assert [row >= 0 for row in rows] == [item in self.live for item in ids]
        unknown = [item for item in dict.fromkeys(ids) if item not in self.live]
        numbers = [self.numbers.setdefault(item, self._next_number()) for item in unknown]
        added = self.catalog.add(unknown, numbers, self.now, self.clock)
        self.live |= dict(zip(unknown, added.tolist(), strict=True))
        self.seen |= dict.fromkeys(unknown, self.now)
        assert [self.catalog.born_N[row] for row in added] == [self.now] * len(unknown)
        self.catalog.see(np.array([self.live[item] for item in ids], np.int32), self.now, self.clock)
        for item in ids:
            self.now += 1
            self.seen[item], self.seen_ts[item] = self.now, self.clock
            self.kept.append((item, self.live[item], self.catalog.generation))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def renumber(self, data: st.DataObject) -> None:
        """Of some live items the numbers have been forgotten; some that had none get one."""
        ids = data.draw(st.lists(st.sampled_from(sorted(self.live)), unique=True))
        for item in ids:
            self.numbers[item] = self._next_number()
        rows = np.array([self.live[item] for item in ids], np.int64)
        self.catalog.renumber(rows, [self.numbers[item] for item in ids])

    def _next_number(self) -> int:
        self.given += 1
        return 0 if self.given % 5 == 0 else (self.given * 858_993_437) % 2**32

    @rule(seconds=st.sampled_from([1.0, _EXPIRY / 16, _EXPIRY / 2, 3 * _EXPIRY]))
    def time_goes_on(self, seconds: float) -> None:
        self.clock += seconds

    def _evicted(self, evicted: list[str], count: int) -> None:
        missing = len(self.live) + count - _MAX_ITEMS
        assert len(evicted) >= missing
        if missing <= 0:
            assert all(self.clock - self.seen_ts[item] > _EXPIRY for item in evicted)
            assert not evicted or len(self.live) - len(evicted) >= _MIN_ITEMS
        for item in evicted:
            del self.live[item]
            self.ended[item] = len(self.kept)
        others = [self.seen[item] for item in self.live]
        assert max((self.seen[item] for item in evicted), default=-1) <= min(others, default=self.now)

    @precondition(lambda self: self.live)
    @rule()
    def resume(self) -> None:
        state = self.catalog.state_dict()
        evicted = self.catalog.evicted
        ids = Catalog.ids_of_state(state)
        assert sorted(ids) == sorted(self.live)
        self.catalog = _catalog()
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
    def a_row_that_was_kept_names_its_item_or_none(self) -> None:
        """Whoever has the row by now; an item that came back is another one."""
        if self.kept:
            items, rows, generations = zip(*self.kept, strict=True)
            current = self.catalog.current(np.array(rows, np.int32), np.array(generations))
            for place, (item, row) in enumerate(zip(items, current.tolist(), strict=True)):
                assert row == (-1 if place < self.ended.get(item, 0) else self.live[item])

    @invariant()
    def numbers_lead_to_rows_of_live_items_only(self) -> None:
        """Those that were given up lead nowhere."""
        given = {number: self.live.get(item, -1) for item, number in self.numbers.items() if number}
        ever = [(k * 858_993_437) % 2**32 for k in range(1, self.given + 1)]
        numbers = np.array([0, 2, *ever], dtype=np.uint32)
        assert self.catalog.rows_of_numbers(numbers).tolist() == [-1, -1, *(given.get(number, -1) for number in ever)]


def _catalog() -> Catalog:
    return Catalog(_MAX_ITEMS, _MIN_ITEMS, _EXPIRY)


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


def _of_ages(ages: list[float], max_items: int = 64, min_items: int = 0) -> Catalog:
    """Items last seen so many seconds before 1,000, of which none may be older than 100."""
    catalog = Catalog(max_items, min_items, expiry_seconds=100.0)
    rows = catalog.add([f"i{k}" for k in range(len(ages))], list(range(1, len(ages) + 1)), now=0)
    catalog.seen_N[rows], catalog.seen_ts_N[rows] = -np.array(ages), 1_000.0 - np.array(ages)
    return catalog


def test_items_that_nobody_touched_for_too_long_leave_the_oldest_first() -> None:
    """Those older than the period, whatever room there is, and no others."""
    assert _of_ages([5, 300, 99, 101, 200]).leaving(1, 1_000.0).tolist() == [1, 4, 3]


def test_a_period_of_zero_keeps_everything() -> None:
    """The default: only capacity evicts."""
    catalog = _of_ages([5, 300, 1e9])
    catalog.expiry_seconds = 0.0
    assert catalog.leaving(1, 1e12).tolist() == []


def test_a_floor_of_items_stays_however_old_they_are() -> None:
    """After a long silence the newest `min_items` are still there; capacity goes before the floor."""
    catalog = _of_ages([400, 500, 300, 200], min_items=3)
    assert catalog.leaving(1, 1_000.0).tolist() == [1]
    catalog.evict(np.array([1]))
    assert catalog.leaving(1, 2_000.0).tolist() == []
    assert len(catalog.leaving(62, 2_000.0)) == 3


def test_what_is_too_old_is_looked_for_a_few_times_a_period() -> None:
    """All rows are looked at then: not at every batch."""
    catalog = _of_ages([0, 300])
    assert catalog.leaving(1, 1_000.0).tolist() == [1]
    assert catalog.leaving(1, 1_006.0).tolist() == [], "a sixteenth of the period has not passed"
    assert catalog.leaving(1, 1_006.3).tolist() == [1]


def test_a_batch_waits_for_no_more_than_a_sixteenth_of_the_rows() -> None:
    """The rest leaves before the next ones."""
    catalog, left = _of_ages([200.0 + k for k in range(10)]), []
    while len(rows := catalog.leaving(1, 1_000.0)):
        assert len(rows) <= 64 // 16
        catalog.evict(rows)
        left += rows.tolist()
    assert left == list(range(9, -1, -1))


def test_a_batch_that_cannot_fit_is_refused_and_changes_nothing() -> None:
    """More new items than rows there may be: a clear error, not a row out of bounds."""
    catalog = Catalog(64)
    catalog.add([f"i{k}" for k in range(64)], list(range(1, 65)), now=0)
    with pytest.raises(ValueError, match=r"model\.max_items"):
        catalog.leaving(65, 0.0)
    assert len(catalog) == 64


def test_a_state_with_more_rows_than_the_bound_is_refused() -> None:
    """A checkpoint from before `max_items` was lowered says so; it does not hang."""
    catalog = Catalog(64)
    catalog.add([f"i{k}" for k in range(40)], list(range(1, 41)), now=0)
    with pytest.raises(ValueError, match=r"model\.max_items: at least 40"):
        Catalog(32).load_state_dict(catalog.state_dict(), list(range(1, 41)))


def _as_items_are_seen(seed: int, events: int) -> Iterator[tuple[int, Catalog]]:
    """A catalogue of 300 items, after every 60 events of a few favourites: how many came before them, and itself."""
    rng, catalog = np.random.default_rng(seed), Catalog(max_items=500)
    catalog.add([f"i{k}" for k in range(300)], list(range(1, 301)), now=0)
    for start in range(0, events, 60):
        catalog.see((rng.zipf(1.2, 60) % 300).astype(np.int32), start, 0.0)
        yield start, catalog


def test_the_latest_are_those_seen_last_and_between_half_and_all_of_what_is_allowed() -> None:
    for start, catalog in _as_items_are_seen(seed=0, events=6_000):
        rows = catalog.live_rows()
        latest = catalog.latest(rows, 80)
        if start > 1_000:  # by then so many have been seen at different times
            assert 40 <= len(latest) <= 80
            rest = np.setdiff1d(rows, latest)
            assert catalog.seen_N[latest].min() > catalog.seen_N[rest].max()
        assert (np.diff(latest) > 0).all()
        assert catalog.latest(rows, 300) is rows


def test_the_latest_are_the_same_after_a_restart() -> None:
    """How far back they go depends on when it was last decided, which is part of the state."""
    for _, catalog in _as_items_are_seen(seed=1, events=3_000):
        latest = catalog.latest(catalog.live_rows(), 80)
        again = Catalog(max_items=500)
        again.load_state_dict(catalog.state_dict(), list(range(1, 301)))
        assert again.latest(again.live_rows(), 80).tolist() == latest.tolist()


def test_what_numbers_take_depends_on_what_is_live_and_not_on_how_large_they_are() -> None:
    """Up to the last number that a record can hold; after ten times more items than fit."""
    catalog, most = Catalog(500), 2**32 - 1
    sizes = []
    for start in range(0, 5_000, 50):
        if len(leaving := catalog.leaving(50, 0.0)):
            catalog.evict(leaving)
        ids = [f"i{k}" for k in range(start, start + 50)]
        rows = catalog.add(ids, [most - 5_000 * k for k in range(start, start + 50)], now=start)
        numbers = np.array([most - 5_000 * start, most - 5_000 * start - 1], dtype=np.uint32)
        assert catalog.rows_of_numbers(numbers).tolist() == [rows[0], -1]
        sizes.append(catalog._row_of_number.nbytes)
    assert max(sizes) == sizes[0] <= 16 * 2_048


def test_an_item_without_a_number_has_a_row_and_is_live() -> None:
    catalog = Catalog(64)
    rows = catalog.add(["numbered", "one", "two"], [7, 0, 0], now=0)
    assert catalog.live_rows().tolist() == rows.tolist()
    assert catalog.rows_of_numbers(np.array([[0, 7], [0, 0]], dtype=np.uint32)).tolist() == [[-1, rows[0]], [-1, -1]]
    again = Catalog(64)
    again.load_state_dict(catalog.state_dict(), [7, 0, 3])
    assert again.live_rows().tolist() == rows.tolist()
    assert again.rows_of_numbers(np.array([0, 7, 3], dtype=np.uint32)).tolist() == [-1, rows[0], rows[2]]
    catalog.evict(rows[1:].astype(np.int64))
    assert catalog.live_rows().tolist() == rows[:1].tolist()
