"""Sets: no event of a record came after another one of it, and what is said of each knows none of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.encoder.prefixes import prefixes
from model.pace import Pace
from model.sets import begins, chains, own_begins, pieces
from tests.model.lines import SMALL, Event, Line, Tick, changed, markov_log

# Lists as long as the candidates: whatever moves a score moves a place. One mini-batch, in which no weight steps.
_CONFIG = changed(SMALL, mini_batch=64, max_items=4_000, list_length=40, encoder_candidates=24)
_sizes = st.lists(st.integers(1, 9), max_size=20)


def _within(sizes: Sequence[int]) -> list[int]:
    return [k for size in sizes for k in range(size)]


def as_sets(log: Sequence[Event], sizes: Sequence[int]) -> list[Event]:
    """The events of a log, marked as sets of these sizes, each at the time of its first event."""
    marked: list[Event] = []
    for event, within in zip(log, _within(sizes), strict=True):
        marked.append(replace(event, within=within, ts=marked[-1].ts if within else event.ts))
    return marked


@given(sizes=_sizes, size=st.integers(1, 12))
@example([], 3)
@example([9, 1], 3)
def test_a_batch_is_cut_at_the_beginning_of_a_set_only(sizes: list[int], size: int) -> None:
    """All events in order, in pieces of at most `size`, or of one set that is longer; of single events as ever."""
    within = np.array(_within(sizes), np.int16)
    found = list(pieces(within, size))
    parts = [np.arange(len(within))[piece] for piece in found]
    assert np.concatenate(parts).tolist() == list(range(len(within)))
    assert all(within[part[0]] == 0 for part in parts if len(part))
    assert all(len(part) <= size or np.count_nonzero(within[part] == 0) == 1 for part in parts)
    flat = np.zeros(len(within), np.int16)
    assert list(pieces(flat, size)) == [slice(at, at + size) for at in range(0, max(1, len(flat)), size)]


@given(sizes=_sizes, data=st.data())
def test_each_user_of_a_set_begins_where_the_set_first_names_them(sizes: list[int], data: st.DataObject) -> None:
    within = _within(sizes)
    slots = [data.draw(st.integers(0, 3)) for _ in within]
    own, start = [], 0
    for k, slot in enumerate(slots):
        start = k if within[k] == 0 else start
        own.append(slots.index(slot, start))
    found = own_begins(np.array(within, np.int16), np.array(slots, np.int64))
    assert found.tolist() == own
    assert begins(np.array(within, np.int16)).tolist() == [k - w for k, w in enumerate(within)]
    chain = chains(found, np.array(slots, np.int64))
    for k, j in [(b, a) for b in range(len(slots)) for a in range(b) if slots[a] == slots[b]]:
        between = [m for m in range(j, k + 1) if slots[m] == slots[k] and own[m] != m]
        assert (chain[k] == chain[j]) == (not between)


def _said(tick: Tick, k: int) -> tuple[object, ...]:
    outcome = tick.outcome
    return tick.lists[k], tick.ranks[k], bool(outcome.repeat_B[k]), bool(outcome.first_B[k]), int(outcome.age_B[k])


def _trained(seed: int = 5) -> Line:
    line = Line(_CONFIG)
    line.run(markov_log(seed, 192, items=30), 64)
    return line


_ITEMS = ["i3", "i7", "i7", "new-a", "i12", "new-b", "new-a"]
_TRAINED = _trained()


def _after(*batches: list[Event]) -> list[Tick]:
    """What a trained line says of these batches."""
    line = _TRAINED.resumed()
    return [line.feed(batch) for batch in batches]


def _order(user: str, items: Sequence[str], ts: float = 2e9) -> list[Event]:
    return [Event(user, item, ts, within=k) for k, item in enumerate(items)]


@pytest.mark.parametrize("user", ["u0", "stranger"])
@settings(max_examples=12, deadline=None)
@given(shuffled=st.permutations(range(len(_ITEMS))), kept=st.integers(1, len(_ITEMS)))
def test_what_is_said_of_an_event_knows_no_other_one_of_its_set(user: str, shuffled: list[int], kept: int) -> None:
    """Not which ones there are, nor in which order: as if each had been the only one."""
    alone = {item: _after(_order(user, [item]))[0] for item in set(_ITEMS)}
    items = [_ITEMS[k] for k in shuffled[:kept]]
    tick = _after(_order(user, items))[0]
    for k, item in enumerate(items):
        assert _said(tick, k) == _said(alone[item], 0)
        # The users of a batch go through the encoder together, so the last places depend on their number.
        assert tick.log_probabilities[k] == pytest.approx(alone[item].log_probabilities[0], abs=1e-5)


def test_several_users_of_a_set_know_nothing_of_each_other() -> None:
    """Each is predicted as before the record, whoever stands before them in it."""
    users = ["u0", "u1", "u0", "u2", "u1"]
    events = [Event(user, f"i{k}", 2e9, within=k) for k, user in enumerate(users)]
    tick = _after(events)[0]
    for k, event in enumerate(events):
        assert _said(tick, k) == _said(_after([replace(event, within=0)])[0], 0)


def test_an_event_after_a_set_knows_all_of_it() -> None:
    """Its list is made from a ring that ends with the set's items, in the order in which they stand."""
    line = _TRAINED.resumed()
    tick = line.feed([*_order("u0", ["i3", "i7", "new"]), Event("u0", "i9", 2e9 + 5)])
    ring = [line.learner.catalog.ids[row] for row in tick.outcome.windows_BL[3][-3:]]
    assert ring == ["i3", "i7", "new"]
    assert tick.lists[3] != tick.lists[2]
    assert "new" in tick.lists[3]
    assert not any("new" in names for names in tick.lists[:3])


