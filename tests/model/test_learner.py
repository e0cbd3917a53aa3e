"""The line as a whole: it resumes to the bit, stays in its bounds, obeys its masks, and learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.counting.proposers import NO_PROPOSER, PROPOSERS
from model.encoder.replay import Examples
from model.items.catalog import Catalog
from model.items.starts import hashed_vectors
from model.learner import Learner
from model.learner_config import LearnerConfig
from model.state import state_below
from tests.model.lines import CPU, EVERY_TYPE, SMALL, Event, Line, Tick, changed, markov_log, of_nobody

_SIZE = 16
_CONFIGS = {
    "full softmax": SMALL,
    "sampled softmax": changed(SMALL, full_softmax_items=8),
    "all else": changed(SMALL, loss="bpr_max", burn_in=3, stale_steps=4, item_expiry_days=300 / 86_400, min_items=8),
}


def _same_state(one: Line, other: Line) -> None:
    (arrays, meta), (their_arrays, their_meta) = one.state(), other.state()
    assert meta == their_meta
    assert arrays.keys() == their_arrays.keys()
    for name, array in arrays.items():
        assert array.tobytes() == their_arrays[name].tobytes(), name


def _lists(ticks: list[Tick]) -> list[Any]:
    return [(tick.lists, tick.ranks, tick.log_probabilities) for tick in ticks]


@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
def test_twice_the_same_log_gives_twice_the_same_bytes(config: LearnerConfig) -> None:
    """Lists, weights, moments, tables and generators."""
    log = markov_log(1, 320, items=90, noise=0.6)
    one, other = Line(config), Line(config)
    assert _lists(one.run(log, _SIZE)) == _lists(other.run(log, _SIZE))
    _same_state(one, other)


@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
@pytest.mark.parametrize("items", [20, 90])
@pytest.mark.parametrize("cut", [0, 16, 160])
def test_a_resumed_line_goes_on_to_the_bit(config: LearnerConfig, items: int, cut: int) -> None:
    """Stopped after any batch and loaded into a fresh learner, users moved through records: everything that follows
    is what an uninterrupted line says and learns, also with recycled rows (90 items in 64 rows)."""
    log = markov_log(2, 320, items=items, noise=0.6)
    whole, line = Line(config), Line(config)
    whole.run(log[:cut], _SIZE)
    line.run(log[:cut], _SIZE)
    line = line.resumed(changed(config, seed=77))
    assert _lists(whole.run(log[cut:], _SIZE)) == _lists(line.run(log[cut:], _SIZE))
    _same_state(whole, line)
    whole.spill()
    line.spill()
    assert whole.records == line.records


def test_a_state_is_plain_arrays_and_json(tmp_path: Any) -> None:
    """Nothing in `meta` but what JSON brings back as it was, and a snapshot that later learning does not alter."""
    import json

    line = Line()
    line.run(markov_log(3, 96), _SIZE)
    arrays, meta = line.state()
    assert json.loads(json.dumps(meta)) == meta
    copies = {name: array.copy() for name, array in arrays.items()}
    line.run(markov_log(4, 96), _SIZE)
    assert all(np.array_equal(copies[name], array, equal_nan=True) for name, array in arrays.items())


def _weights(line: Line) -> dict[str, bytes]:
    arrays, _ = line.state()
    kept = ("encoder", "ranker", "items", "counting", "replay", "catalog")
    return {name: array.tobytes() for name, array in arrays.items() if name.startswith(kept)}


def test_an_event_that_is_not_to_be_learned_leaves_the_line_as_it_was() -> None:
    """Weights, moments, counts, replay, generators and the catalogue's statistics; the memory does move on."""
    line, log = Line(), markov_log(5, 160)
    line.run(log[:128], _SIZE)
    before, events = _weights(line), line.learner.events
    remembered = line.learner.users.events_S.sum()
    line.feed(log[128:144], learn=[False] * 16)
    assert line.learner.events == events
    assert line.learner.users.events_S.sum() == remembered + 16
    after = _weights(line)
    assert [name for name in before if before[name] != after[name]] == []


