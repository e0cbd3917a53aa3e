"""Workers keep the numbers of their items: asked for again in time, the same for all, and said when there are none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from structlog.testing import capture_logs

from model.items.catalog import Catalog
from stream_worker.backends.in_memory import InMemoryMemoryStore, ManualClock
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.core.errors import MemoriesLost, Unavailable
from stream_worker.core.interfaces import MemoryStore
from stream_worker.core.item_dictionary import numbers_kept_seconds
from stream_worker.loop.item_numbers import ItemNumbers

_EXPIRE = 1_000.0
_KEPT = numbers_kept_seconds(_EXPIRE)
_ROWS, _IDS = 8, 12
_GROUPS = count()


@dataclass
class Shelf:
    """One dictionary: `store` makes a worker's client of it, `moved` lets the server's time pass by so much."""

    store: Callable[[], MemoryStore]
    clock: ManualClock = field(default_factory=ManualClock)
    moved: Callable[[float], None] = lambda seconds: None

    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.moved(seconds)


def twin_shelf(item_ids: int = _IDS, expire_seconds: float = _EXPIRE) -> Shelf:
    clock = ManualClock()
    twin = InMemoryMemoryStore(MemoryConfig(twin_items=item_ids, expire_seconds=expire_seconds), clock)
    return Shelf(lambda: twin, clock)


def redis_shelf(url: str) -> Shelf:
    config = MemoryConfig(redis_url=url, max_item_ids=_IDS, expire_seconds=_EXPIRE)
    group, server = f"numbers-{next(_GROUPS)}:topic", redis.Redis.from_url(url)

    def moved(seconds: float) -> None:
        key = f"stream-worker:{{{group}:items}}:turned"
        if server.exists(key):
            server.decrby(key, math.ceil(seconds))

    return Shelf(lambda: RedisMemoryStore(config, group), moved=moved)


class Desk:
    """What of a worker has to do with numbers: a catalogue of a few rows, and what it writes into rings."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.store = shelf, shelf.store()
        self._start()

    def _start(self) -> None:
        self.catalog = Catalog(_ROWS * 8)
        self.numbers = ItemNumbers(self.store, self.catalog, self.shelf.clock)

    def restart(self) -> None:
        state = self.catalog.state_dict()
        self._start()
        self.catalog.load_state_dict(state, self.numbers.of(Catalog.ids_of_state(state)))

    def tick(self, ids: list[str]) -> dict[str, int]:
        """The numbers that the events' items are remembered by; of too many rows the oldest are given up."""
        self.numbers.keep()
        if len(self.catalog) > _ROWS:
            rows = self.catalog.live_rows()
            self.catalog.evict(rows[np.argsort(self.catalog.seen_N[rows], kind="stable")[: len(rows) - _ROWS]])
        unknown = [item for item, row in zip(ids, self.catalog.find(ids).tolist(), strict=True) if row < 0]
        if unknown:
            self.catalog.add(unknown, self.numbers.of(unknown), now=0)
        rows_B = self.catalog.find(ids)
        self.catalog.see(rows_B, int(self.catalog.seen_N.max()), 0.0)
        return dict(zip(ids, self.catalog.number_N[rows_B].tolist(), strict=True))


class ManyWorkers(RuleBasedStateMachine):
    """Three workers of one dictionary, each with its own catalogue, ticking or standing still while time passes.

    `meant`: what every number was ever given to.
    """

    new_shelf: Callable[[], Shelf]

    def __init__(self) -> None:
        super().__init__()
        self.shelf = self.new_shelf()
        self.desks = [Desk(self.shelf) for _ in range(3)]
        self.asking = self.shelf.store()
        self.meant: dict[int, str] = {}

    @initialize()
    def begin(self) -> None:
        self.desks[0].tick(["a"])

    @rule(who=st.integers(0, 2), ids=st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=5, unique=True))
    def tick(self, who: int, ids: list[str]) -> None:
        """Whatever is written into a ring now, the dictionary knows as this very item."""
        written = {number: item for item, number in self.desks[who].tick(ids).items() if number}
        assert self.asking.item_ids(list(written)) == list(written.values())
        for number, item in written.items():
            assert self.meant.setdefault(number, item) == item

    @rule(seconds=st.sampled_from([_KEPT / 16, _KEPT / 8, _KEPT / 2, _KEPT + 1, 3 * _KEPT]))
    def time_passes(self, seconds: float) -> None:
        self.shelf.pass_time(seconds)

    @rule(who=st.integers(0, 2))
    def restart(self, who: int) -> None:
        self.desks[who].restart()

    @rule()
    def all_tick_in_turn_for_long(self) -> None:
        """Who ticks is never too late: all that are live keep their numbers, whatever time passes."""
        for desk in self.desks:
            desk.tick([])
        held = [self._held(desk) for desk in self.desks]
        for _ in range(40):
            self.shelf.pass_time(_KEPT / 10)
            for desk in self.desks:
                desk.numbers.keep()
        for desk, before in zip(self.desks, held, strict=True):
            now = self._held(desk)
            assert {item: now[item] for item, number in before.items() if number} == {
                i: n for i, n in before.items() if n
            }

    @invariant()
    def no_id_has_two_numbers_and_no_number_two_ids(self) -> None:
        numbers = list(self.meant)
        ids = self.asking.item_ids(numbers)
        known = [item for item in ids if item is not None]
        assert len(set(known)) == len(known) <= _IDS
        assert all(item in (None, self.meant[number]) for number, item in zip(numbers, ids, strict=True))

    @invariant()
    def a_catalogue_finds_its_rows_by_number(self) -> None:
        for desk in self.desks:
            rows = desk.catalog.live_rows()
            numbered = rows[desk.catalog.number_N[rows] > 0]
            found = desk.catalog.rows_of_numbers(desk.catalog.number_N[numbered])
            assert found.tolist() == numbered.tolist()

    def _held(self, desk: Desk) -> dict[str, int]:
        catalog = desk.catalog
        return {catalog.ids[row]: int(catalog.number_N[row]) for row in catalog.live_rows().tolist()}


