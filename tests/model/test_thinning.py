"""Less effort: fewer events are predicted and learned from, but all are remembered and counted."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from model.batch import Outcome
from model.pace import Pace
from model.state import state_below
from tests.model.lines import SMALL, Line, Tick, changed, markov_log

_SIZE = 64
_LOG = markov_log(7, 960, items=30)


def _line(thinning: int, **settings: object) -> Line:
    line = Line(changed(SMALL, **{"mini_batch": 16, "max_items": 4_000} | settings))
    line.pace = Pace(thinning)
    return line


def _examined(ticks: list[Tick]) -> np.ndarray:
    return np.concatenate([tick.outcome.examined_B for tick in ticks])


def test_one_event_of_so_many_is_examined() -> None:
    share = _examined(_line(4).run(_LOG, _SIZE)).mean()
    assert share == pytest.approx(1 / 4, abs=0.06)


def test_at_rest_all_are() -> None:
    assert _examined(_line(1).run(_LOG, _SIZE)).all()


def test_everything_is_counted_and_every_ring_is_kept() -> None:
    """Whatever is examined: tables, rings and clocks are the same."""
    thin, full = _line(8), _line(1)
    thin.run(_LOG, _SIZE)
    full.run(_LOG, _SIZE)
    ours, theirs = (state_below(line.state()[0], "counting") for line in (thin, full))
    assert len(ours) > 5
    assert [name for name in theirs if not np.array_equal(ours[name], theirs[name])] == []
    assert thin.learner.events == full.learner.events == len(_LOG)
    for name in ("number_SL", "type_SL", "gap_SL", "events_S", "ts_S"):
        np.testing.assert_array_equal(getattr(thin.learner.users, name), getattr(full.learner.users, name))


def test_every_event_moves_its_users_state() -> None:
    """By weights that stand still the states are those of the full effort."""
    thin, full = (_line(thinning, learning=False, item_vectors="hashed") for thinning in (8, 1))
    thin.run(_LOG, _SIZE)
    full.run(_LOG, _SIZE)
    slots = full.learner.users.occupied()
    for ours, theirs in zip(thin.learner.users.state(slots), full.learner.users.state(slots), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


def test_of_the_others_nothing_is_said_and_nothing_scored() -> None:
    for tick in _line(4).run(_LOG, _SIZE):
        others = np.flatnonzero(~tick.outcome.examined_B)
        assert [tick.lists[k] for k in others] == [[]] * len(others)
        assert not np.array(tick.ranks)[others].any()
        assert not set(tick.outcome.scored(tick.batch).tolist()) & set(others.tolist())
        assert tick.outcome.windows_BL.shape[0] == len(tick.batch)


@pytest.mark.parametrize(("candidates", "thinned"), [(100, 50), (40, 20), (30, 20), (20, 20), (10, 10)])
def test_lists_come_from_half_as_many_candidates(
    monkeypatch: pytest.MonkeyPatch, candidates: int, thinned: int
) -> None:
    """But never from fewer than the ranker learns from, so that kept examples go on to fit."""
    line, widths = _line(1, candidates=candidates), list[int]()
    scores = line.learner.ranker_trainer.scores

    def noted_scores(features_BCF: Tensor, present_BC: Tensor) -> Tensor:
        widths.append(features_BCF.shape[1])
        return scores(features_BCF, present_BC)

    monkeypatch.setattr(line.learner.ranker_trainer, "scores", noted_scores)
    for line.pace in (Pace(1), Pace(2), Pace(1)):
        line.run(_LOG[:_SIZE], _SIZE)
        line.recommend(line.learner.users.occupied())
    assert set(widths) == {candidates, thinned}


def test_learning_thins_out_with_it() -> None:
    """A step for each mini-batch of as many examined events, so fewer of them."""
    steps = {}
    for thinning in (1, 4):
        line = _line(thinning)
        line.run(_LOG, _SIZE)
        steps[thinning] = line.learner.encoder_trainer.steps
    assert steps[1] == pytest.approx(4 * steps[4], rel=0.25)  # how many are drawn is random


def test_it_still_learns() -> None:
    line = _line(4)
    line.run(_LOG, _SIZE)
    tail = line.run(markov_log(7, 1_920, items=30)[960:], _SIZE)
    ranks, examined = np.array([rank for tick in tail for rank in tick.ranks]), _examined(tail)
    assert ((ranks > 0) & (ranks <= 5))[examined].mean() > 0.5


def test_a_batch_of_which_nothing_is_drawn_is_no_trouble() -> None:
    line = _line(256)
    ticks = line.run(_LOG[:64], 4)
    assert not _examined(ticks).all()
    assert line.learner.events == 64


def test_a_resumed_line_draws_the_same() -> None:
    line = _line(4)
    line.run(_LOG[:480], _SIZE)
    other = line.resumed()
    other.pace = line.pace
    line.spill()
    ours, theirs = line.run(_LOG[480:], _SIZE), other.run(_LOG[480:], _SIZE)
    for one, two in zip(ours, theirs, strict=True):
        for column in fields(Outcome):
            if column.name not in ("losses", "windows_BL"):
                np.testing.assert_array_equal(getattr(one.outcome, column.name), getattr(two.outcome, column.name))


@pytest.mark.parametrize("place", [1, 63, 64, 100, 130])
def test_what_is_examined_knows_no_future(place: int) -> None:
    other = [*_LOG[:place], *[type(e)(e.user, f"unseen-{k}", e.ts + 1e6) for k, e in enumerate(_LOG[place:160])]]
    one, two = (_line(3).run(log, _SIZE) for log in (_LOG[:160], other))
    said = [[(k.lists, k.ranks) for k in ticks] for ticks in (one, two)]
    lists = [[row for lists, _ in ticks for row in lists] for ticks in said]
    ranks = [[rank for _, ranks in ticks for rank in ranks] for ticks in said]
    assert lists[0][:place] == lists[1][:place]
    assert ranks[0][:place] == ranks[1][:place]