def test_an_event_that_is_not_to_be_remembered_leaves_the_memory_as_it_was() -> None:
    """Rings, counters, states and next offsets; nobody becomes dirty."""
    line, log = Line(), markov_log(6, 160)
    line.run(log[:128], _SIZE)
    users = line.learner.users
    users.dirty_S[:] = False
    before = {name: column.copy() for name, column in users.get(users.occupied()).items()}
    line.feed(log[128:144], remember=[False] * 16, learn=[False] * 16)
    after = users.get(users.occupied())
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not users.dirty_S.any()


def test_masks_hold_event_by_event() -> None:
    """In one batch: only the learned events are counted, only the remembered ones move their users."""
    line, log = Line(), markov_log(7, 128)
    line.run(log, _SIZE)
    events = [Event(f"u{k}", f"i{k}", 2e9) for k in range(8)]
    remember = [k < 6 for k in range(8)]
    learn = [k < 3 for k in range(8)]
    counts, learned = line.learner.counting.tables.popularity.weight_PN[3].copy(), line.learner.events
    users = line.learner.users
    had = users.events_S[users.find([e.user for e in events])].copy()
    batch = line.feed(events, remember, learn).batch
    grew = line.learner.counting.tables.popularity.weight_PN[3] > counts
    assert [bool(grew[row]) for row in batch.row_B] == learn
    assert (users.events_S[batch.slot_B] > had).tolist() == remember
    assert line.learner.events == learned + 3


def test_a_batch_is_its_mini_batches_one_after_the_other() -> None:
    """To the bit, with new items in every one of them: those that the rest of the batch brings are not there yet."""
    config, log = changed(SMALL, max_items=4_000, mini_batch=16), markov_log(8, 256)
    log = [replace(event, item=f"i{k}") if k % 3 == 0 else event for k, event in enumerate(log)]
    whole, parts = Line(config), Line(config)
    for one, other in zip(whole.run(log, 64), _fours(parts.run(log, 16)), strict=True):
        assert one.lists == [names for tick in other for names in tick.lists]
        assert one.log_probabilities == [p for tick in other for p in tick.log_probabilities]
    _same_state(whole, parts)


def _fours(ticks: list[Tick]) -> list[list[Tick]]:
    return [ticks[start : start + 4] for start in range(0, len(ticks), 4)]


def test_ten_times_the_bounds_takes_no_more_room() -> None:
    """Users and items far past their bounds: the arrays stay as large as they were when the bounds were reached."""
    config = changed(SMALL, max_items=64)
    line = Line(config, max_users=24)
    rng = np.random.default_rng(8)

    def batch(start: int) -> list[Event]:
        return [Event(f"u{start + k // 2}", f"i{start + int(rng.integers(0, 16))}", 1e9 + start) for k in range(16)]

    held = []
    for start in range(0, 1_300, 8):
        line.feed(batch(start))
        held.append(line.bytes_held())
    assert len(line.numbers) > 10 * 64
    assert len(line.records) > 10 * 24
    assert len(line.learner.catalog) <= 64
    assert len(line.learner.users) <= 24
    assert max(held[20:]) <= 1.02 * held[20]
    tick = line.feed(batch(1_300))
    assert any(tick.lists)


def _hit_rates(log: Sequence[Event], line: Line) -> tuple[float, float]:
    """HR@1 of the line and of the most frequent item so far, over the second half."""
    ranks = [rank for tick in line.run(log, _SIZE) for rank in tick.ranks]
    counts: dict[str, int] = {}
    popular = []
    for event in log:
        popular.append(bool(counts) and max(counts, key=lambda item: counts[item]) == event.item)
        counts[event.item] = counts.get(event.item, 0) + 1
    half = len(log) // 2
    return float(np.mean([rank == 1 for rank in ranks[half:]])), float(np.mean(popular[half:]))