def test_a_memory_holds_the_items_of_a_set_in_order() -> None:
    """Ring and state are those of the same events one after another at the same time."""
    config = changed(_CONFIG, learning=False)
    log = as_sets(markov_log(2, 60), [3, 1, 5, 1, 1, 7, 2] * 3)
    sets, flat = Line(config), Line(config)
    sets.feed(log)
    flat.feed([replace(event, within=0) for event in log])
    one, other = (line.learner.users.get(line.learner.users.occupied()) for line in (sets, flat))
    for name in ("number", "type", "gap", "events", "ts", "h", "c"):
        assert np.array_equal(one[name], other[name]), name


def test_an_item_that_comes_back_in_a_set_is_not_back_for_any_of_it() -> None:
    """It stands in the user's ring still, as an item that has left the catalogue, and gets a row with this batch."""
    config = changed(_CONFIG, max_items=64, ring_size=40, neighbours=32, mini_batch=16)
    line = Line(config)
    line.run([Event("u0", f"gone{k}", 1e9 + k) for k in range(4)], 4)
    line.run([Event("u9", f"j{k}", 1e9 + 9 + k) for k in range(200)], 16)
    assert line.learner.catalog.find(["gone0", "gone3"]).tolist() == [-1, -1]
    order = _order("u0", ["j198", "gone3", "gone0", "gone3"])
    tick = line.feed([Event("u1", "j199", 2e9), *order, Event("u0", "j2", 2e9)])
    back = line.learner.catalog.find(["gone0", "gone3"])
    assert not any({"gone0", "gone3"} & set(names) for names in tick.lists[:5])
    assert [np.isin(back, ring).any() for ring in tick.outcome.windows_BL] == [False] * 5 + [True]
    assert tick.outcome.age_B[2] == tick.outcome.age_B[4] == -1


@pytest.mark.parametrize("thinning", [2, 3])
def test_of_a_set_all_events_are_examined_or_none(thinning: int) -> None:
    line = Line(changed(SMALL, mini_batch=32, max_items=400))
    line.pace = Pace(thinning=thinning)
    sizes, examined = [4, 1, 3, 6, 2] * 10, []
    log = as_sets(markov_log(0, sum(sizes)), sizes)
    tick = line.feed(log)
    start = 0
    for size in sizes:
        of_set = tick.outcome.examined_B[start : start + size]
        assert of_set.all() or not of_set.any()
        examined.append(bool(of_set.any()))
        start += size
    assert 0 < sum(examined) < len(sizes)


