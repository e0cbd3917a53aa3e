"""The slow copy is an exponential average, also of rows that are seldom touched; and a line can fall back to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from model.items.item_table import ItemTable
from model.learner import Learner
from model.optimizers.flat_weights import FlatWeights
from model.optimizers.slow_copy import DECAY, Referee, SlowModule, SlowRows
from model.pace import Pace
from tests.model.lines import CPU, SMALL, Event, Line, markov_log, of_nobody

_SIZE = 16


def test_the_average_of_rows_touched_now_and_then_is_that_of_a_table_averaged_whole() -> None:
    """Only the rows touched cost something; the closed form must give what a pass over all rows gives."""
    rng = np.random.default_rng(0)
    table, rows = torch.randn(12, 3), SlowRows(12, 3, CPU)
    rows.start(table, torch.arange(12))
    whole = table.clone()
    for _ in range(200):
        at = torch.from_numpy(rng.choice(12, rng.integers(1, 6), replace=False))
        before = rows.averages(table, at)
        table[at] += torch.randn(len(at), 3)
        rows.follow(table, at, before)
        whole += (1 - DECAY) * (table - whole)
    torch.testing.assert_close(rows.averages(table, torch.arange(12)), whole, rtol=1e-4, atol=1e-4)


def test_while_it_waits_the_average_stands_still_however_far_the_rows_go() -> None:
    table, rows, all_rows = torch.ones(4, 2), SlowRows(4, 2, CPU), torch.arange(4)
    rows.start(table, all_rows)
    for _ in range(50):
        before = rows.averages(table, all_rows)
        table *= 3
        rows.wait(all_rows, before)
    assert torch.equal(rows.averages(table, all_rows), torch.ones(4, 2))


def test_a_row_that_is_no_number_falls_back_to_its_last_average() -> None:
    table, rows, all_rows = torch.ones(3, 2), SlowRows(3, 2, CPU), torch.arange(3)
    rows.start(table, all_rows)
    table[1] = torch.nan
    table[2] = torch.inf
    rows.steps += 5
    assert torch.equal(rows.fallback(table), torch.ones(3, 2))


def test_a_recycled_row_has_no_average_of_the_item_before() -> None:
    items = ItemTable(4, 8, CPU)
    items.start(np.array([2], np.int32), torch.eye(8)[:1])
    for _ in range(20):
        items.step(torch.tensor([2]), torch.ones(1, 9), 0.1)
    items.forget(np.array([2]))
    items.start(np.array([2], np.int32), torch.eye(8)[1:2])
    items.roll_back()
    torch.testing.assert_close(items.all_vectors[2], torch.eye(8)[1])


def test_a_slow_module_averages_weights_and_takes_over_statistics() -> None:
    fast = nn.BatchNorm1d(2)
    slow = SlowModule(fast, FlatWeights(fast))
    slow.steps = 10_000
    with torch.no_grad():
        fast.weight.add_(1)
    fast.get_buffer("running_mean").add_(7)
    slow.follow()
    torch.testing.assert_close(slow.module.weight, torch.full((2,), 2 - DECAY))
    assert torch.equal(slow.module.get_buffer("running_mean"), fast.get_buffer("running_mean"))
    slow.restore()
    assert torch.equal(fast.weight, slow.module.weight)


def test_the_referee_says_by_how_much_the_slow_weights_are_better() -> None:
    referee = Referee(every=4)
    assert [referee.due() for _ in range(8)] == [False, False, False, True] * 2
    for _ in range(3):
        referee.note(5.0, 3.0)
    assert referee.gain == pytest.approx(2.0)
    referee.note(float("nan"), 3.0)
    assert referee.gain == float("inf")
    referee.forget()
    assert referee.gain == 0.0


@pytest.fixture(scope="module")
def learned() -> Line:
    line = Line()
    line.run(markov_log(30, 1_600), _SIZE)
    return line


def test_a_rollback_gives_finite_averages_and_forgets_the_moments() -> None:
    line = Line()
    line.run(markov_log(30, 320), _SIZE)
    learner = line.learner
    slow = {name: value.clone() for name, value in learner.encoder_trainer.optimizer.slow.module.named_parameters()}
    with torch.no_grad():
        for parameter in (*learner.encoder.parameters(), *learner.ranker.parameters()):
            parameter.fill_(torch.nan)
    learner.items.table_ND1[:3] = torch.nan
    learner.roll_back()
    assert all(torch.equal(value, slow[name]) for name, value in learner.encoder.named_parameters())
    assert all(torch.isfinite(value).all() for value in learner.ranker.state_dict().values())
    live = learner.catalog.live_rows()
    torch.testing.assert_close(learner.items.all_vectors[live].norm(dim=1), torch.ones(len(live)))
    assert not learner.encoder_trainer.optimizer.adam.m.any()
    assert not learner.ranker_trainer.optimizer.adam.m.any()
    assert not learner.items.adam.m.any()
    line.run(markov_log(30, 160), _SIZE)


def _poison_weights(learner: Learner) -> None:
    with torch.no_grad():
        learner.encoder.output.weight[0, 0] = torch.nan


def _poison_all_weights(learner: Learner) -> None:
    with torch.no_grad():
        for parameter in (*learner.encoder.parameters(), *learner.ranker.parameters()):
            parameter.fill_(torch.inf)


def _poison_items(learner: Learner) -> None:
    learner.items.table_ND1[learner.catalog.live_rows()[::2]] = torch.nan


def _poison_states(learner: Learner) -> None:
    learner.users.h_SH[::2] = torch.nan
    learner.users.c_SH[::2] = torch.inf


def _poison_choices(learner: Learner) -> None:
    learner.ranker_trainer.recent._features_MSF[::3] = torch.nan


@pytest.mark.parametrize("part", [_poison_weights, _poison_all_weights, _poison_items, _poison_states])
def test_predictions_go_on_whatever_is_no_number_and_all_is_finite_after_a_rollback(
    part: Callable[[Learner], None],
) -> None:
    line = Line()
    log = markov_log(31, 640)
    line.run(log[:320], _SIZE)
    part(line.learner)
    ticks = line.run(log[320:480], _SIZE)
    assert all(len(names) == SMALL.list_length for tick in ticks for names in tick.lists)
    assert all(np.isfinite(tick.log_probabilities).all() for tick in ticks)
    line.learner.roll_back()
    line.learner.rebuild(line.learner.users.occupied(), of_nobody)
    ticks = line.run(log[480:], _SIZE)
    assert all(np.isfinite(list(tick.outcome.losses.values())).all() for tick in ticks)
    arrays, _ = line.state()
    assert [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()] == []
    h_UH, c_UH = line.learner.users.state(line.learner.users.occupied())
    assert torch.isfinite(torch.cat([h_UH, c_UH])).all()


def test_a_step_that_is_no_number_touches_nothing_and_is_counted_by_part() -> None:
    """Not weights, nor moments, nor item rows, nor what is kept of examples."""
    line = Line()
    log = markov_log(32, 480)
    line.run(log[:320], _SIZE)
    learner = line.learner
    _poison_choices(learner)
    with torch.no_grad():
        learner.encoder.type_vectors.weight[:] = torch.nan
    before, _ = line.state()
    line.run(log[320:480], _SIZE)
    after, _ = line.state()
    parts = ("encoder.", "encoder_trainer.optimizer.adam.", "items.", "encoder_trainer.optimizer.slow.")
    learned = [name for name in before if name.startswith(parts)]
    assert len(learned) > 10
    assert [name for name in learned if before[name].tobytes() != after[name].tobytes()] == []
    guards = learner.guards
    assert guards["encoder"].skipped == guards["encoder"].in_a_row == 160 // _SIZE
    assert 0 < guards["ranker"].skipped <= SMALL.ranker_steps * 160 // _SIZE


def test_a_rolled_back_line_resumes_to_the_bit(learned: Line) -> None:
    """Also what the guard, the referee and the slow copy know."""
    log = markov_log(30, 1_920)[1_600:]
    learned.learner.roll_back()
    learned.pace = Pace(rate_factor=3.0, replay_share=0.5)
    one, other = learned, learned.resumed()
    other.pace = learned.pace
    for events in (log[:160], log[160:]):
        assert [t.lists for t in one.run(events, _SIZE)] == [t.lists for t in other.run(events, _SIZE)]
    ours, theirs = one.state(), other.state()
    assert ours[1] == theirs[1]
    assert [name for name in ours[0] if ours[0][name].tobytes() != theirs[0][name].tobytes()] == []


def test_the_rate_and_the_share_of_replay_are_heeded() -> None:
    """No replayed windows: fewer examples a step, another loss; a rate of next to nothing: the weights stand still."""
    log = markov_log(33, 480)
    lines = [Line() for _ in range(3)]
    for line in lines:
        line.run(log[:320], _SIZE)
    usual, still, alone = lines
    still.pace, alone.pace = Pace(rate_factor=1e-9), Pace(replay_share=0.0)
    before = still.learner.encoder.output.weight.clone()
    ticks = [line.run(log[320:], _SIZE) for line in lines]
    assert torch.allclose(still.learner.encoder.output.weight, before, atol=1e-6)
    assert not torch.allclose(usual.learner.encoder.output.weight, before, atol=1e-4)
    assert ticks[0][0].outcome.losses["encoder"] != ticks[2][0].outcome.losses["encoder"]


def test_events_of_the_same_user_in_one_batch_survive_a_poisoned_state() -> None:
    line = Line()
    line.run(markov_log(34, 160), _SIZE)
    line.feed([Event("alice", "i1", 2e9)])
    slot = line._recall(["alice"])
    line.learner.users.h_SH[slot] = torch.nan
    line.feed([Event("alice", f"i{k}", 2e9 + k) for k in range(4)])
    assert all(torch.isfinite(state).all() for state in line.learner.users.state(slot))