def test_it_learns_who_follows_whom() -> None:
    """On a noisy walk where four events of five are certain, the first place is right more than every second time."""
    ours, popular = _hit_rates(markov_log(9, 2_400), Line())
    assert popular < 0.2
    assert ours > 0.5


def test_the_encoder_learns_by_itself() -> None:
    """Its loss falls well below that of the first batches."""
    ticks = Line(changed(SMALL, dropout=0.1)).run(markov_log(10, 2_400), _SIZE)
    losses = [tick.outcome.losses["encoder"] for tick in ticks if "encoder" in tick.outcome.losses]
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:10])


def test_item_vectors_keep_unit_length() -> None:
    """Scoring all rows multiplies without normalising: it relies on this."""
    line = Line()
    line.run(markov_log(11, 320, items=40), _SIZE)
    norms = line.learner.items.all_vectors[line.learner.catalog.live_rows()].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-4)


def test_recommendations_are_probabilities_best_first_of_distinct_items() -> None:
    """For known users, a user without events, and more users than one batch."""
    line = Line()
    line.run(markov_log(12, 320), _SIZE)
    slots = line._recall([*(f"u{k}" for k in range(12)), "nobody"])
    lists = line.recommend(slots)
    for row, score in zip(lists.rows_UK.tolist(), lists.scores_UK.tolist(), strict=True):
        named = [r for r in row if r >= 0]
        assert len(named) == 5
        assert len(set(named)) == 5
        assert score == sorted(score, reverse=True)
        assert 0 < sum(score) <= 1 + 1e-5


def test_recommending_changes_nothing() -> None:
    """It may be asked at any time, any number of times."""
    line = Line()
    line.run(markov_log(13, 160), _SIZE)
    before = _weights(line)
    slots = line._recall(["u0", "u1"])
    first = line.recommend(slots).rows_UK.tolist()
    assert line.recommend(slots).rows_UK.tolist() == first
    assert _weights(line) == before


def test_each_item_of_a_list_keeps_its_proposer() -> None:
    """Where users' own items alone are proposed, those stand in the ring, and all others only fill the lists up."""
    line = Line(changed(SMALL, ring_size=3, window=3))
    line.run(markov_log(13, 160), _SIZE)
    own = PROPOSERS.index("own")
    line.learner.counting.quota_RS[:, np.arange(len(PROPOSERS)) != own] = 0
    slots = line._recall(["u0", "u1", "u2", "nobody"])
    lists = line.recommend(slots)
    rings = line.learner.catalog.rows_of_numbers(line.learner.users.number_SL[slots])
    for rows, proposers, ring in zip(lists.rows_UK, lists.proposer_UK, rings, strict=True):
        expected = [own if row in ring and row >= 0 else NO_PROPOSER for row in rows]
        assert proposers.tolist() == expected
    assert {own, NO_PROPOSER} == set(lists.proposer_UK[0].tolist())
    assert set(lists.proposer_UK[3].tolist()) == {NO_PROPOSER}


def test_a_line_without_items_recommends_nothing() -> None:
    """The first user of all gets an empty list."""
    line = Line()
    lists = line.recommend(line._recall(["u"]))
    assert lists.rows_UK.tolist() == [[-1] * 5]
    assert lists.proposer_UK.tolist() == [[NO_PROPOSER] * 5]


def test_attention_explains_the_last_items() -> None:
    """Weights over the user's own last items, newest last."""
    line = Line()
    line.run(markov_log(14, 160), _SIZE)
    events = [Event("alice", f"i{k}", 2e9 + k) for k in (3, 1, 4)]
    line.feed(events)
    rows, weights = line.learner.predictor.attention(int(line._recall(["alice"])[0]))
    ids = line.learner.catalog.ids
    assert [ids[row] if row >= 0 else None for row in rows.tolist()] == [None, "i3", "i1", "i4"]
    assert weights[0] == 0
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)