def _trained_on(line: Line) -> Counter[tuple[tuple[str, ...], str]]:
    """What the collected windows predict, as (items before, item)."""
    examples, ids = line.learner.encoder_trainer.fresh, line.learner.catalog.ids
    predicted = prefixes(examples, line.learner.config.window, np.ones(16, np.bool_))
    windows = [tuple(ids[row] for row in window if row >= 0) for window in predicted.windows_XW.tolist()]
    return Counter(zip(windows, (ids[row] for row in predicted.target_X.tolist()), strict=True))


@pytest.mark.parametrize("targets", [1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_every_event_is_trained_on_once_after_what_came_before_its_set(seed: int, targets: int) -> None:
    """Whichever windows predict several events: none has an event of a set before another one of it."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 24).tolist()
    log = as_sets(markov_log(seed, sum(sizes), users=3), sizes)
    log = [replace(event, item=f"{k}") for k, event in enumerate(log)]
    config = changed(_CONFIG, mini_batch=128, targets=targets, window=6)
    line = Line(config)
    line.learner.learn(line.batch(log), line.pace)
    rings: dict[str, list[str]] = {}
    expected, waiting = set(), list[Event]()
    for event in log:
        if event.within == 0:
            for earlier in waiting:
                rings.setdefault(earlier.user, []).append(earlier.item)
            waiting = []
        waiting.append(event)
        if before := rings.get(event.user):
            expected.add((before[-1], event.item))
    found = [(window[-1], item) for window, item in _trained_on(line).elements()]
    assert sorted(found) == sorted(expected)


def test_a_replayed_window_predicts_no_event_of_a_set_after_another_one() -> None:
    """The bound goes with the window, and with the user from batch to batch."""
    line = Line(changed(_CONFIG, mini_batch=128))
    line.feed([Event("u", "a", 1e9), *_order("u", ["b", "c", "d"], 1e9 + 1)])
    line.feed([Event("u", "e", 1e9 + 2)])
    line.feed([Event("u", "f", 1e9 + 3)])
    examples = line.learner.encoder_trainer.fresh
    ids = line.learner.catalog.ids
    most = {ids[row]: bound for row, bound in zip(examples["target"].tolist(), examples["most"].tolist(), strict=True)}
    assert most == {"b": 255, "c": 255, "d": 255, "e": 1, "f": 2}


@pytest.mark.parametrize("size", [1, 7, 64])
def test_of_sets_of_one_all_is_as_it_is_without_sets(size: int) -> None:
    """To the bit, weights and counts."""
    log = markov_log(1, 128)
    one, other = Line(SMALL), Line(SMALL)
    ticks = one.run(log, size)
    for tick, again in zip(ticks, other.run(as_sets(log, [1] * len(log)), size), strict=True):
        assert tick.lists == again.lists
        assert tick.log_probabilities == again.log_probabilities
    arrays, others = one.state()[0], other.state()[0]
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_events_of_a_set_that_are_remembered_or_learned_already_keep_their_place() -> None:
    """What is not to be remembered enters no ring, what is not to be learned is not counted; the others are as ever."""
    line = _TRAINED.resumed()
    before = line.learner.events
    events = _order("u0", ["i3", "i7", "i9", "i4"])
    tick = line.feed(events, remember=[True, False, True, True], learn=[True, False, False, True])
    number = line.learner.users.get(line.learner.users.find(["u0"]))["number"][0]
    ids = {number: item for item, number in line.numbers.items()}
    assert [ids[int(n)] for n in number[-3:]] == ["i3", "i9", "i4"]
    assert line.learner.events == before + 2
    for k in (0, 3):
        assert _said(tick, k)[0] == _said(_after([events[0]])[0], 0)[0]


def test_another_session_splits_what_a_short_time_joins() -> None:
    """The same one, or one that is not told, changes nothing; nor does the same one join what a long time parts."""
    line = Line(_CONFIG)
    hour = 3_600.0
    told = [(0.0, 5), (1.0, 5), (2.0, 6), (3.0, 0), (4.0, 6), (hour + 4.0, 6), (hour + 5.0, 7)]
    line.feed([Event("u", f"i{k}", 1e9 + ts, session=session) for k, (ts, session) in enumerate(told)])
    gaps = line.learner.users.get(line.learner.users.find(["u"]))["gap"][0][-len(told) :]
    assert gaps.tolist() == [31, 1, 11, 1, 1, 11, 11]
