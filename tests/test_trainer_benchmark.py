"""The trainer that the worker is held against: its mini-batches, its state, and that it learns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.offline.evaluate import Score, ranked, score_of
from benchmarks.offline.gru4rec import Gru4RecConfig
from benchmarks.offline.log import Log, log_of
from benchmarks.trainer import (
    Comparison,
    Gru4RecTrainer,
    Row,
    SessionParallel,
    TrainerConfig,
    in_tenths,
    row,
    trainer_scores,
    verdicts,
)

LANES = 7
lanes = pytest.mark.parametrize("lanes", [1, LANES, 300])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def walk(users: int = 60, events: int = 2_000, items: int = 12, even: bool = False) -> Log:
    """Users who take the items in one fixed order, each from a place of its own, in random turns; not `even`: every
    other turn is the first user's."""
    rng = np.random.default_rng(0)
    at = rng.integers(0, items, users)
    turns = rng.integers(0, users, events) * (rng.integers(0, 2, events) | even)
    names = []
    for user in turns.tolist():
        at[user] += 1
        names.append(f"i{at[user] % items}")
    return log_of([f"u{user}" for user in turns.tolist()], names)


def histories(log: Log, end: int) -> list[list[int]]:
    """The item rows of each user, in the order of their first events."""
    rows: list[list[int]] = [[] for _ in log.user_names]
    for user, item in zip(log.user_E[:end].tolist(), log.item_E[:end].tolist(), strict=True):
        rows[user].append(item + 1)
    return rows


def sessions_by_lane(batches: SessionParallel) -> dict[int, list[list[int]]]:
    """What each lane is led through, cut where it is reset."""
    by_lane: dict[int, list[list[int]]] = {}
    for batch in batches:
        for before, after, lane, carried in zip(*(column.tolist() for column in batch), strict=True):
            sessions = by_lane.setdefault(lane, [])
            if not carried:
                sessions.append([before])
            assert sessions[-1][-1] == before
            sessions[-1].append(after)
    return by_lane


@lanes
def test_every_event_but_a_sessions_first_is_a_target_once_in_a_lane_of_its_own(lanes: int) -> None:
    """Sessions go through lanes whole; a lane is reset where the next one begins."""
    log = walk()
    batches = SessionParallel(log, 1_500, lanes)
    seen = [tuple(session) for sessions in sessions_by_lane(batches).values() for session in sessions]
    expected = [tuple(rows) for rows in histories(log, 1_500) if len(rows) > 1]
    assert Counter(seen) == Counter(expected)
    assert batches.targets == sum(len(batch.targets_B) for batch in batches) == sum(len(rows) - 1 for rows in expected)


@lanes
def test_no_lane_is_idle_while_a_session_waits_and_none_is_in_a_step_twice(lanes: int) -> None:
    log = walk()
    steps = [batch.lane_B.tolist() for batch in SessionParallel(log, 1_500, lanes)]
    assert all(step == sorted(set(step)) for step in steps)
    last_begun = max(number for number, batch in enumerate(SessionParallel(log, 1_500, lanes)) if not batch[3].all())
    assert all(len(step) == lanes for step in steps[:last_begun])


def test_sessions_begin_in_the_order_of_their_first_events() -> None:
    log = log_of(list("abcabcabddd"), [f"i{n}" for n in range(11)])
    steps = [tuple(zip(*(column.tolist() for column in batch), strict=True)) for batch in SessionParallel(log, 11, 2)]
    assert steps == [
        ((1, 4, 0, 0), (2, 5, 1, 0)),
        ((4, 7, 0, 1), (5, 8, 1, 1)),
        ((3, 6, 0, 0), (9, 10, 1, 0)),
        ((10, 11, 1, 1),),
    ]


def first_step_with(batches: SessionParallel, changed: set[int]) -> int:
    """The first step that reads or predicts one of these item rows."""
    return next(
        number
        for number, batch in enumerate(batches)
        if changed & {*batch.inputs_B.tolist(), *batch.targets_B.tolist()}
    )


def test_later_events_change_no_earlier_batch() -> None:
    """Not at all past the end; before it, only from the step on that one of them is in."""
    log = walk(items=40)
    item_E = log.item_E.copy()
    item_E[1_200:] = 40 + np.arange(800)
    changed = Log(log.user_E, item_E, log.user_names, [*log.item_names, *map(str, range(800))])
    for end in (1_200, 1_500):
        plain, other = SessionParallel(log, end, LANES), SessionParallel(changed, end, LANES)
        same = first_step_with(other, set(range(41, 841))) if end > 1_200 else None
        pairs = list(zip(plain, other, strict=True))[:same]
        assert pairs
        assert all(torch.equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))