def test_rebuilt_states_are_those_of_serving() -> None:
    """A ring run through the line's own LSTM gives the state that steps gave, up to half precision."""
    line = Line(changed(SMALL, replayed=0.0))
    line.run(markov_log(15, 160), _SIZE)
    for k in range(4):
        line.feed([Event("fresh", f"i{k}", 2e9 + 10 * k)], learn=[False])
    slot = line._recall(["fresh"])
    stepped = [state.clone() for state in line.learner.users.state(slot)]
    line.learner.rebuild(slot, of_nobody)
    for served, rebuilt in zip(stepped, line.learner.users.state(slot), strict=True):
        torch.testing.assert_close(rebuilt, served, rtol=0, atol=4e-3)


def test_an_evicted_item_in_a_ring_reads_no_other_items_vector() -> None:
    """A place without a row is a gap. It must not stand for whatever item row 0 holds today."""
    line = Line()
    line.run(markov_log(16, 160), _SIZE)
    line.feed([Event("alice", f"i{k}", 2e9 + k) for k in (5, 6, 7, 8)])
    slot = line._recall(["alice"])
    line.learner.users.number_SL[slot, -2] = 60_000  # an item that this line has no row for
    states = []
    for row_0 in (1.0, -1.0):
        line.learner.items.all_vectors[0] = torch.nn.functional.normalize(torch.full((16,), row_0), dim=0)
        line.learner.rebuild(slot, of_nobody)
        states.append(line.learner.users.state(slot)[0].clone())
    assert 0 not in line.learner.catalog.rows_of_numbers(line.learner.users.number_SL[slot])
    assert torch.equal(states[0], states[1])


def test_raising_the_bound_of_items_between_two_starts_keeps_all_tables_of_one_size() -> None:
    """The counting kernel checks no index: its tables must have a row for each row of the catalogue."""
    small = changed(SMALL, max_items=80)
    line = Line(small)
    line.run(markov_log(17, 160, items=80, noise=0.9), _SIZE)
    learner = line.resumed(changed(small, max_items=4_000)).learner
    assert learner.counting.rows == learner.items.rows == learner.items.adam.m.shape[0]
    assert learner.counting.rows >= learner.catalog.capacity


@pytest.mark.parametrize(
    ("fields", "anew"),
    [
        ({"dim": 32}, {"item vectors", "encoder", "training windows"}),
        ({"replay_capacity": 128}, {"training windows"}),
        ({"burn_in": 2}, {"training windows"}),
        ({"window": 3}, {"encoder", "training windows"}),
    ],
)
def test_parts_that_a_state_does_not_fit_begin_anew(fields: dict[str, int], anew: set[str]) -> None:
    """Each is named; what was counted stays."""
    line, learner, load = _loaded(fields)
    assert load().keys() == anew
    assert learner.events == line.learner.events
    assert learner.counting.state_dict().keys() == line.learner.counting.state_dict().keys()
    assert len(learner.catalog) == len(line.learner.catalog)


def test_counts_of_other_sizes_are_refused() -> None:
    """Without them nothing would be left: an error when it is loaded, not a crash (or worse) later."""
    _, _, load = _loaded({"neighbours": 64})
    with pytest.raises(ValueError, match=r"model\.neighbours: the state has 8, the configuration 64"):
        load()


def _loaded(fields: dict[str, int]) -> tuple[Line, Learner, Callable[[], dict[str, str]]]:
    """A line, a learner under other settings, and what loads the state of the one into the other."""
    line = Line()
    line.run(markov_log(18, 96), _SIZE)
    arrays, meta = line.state()
    numbers = [line.numbers[item] for item in Catalog.ids_of_state(state_below(arrays, "catalog"))]
    learner = Learner(changed(SMALL, **fields), CPU, 100, EVERY_TYPE)
    return line, learner, lambda: learner.load_state_dict(arrays, meta, numbers)


