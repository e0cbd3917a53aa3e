"""No prediction knows what comes after it: not inside a batch, not at its edge, not by way of anything shared.

Two logs are equal up to a place and differ after it. Everything said before that place must be the same. What is said
at the place itself must not depend on the event there either: not on its item, not on its time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from model.batch import Batch
from model.learner_config import LearnerConfig
from model.predictor import Predictor
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


def long_gone_items(log: Sequence[Event], place: int) -> list[Event]:
    """All users go back to what was seen first: in a full catalogue that has left, and stands in rings still."""
    return [Event(e.user, f"i{k % 40}", e.ts, e.type) for k, e in enumerate(log[place:])]


def other_categories(log: Sequence[Event], place: int) -> list[Event]:
    """Everything is of one kind from now on."""
    return [Event(e.user, e.item, e.ts, e.type, 9) for e in log[place:]]


FUTURES = (other_categories, other_items, other_users, one_user, back_in_time, long_gone_items)
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
    sampled = changed(_BIG, full_softmax_items=10, loss="bpr_max", burn_in=4, stale_steps=2)
    for config in (_BIG, sampled, changed(_BIG, item_expiry_days=200 / 86_400, min_items=8)):
        one, other = _pair(config, place, future, seed=place)
        assert _said(one)[:place] == _said(other)[:place]
        assert any(tick.ranks for tick in one)


@pytest.mark.parametrize("place", _PLACES)
def test_no_list_knows_the_future_where_the_encoder_is_asked_about_the_latest_alone(place: int) -> None:
    """Which items those are follows from what was seen before, not from how many are still to come."""
    config = changed(_BIG, encoder_items=12)
    for future in (other_items, long_gone_items):
        ticks, others = _pair(config, place, future, seed=0)
        assert _said(ticks)[:place] == _said(others)[:place]


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


# Rings longer than what is left of the catalogue, and lists that name all of it.
_FULL = changed(SMALL, max_items=64, ring_size=40, list_length=40, neighbours=32)


def _with_gone_items(seed: int) -> list[Event]:
    """Users whose rings hold items that were popular once and have left the catalogue, and who go on with others."""
    rng = np.random.default_rng(seed)
    past = [Event(f"u{k % 4}", f"i{k // 4}", 1e9 + k) for k in range(160)]
    flood = [Event("u9", f"j{k}", 1e9 + 200 + k) for k in range(160)]
    return [*past, *flood, *[Event(f"u{rng.integers(0, 4)}", f"j{rng.integers(130, 160)}", 2e9 + k) for k in range(64)]]


@pytest.mark.parametrize("place", [339, 345, 351, 370])
def test_items_that_come_back_later_in_a_batch_are_not_back_before(place: int) -> None:
    """Neither from a user's ring, where they still stand, nor from the popularity that they are given back."""
    log = _with_gone_items(place)
    other = [*log[:place], *long_gone_items(log, place)]
    lines = Line(_FULL), Line(_FULL)
    one, two = (line.run(events, _SIZE) for line, events in zip(lines, (log, other), strict=True))
    assert lines[0].learner.catalog.find(["i0", "i39"]).tolist() == [-1, -1]
    assert lines[1].learner.catalog.find([other[-1].item])[0] >= 0
    tick, k = divmod(place, _SIZE)
    assert _said(one)[:place] == _said(two)[:place]
    assert one[tick].lists[k] == two[tick].lists[k]


def test_the_check_sees_an_item_that_is_back_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: with the rings as they stand, an item is named since it comes back later in the batch."""
    log = _with_gone_items(345)
    other = [*log[:345], *long_gone_items(log, 345)]
    monkeypatch.setattr(Batch, "born", lambda self, windows_BL, start: windows_BL)
    assert _said(Line(_FULL).run(log, _SIZE))[:345] != _said(Line(_FULL).run(other, _SIZE))[:345]


def _hit_rate(ticks: list[Tick]) -> float:
    """Of first to third places, over the second half."""
    ranks = [rank for tick in ticks for rank in tick.ranks]
    return float(np.mean([1 <= rank <= 3 for rank in ranks[len(ranks) // 2 :]]))


@pytest.mark.parametrize("loss", ["softmax", "bpr_max"])
def test_shuffling_the_items_of_a_batch_destroys_the_score(loss: str) -> None:
    """Who takes what is all that there was to know: what is left is what counting the hottest gives. A prediction that
    saw its own event would go on being right."""
    log, rng = markov_log(7, 2_400, items=30), np.random.default_rng(8)
    shuffled: list[Event] = []
    for start in range(0, len(log), 64):
        batch = log[start : start + 64]
        items = rng.permutation([event.item for event in batch]).tolist()
        shuffled += [Event(e.user, item, e.ts, e.type) for e, item in zip(batch, items, strict=True)]
    config = changed(_BIG, loss=loss)
    learned, destroyed = (_hit_rate(Line(config).run(events, 64)) for events in (log, shuffled))
    hottest = np.sort(np.bincount([int(event.item[1:]) for event in log]))[-3:].sum() / len(log)
    assert learned > 0.6
    assert destroyed < 1.5 * hottest < 0.25


def _later(log: Sequence[Event], place: int, seconds: float) -> list[Event]:
    """One event of another time; it ranks as the last of all that is known of it."""
    event = log[place]
    return [*log[:place], Event(event.user, event.item, event.ts + seconds, event.type), *log[place + 1 :]]


@pytest.mark.parametrize("seconds", [3.0, 1e5, -1e5])
def test_a_prediction_does_not_know_when_its_event_comes(seconds: float) -> None:
    """Its clock is that of the event before it. At the edge of a batch and inside: same list, rank and probability."""
    log = markov_log(11, _EVENTS, items=30)
    one = Line(_BIG).run(log, _SIZE)
    for place in (80, 95, 96, 103):
        other = Line(_BIG).run(_later(log, place, seconds), _SIZE)
        tick, k = divmod(place, _SIZE)
        assert _said(one)[: place + 1] == _said(other)[: place + 1]
        assert one[tick].lists[k] == other[tick].lists[k]
        assert one[tick].log_probabilities[k] == other[tick].log_probabilities[k]


def test_a_prediction_knows_when_the_event_before_it_came() -> None:
    """That clock is no constant: of another user's event a moment ago it tells how long this user has been idle."""
    log = markov_log(11, _EVENTS, items=30)
    one, moved = Line(_BIG).run(log, _SIZE), 0
    for place in (80, 95, 96, 103):
        other = Line(_BIG).run(_later(log, place - 1, 1e5), _SIZE)
        tick, k = divmod(place, _SIZE)
        assert log[place - 1].user != log[place].user
        moved += one[tick].log_probabilities[k] != other[tick].log_probabilities[k]
    assert moved == 4


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
        line.learner.life.begin(batch, windows, line.learner.events)
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
    live = Predictor._live
    monkeypatch.setattr(Predictor, "_live", lambda self, unborn: live(self, unborn[:0]))
    one, other = _pair(_BIG, 87, other_items, seed=87)
    assert _said(one)[:87] != _said(other)[:87]