def still(lanes: int) -> TrainerConfig:
    """Nothing is learned or dropped, so that states can be compared."""
    return TrainerConfig(lanes, Gru4RecConfig(dropout_input=0.0, dropout_hidden=0.0, learning_rate=0.0), negatives=16)


def test_a_lanes_state_is_that_of_its_session_alone() -> None:
    """As if the session's events were read in one go, from nothing."""
    log = walk(users=30, events=200)
    trainer = Gru4RecTrainer(log, 200, still(LANES))
    with torch.no_grad():
        states = {tuple(rows): trainer.model(torch.tensor([rows]))[0] for rows in histories(log, 200) if len(rows) > 1}
    hidden_LD = torch.zeros(LANES, 100)
    read: dict[int, list[int]] = {}
    for batch in trainer.batches:
        trainer._step(batch, hidden_LD)
        for before, lane, carried in zip(
            batch.inputs_B.tolist(), batch.lane_B.tolist(), batch.carried_B.tolist(), strict=True
        ):
            read[lane] = [*read[lane], before] if carried else [before]
            expected_D = next(
                s[len(read[lane]) - 1] for rows, s in states.items() if [*rows[: len(read[lane])]] == read[lane]
            )
            assert torch.allclose(hidden_LD[lane], expected_D, atol=1e-5)


def test_a_step_moves_only_the_vectors_of_the_items_in_it() -> None:
    log = walk(items=200, events=4_000)
    trainer = Gru4RecTrainer(log, 4_000, replace(TrainerConfig(LANES), negatives=20))
    before_ND = trainer.model.items.weight.detach().clone()
    next(iter(trainer.steps()))
    moved = (trainer.model.items.weight != before_ND).any(1)
    batch = next(iter(trainer.batches))
    assert moved[batch.targets_B].all()
    assert 0 < moved.sum() <= 2 * LANES + 20
    assert not moved[0]


def test_a_cycle_is_learned() -> None:
    """The next item stands first nearly always, of a part that was not trained on."""
    log = walk(users=200, even=True)
    trainer = Gru4RecTrainer(log, 1_800, replace(TrainerConfig(16), negatives=32))
    losses = [trainer.epoch() for _ in range(4)]
    assert losses[-1] < losses[0]
    events = np.flatnonzero(log.histories().scored() & in_tenths(len(log), [10]))
    lists = ranked(trainer.model, log, log.histories(), events, 1_800, 50)
    assert score_of(lists, log.item_E[events]).mrr > 0.95


def test_scores_are_of_the_scored_events_of_the_tenths_after_so_many_epochs() -> None:
    log = walk(users=200, items=60, even=True)
    config = replace(TrainerConfig(16), negatives=32)
    scores = trainer_scores(log, config, [3, 10], [1, 3])
    scored_E = log.histories().scored()
    assert {score.events for score in scores.values()} == {scored_E[400:600].sum() + scored_E[1_800:].sum()}
    assert scores[3].mrr > scores[1].mrr
    assert trainer_scores(log, config, [3], [1])[1] + trainer_scores(log, config, [10], [1])[1] == scores[1]


@pytest.mark.parametrize("events", [10, 1_000, 1_009])
def test_tenths_are_cut_as_the_offline_evaluation_cuts_them(events: int) -> None:
    for tenth in range(1, 11):
        expected = np.arange(events * (tenth - 1) // 10, events * tenth // 10)
        assert np.flatnonzero(in_tenths(events, [tenth])).tolist() == expected.tolist()


def compared(*worker: Row) -> Comparison:
    trainers = [row("trainer", 1_000.0, 40, 100), row("trainer", 200.0, 60, 100)]
    return Comparison("log", list(worker), {32: trainers})


def test_an_effort_must_be_as_fast_as_one_epoch_and_as_good_as_the_best() -> None:
    slow = row("slow", 900.0, 70, 100, {32: 0.9})
    poor = row("poor", 1_100.0, 59, 100, {32: 1.1})
    both = row("both", 1_000.0, 60, 100, {32: 1.0})
    assert not compared(slow, poor).good(32)
    assert compared(slow, poor, both).good(32) == [both]
    assert "no effort" in " ".join(verdicts(compared(slow)))
    assert "both" in " ".join(verdicts(compared(both)))


def test_the_error_of_a_hit_rate_is_that_of_a_share() -> None:
    assert row("", 1.0, 50, 100).error == pytest.approx(0.05)
    assert row("", 1.0, 0, 0) == row("", 1.0, Score().hits, Score().events)