_FIXED = changed(SMALL, learning=False, item_vectors="hashed")


def _networks(learner: Learner) -> dict[str, bytes]:
    arrays, _ = learner.state_dict()
    return {name: array.tobytes() for name, array in arrays.items() if name.startswith(("encoder", "ranker"))}


def _states(line: Line, users: Sequence[str]) -> torch.Tensor:
    return torch.cat(line.learner.users.state(line._recall(list(users))), dim=1)


def test_first_weights_depend_on_the_seed_alone() -> None:
    """Not on the size of the user table, nor on what was drawn before: every worker of a group begins alike."""
    one = Learner(SMALL, CPU, 500, EVERY_TYPE)
    torch.rand(7)
    assert _networks(Learner(SMALL, CPU, 24, EVERY_TYPE)) == _networks(one)
    assert _networks(Learner(changed(SMALL, seed=1), CPU, 500, EVERY_TYPE)) != _networks(one)


def test_without_learning_weights_stay_as_they_were_made() -> None:
    """No loss, no step of an optimizer; counting goes on, and lists are made from it."""
    line = Line(changed(SMALL, learning=False))
    before = _networks(line.learner)
    ticks = line.run(markov_log(18, 160), _SIZE)
    assert _networks(line.learner) == before
    assert not any(tick.outcome.losses for tick in ticks)
    assert line.learner.events == 160
    assert all(ticks[-1].lists)


def test_hashed_item_vectors_are_the_same_everywhere_and_for_ever() -> None:
    """Of unit length, without a likeness between one id and the next; nothing is known of an item without an id."""
    vectors = hashed_vectors(["i1", "i2", None], 4)
    expected = torch.tensor([[-0.3748, 0.2014, -0.8977, -0.1146], [-0.3432, -0.5437, -0.7435, -0.1839], [0.0] * 4])
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-4)
    many = hashed_vectors([f"i{k}" for k in range(400)], 64)
    likeness = many @ many.T - torch.eye(400)
    assert likeness.abs().max() < 0.7
    assert likeness.mean().abs() < 0.01


@pytest.mark.parametrize("items", [20, 90])
def test_hashed_item_vectors_are_never_learned(items: int) -> None:
    """Also in recycled rows (90 items in 64), and in a line that goes on from a checkpoint; the networks do learn."""
    line = Line(changed(SMALL, item_vectors="hashed"))
    log = markov_log(19, 320, items=items, noise=0.6)
    before = _networks(line.learner)
    line.run(log[:160], _SIZE)
    line = line.resumed()
    line.run(log[160:], _SIZE)
    rows = line.learner.catalog.live_rows()
    expected = hashed_vectors([line.learner.catalog.ids[row] for row in rows], SMALL.dim)
    assert torch.equal(line.learner.items.all_vectors[rows], expected)
    assert _networks(line.learner) != before


def test_states_follow_from_a_users_events_alone() -> None:
    """Nobody learns and item vectors are hashed: a line that sees the user among others, in batches of another size
    and items in another order, has the same (h, c); one that begins with another seed has not."""
    log = markov_log(20, 320)
    mine = [event for event in log if event.user in ("u3", "u4")]
    crowded, alone, other = Line(_FIXED), Line(_FIXED), Line(changed(_FIXED, seed=1))
    crowded.run(log, _SIZE)
    alone.feed([Event("nobody", f"i{k}", 1.5e9) for k in reversed(range(20))])
    alone.run(mine, 1)
    other.run(mine, 1)
    found, expected = (_states(line, ["u3", "u4"]) for line in (crowded, alone))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert (_states(other, ["u3", "u4"]) - expected).abs().max() > 0.1


