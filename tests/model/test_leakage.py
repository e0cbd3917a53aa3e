"""No prediction knows what comes after it: not inside a batch, not at its edge, not by way of anything shared.

Two logs are equal up to a place and differ after it. Everything said before that place must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from model.learner import Learner, LearnerConfig
from tests.model.lines import SMALL, Event, Line, Tick, changed, markov_log

_SIZE, _EVENTS = 16, 160
# Lists as long as the candidates, many of them the encoder's: whatever moves a score moves a place.
_BIG = changed(SMALL, max_items=4_000, list_length=40, encoder_candidates=24)
Futures = Callable[[Sequence[Event], int], list[Event]]


def other_items(log: Sequence[Event], place: int) -> list[Event]:
    """The same users go on to items that nobody has seen, ten a batch."""
    return [Event(e.user, f"unseen-{k % 10}-{k // 10}", e.ts, e.type) for k, e in enumerate(log[place:])]


def other_users(log: Sequence[Event], place: int) -> list[Event]:
    """Users never seen before, on known items, years later."""
    return [Event(f"stranger{k}", e.item, e.ts + 1e8, 2) for k, e in enumerate(log[place:])]


def one_user(log: Sequence[Event], place: int) -> list[Event]:
    """One user has all the other events: as many steps of the memory as the batch is long."""
    return [Event(log[0].user, e.item, e.ts, e.type) for e in log[place:]]


def back_in_time(log: Sequence[Event], place: int) -> list[Event]:
    """Clocks go wrong, and what was rare is all there is."""
    return [Event(e.user, log[0].item, 1.0, 1) for e in log[place:]]


FUTURES = (other_items, other_users, one_user, back_in_time)
_PLACES = [1, 87, 95, 96, 97, 111, 150]


def _said(ticks: list[Tick]) -> list[tuple[Any, ...]]:
    rows = [
        (tick.lists[k], tick.ranks[k], tick.outcome.repeat_B[k], tick.outcome.first_B[k])
        for tick in ticks
        for k in range(len(tick.lists))
    ]
    return rows


def _pair(config: LearnerConfig, place: int, future: Futures, seed: int) -> tuple[list[Tick], list[Tick]]:
    log = markov_log(seed, _EVENTS, items=30)
    other = [*log[:place], *future(log, place)]
    return Line(config).run(log, _SIZE), Line(config).run(other, _SIZE)


@pytest.mark.parametrize("future", FUTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("place", _PLACES)
def test_no_list_and_no_rank_knows_the_future(place: int, future: Futures) -> None:
    """Lists and ranks before the place where two logs part are the same, with the full softmax and with a sample."""
    for config in (_BIG, changed(_BIG, full_softmax_items=10)):
        one, other = _pair(config, place, future, seed=place)
        assert _said(one)[:place] == _said(other)[:place]
        assert any(tick.ranks for tick in one)


@pytest.mark.parametrize("place", _PLACES)
def test_a_list_does_not_know_the_item_it_is_scored_on(place: int) -> None:
    """The list at the place itself, for the same user at the same time, does not depend on what came."""
    one, other = _pair(_BIG, place, other_items, seed=place)
    tick, k = divmod(place, _SIZE)
    assert one[tick].lists[k] == other[tick].lists[k]
    assert one[-1].lists != other[-1].lists, "the futures are no different"


@pytest.mark.parametrize("future", FUTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("place", _PLACES)
def test_no_probability_knows_the_future(place: int, future: Futures) -> None:
    """log P(target), which the monitor averages, is the same, up to the last places that the shapes of products cost
    (the users of a batch go through the encoder together): the number of items that a batch brings is not in it."""
    one, other = _pair(_BIG, place, future, seed=place)
    first, second = ([p for tick in ticks for p in tick.log_probabilities][:place] for ticks in (one, other))
    assert first == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize("place", [151, 152, 158])
def test_items_evicted_for_a_later_event_are_still_there_for_an_earlier_one(place: int) -> None:
    """In a full catalogue, what makes room depends on the past only."""
    config = changed(SMALL, max_items=64)
    log = markov_log(place, 144, items=64, noise=0.9)
    log = [*[Event("u0", f"i{k}", 1e9) for k in range(64)], *log[:80], *log[100:116]]
    other = [*log[:place], *other_items(log, place)]
    one, two = Line(config).run(log, _SIZE), Line(config).run(other, _SIZE)
    assert _said(one)[:place] == _said(two)[:place]


@pytest.mark.parametrize("dim", [8, 24, 32])
def test_the_start_of_a_new_item_does_not_depend_on_later_new_items(dim: int) -> None:
    """The noise in a newcomer's vector is its own, whatever the width and however many newcomers a batch has."""
    config = changed(_BIG, dim=dim)
    vectors = []
    for newcomers in (1, 2, 9):
        line = Line(config)
        line.run(markov_log(0, 64), _SIZE)
        events = [Event("u0", f"new{min(k, newcomers - 1)}", 2e9) for k in range(_SIZE)]
        batch = line.batch(events)
        windows = np.full((_SIZE, config.ring_size), -1, np.int32)
        line.learner._start_new_items(batch, windows)
        vectors.append(line.learner.items.table_ND1[int(batch.row_B[0])].clone())
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors[0], vectors[2])


def test_a_list_names_only_items_that_somebody_has_touched_before() -> None:
    """Rows that a batch creates are masked for its earlier events; so are rows that were recycled."""
    config = changed(SMALL, max_items=64)
    rng = np.random.default_rng(0)
    log = [Event(f"u{rng.integers(0, 9)}", f"i{int(k // 3 + rng.integers(0, 6))}", 1e9 + k) for k in range(600)]
    touched: set[str] = set()
    named = 0
    for start, tick in zip(range(0, 600, _SIZE), (line := Line(config)).run(log, _SIZE), strict=True):
        for k, names in enumerate(tick.lists):
            assert set(names) <= touched
            assert len(set(names)) == len(names), "an item stands twice"
            named += len(names)
            touched.add(log[start + k].item)
    assert named > 1_000
    assert line.learner.catalog.evicted > 50, "no row was recycled"


def test_the_check_sees_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: with the ban on a batch's new rows lifted, the two logs do part too early."""
    candidates = Learner._candidates

    def leaky(self: Learner, context: Any, events: Any, new_rows: Any = None) -> Any:
        return candidates(self, context, events, None)

    monkeypatch.setattr(Learner, "_candidates", leaky)
    one, other = _pair(_BIG, 87, other_items, seed=87)
    assert _said(one)[:87] != _said(other)[:87]