def _run(shelf: Callable[[], Shelf], examples: int) -> None:
    class Machine(ManyWorkers):
        new_shelf = staticmethod(shelf)

    limits = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=limits)


def test_no_id_has_two_live_numbers_and_no_number_two_ids_whatever_workers_do() -> None:
    _run(twin_shelf, examples=150)


@pytest.mark.redis
def test_nor_in_a_real_redis(redis_url: str) -> None:
    _run(lambda: redis_shelf(redis_url), examples=25)


def _asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many ids each call to the store asks for, from now on."""
    sizes: list[int] = []
    number_items = desk.store.number_items

    def counted(ids: Any) -> list[int]:
        sizes.append(len(ids))
        return number_items(ids)

    monkeypatch.setattr(desk.store, "number_items", counted)
    return sizes


def _filled(shelf: Shelf, items: int) -> Desk:
    desk = Desk(shelf)
    desk.catalog = Catalog(10_000)
    desk.numbers = ItemNumbers(desk.store, desk.catalog, shelf.clock)
    ids = [f"i{k}" for k in range(items)]
    desk.catalog.add(ids, desk.numbers.of(ids), now=0)
    return desk


def test_items_are_asked_for_again_a_chunk_a_tick_eight_times_as_often_as_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = twin_shelf(item_ids=9_000)
    desk = _filled(shelf, 2_500)
    asked = _asked(desk, monkeypatch)
    desk.numbers.keep()
    assert asked == []
    for _ in range(2):
        shelf.pass_time(_KEPT / 8)
        for _ in range(6):
            desk.numbers.keep()
        assert asked == [1_000, 1_000, 500]
        asked.clear()


def test_who_stood_still_asks_for_all_at_once_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile others may have had them forgotten, and numbered anew."""
    shelf = twin_shelf(item_ids=9_000)
    desk, other = _filled(shelf, 1_200), Desk(shelf)
    shelf.pass_time(_KEPT + 1)
    other.tick(["x"])
    shelf.pass_time(_KEPT + 1)
    assert other.tick(["i7"]) == {"i7": 1_202}
    asked = _asked(desk, monkeypatch)
    with capture_logs() as said:
        desk.numbers.keep()
        desk.numbers.keep()
    assert asked == [1_200]
    assert [line["event"] for line in said] == ["item numbers were not refreshed in time"]
    assert desk.catalog.number_N[7] == 1_202
    assert desk.catalog.rows_of_numbers(np.array([8, 1_202], np.uint32)).tolist() == [-1, 7]


def test_without_an_expiry_nothing_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = twin_shelf(item_ids=9_000, expire_seconds=0.0)
    desk = _filled(shelf, 10)
    asked = _asked(desk, monkeypatch)
    shelf.pass_time(1e9)
    desk.numbers.keep()
    assert asked == []


def test_a_store_that_does_not_answer_is_asked_again_later_and_one_that_was_lost_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = twin_shelf(item_ids=9_000)
    desk = _filled(shelf, 10)
    calls: list[int] = []

    def away(ids: Any) -> list[int]:
        calls.append(len(ids))
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(desk.store, "number_items", away)
        shelf.pass_time(_KEPT / 8)
        for _ in range(5):
            desk.numbers.keep()
        assert calls == [10], "the loop does not wait for it at every tick"
    asked = _asked(desk, monkeypatch)
    desk.numbers.keep()
    shelf.pass_time(60.0)
    desk.numbers.keep()
    assert asked == [10]
    shelf.store().fall_back()  # type: ignore[attr-defined]
    shelf.pass_time(_KEPT / 2)
    with pytest.raises(MemoriesLost):
        desk.numbers.keep()


def test_numbers_of_a_store_that_began_again_change_all_at_once() -> None:
    """Its first numbers are those that other rows had: asked for a chunk a tick, two would meet in one number."""
    shelf = twin_shelf(item_ids=9_000)
    desk = _filled(shelf, 2_500)
    rows = desk.catalog.live_rows()
    shelf.store().fall_back()  # type: ignore[attr-defined]
    shelf.store().begin_again()
    desk.numbers.begin_again()
    assert shelf.store().number_items([f"i{k}" for k in range(2_499, 1_000, -1)])[0] == 1
    shelf.pass_time(_KEPT)
    before = desk.catalog.number_N.copy()
    desk.numbers.keep()
    assert (desk.catalog.number_N == before).all()
    desk.numbers.renumber()
    assert desk.catalog.number_N[2_499] == 1
    assert desk.catalog.rows_of_numbers(desk.catalog.number_N[rows]).tolist() == rows.tolist()


def test_that_there_is_no_room_is_said_once_with_the_first_that_found_none() -> None:
    """An item without a number gets one when there is room."""
    shelf = twin_shelf(item_ids=2)
    desk = Desk(shelf)
    with capture_logs() as said:
        assert desk.tick(["a", "b", "c"]) == {"a": 1, "b": 2, "c": 0}
        assert desk.tick(["d", "a"]) == {"d": 0, "a": 1}
    [warning] = said
    assert (warning["log_level"], warning["first"]) == ("warning", "c")
    assert "memory.max_item_ids" in warning["event"]
    desk.catalog.evict(desk.catalog.find(["b"]).astype(np.int64))
    for _ in range(25):
        shelf.pass_time(_KEPT / 10)
        desk.numbers.keep()
    assert desk.tick(["c"])["c"] == 3, "what left made room"