def test_a_line_rebuilds_states_from_items_it_has_never_seen() -> None:
    """A user moves to a line without rows for the ring's items: it asks for their ids, and has the same (h, c)."""
    line = Line(_FIXED)
    line.run(markov_log(21, 160), _SIZE)
    line.feed([Event("alice", f"i{k}", 2e9 + 10 * k) for k in range(5)])
    expected = _states(line, ["alice"]).clone()
    line.spill()
    successor = Line(_FIXED, records=line.records, numbers=line.numbers)
    successor.feed([Event("bob", "i2", 2e9)])
    ids = {number: item for item, number in line.numbers.items()}
    successor.learner.rebuild(successor._recall(["alice"]), lambda numbers: [ids[number] for number in numbers])
    torch.testing.assert_close(_states(successor, ["alice"]), expected, rtol=0, atol=2e-3)
    successor.learner.rebuild(successor._recall(["alice"]), of_nobody)
    assert (_states(successor, ["alice"]) - expected).abs().max() > 0.02


def test_learning_waits_for_a_mini_batch() -> None:
    """However few events come at once: lists do not wait, but a step takes as many examples as in a replay."""
    line = Line(changed(SMALL, mini_batch=16))
    log = markov_log(3, 160)
    losses = [bool(tick.outcome.losses) for tick in line.run(log, 4)]
    assert losses == ([False] * 2 + [True]) * 13 + [False]
    assert line.learner.steps == 13
    assert line.learner.collected == 4


def test_what_waits_to_be_learned_survives() -> None:
    """A line that is resumed between two steps learns from the same examples as one that goes on."""
    log = markov_log(3, 400)
    line = Line(changed(SMALL, mini_batch=32))
    line.run(log[:104], 8)
    assert line.learner.collected == 8
    other = line.resumed()
    assert other.learner.collected == 8
    line.run(log[104:], 8)
    other.run(log[104:], 8)
    (ours, meta), (theirs, other_meta) = line.state(), other.state()
    assert meta == other_meta
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []


def test_what_waits_names_an_evicted_item_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row may be another item's by the time that the step is made."""
    line = Line(changed(SMALL, mini_batch=32))
    line.run(markov_log(3, 160), 32)
    line.feed(markov_log(3, 168)[160:])
    fresh = line.learner.encoder_trainer.fresh
    row = int(fresh["target"][0])
    line.recycle(row)
    seen: list[Examples] = []
    step = line.learner.encoder_trainer._step

    def noted_step(examples: Examples, *rest: Any) -> float:
        seen.append(examples)
        return step(examples, *rest)

    monkeypatch.setattr(line.learner.encoder_trainer, "_step", noted_step)
    line.run(markov_log(4, 24), 24)
    assert len(seen) == 1
    assert row not in seen[0]["target"]
    assert row not in seen[0]["window"]


def test_what_is_only_remembered_leaves_the_weights_and_makes_the_same_memories() -> None:
    """Events that were learned before: a line that scores them and one that does not remember the same."""
    log = markov_log(3, 160, items=40)
    one, other = Line(), Line()
    for line in (one, other):
        line.run(log[:80], _SIZE)
    weights = [parameter.clone() for parameter in other.learner.encoder.parameters()]
    for start in range(80, 160, _SIZE):
        events = log[start : start + _SIZE]
        one.feed(events, learn=[False] * _SIZE)
        other.learner.remember(other.batch(events), other.pace)
    one.spill()
    other.spill()
    assert one.records == other.records
    assert all(torch.equal(*pair) for pair in zip(weights, other.learner.encoder.parameters(), strict=True))


@pytest.mark.parametrize("least", [{"mini_batch": 1}, {"ranker_hard": 0}, {"ranker_drawn": 1}, {"ranker_replayed": 0}])
def test_the_least_that_is_allowed_still_learns(least: dict[str, int]) -> None:
    ticks = Line(changed(SMALL, **least)).run(markov_log(9, 96), _SIZE)
    assert all(np.isfinite(tick.log_probabilities).all() for tick in ticks)
    assert "ranker" in ticks[-1].outcome.losses
