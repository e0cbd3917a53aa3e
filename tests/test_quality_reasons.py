"""The benchmark of reasons: entries taken out of a ring, scores without them, and when it is good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import faithful
from benchmarks.quality.faithful import Faithfulness, Kind, faithfulness, rows_of, scores_without, take_out
from benchmarks.quality.one_pass import simulated_pass
from benchmarks.quality.streams import Simulation, StreamConfig
from model.batch import NO_GAP
from model.learner import Learner
from model.pace import Pace
from stream_worker.config import Settings


@pytest.fixture(scope="module")
def learner() -> Learner:
    events = Simulation(StreamConfig(events=1_500, users=60, tastes=3, items_per_taste=30)).events()
    return simulated_pass(Settings(), events).worker.line.learner


def ring(*entries: tuple[int, int, int]) -> faithful.Memories:
    """One record with a ring of six places."""
    columns = np.zeros((3, 1, 6), np.int64)
    columns[:, 0, 6 - len(entries) :] = np.array(entries).T
    number, kind, gap = columns
    return {"number": number.astype(np.uint32), "type": kind.astype(np.uint8), "gap": gap.astype(np.uint8),
            "ts": np.array([1_000.0])}  # fmt: skip


def test_entries_go_and_their_time_falls_to_the_next_one() -> None:
    memories = ring((7, 1, NO_GAP), (8, 2, 5), (7, 3, 5), (9, 4, 2))
    take_out(memories, 0, memories["number"][0] == 7)
    assert memories["number"][0].tolist() == [0, 0, 0, 0, 8, 9]
    assert memories["type"][0].tolist() == [0, 0, 0, 0, 2, 4]
    assert memories["gap"][0].tolist() == [0, 0, 0, 0, 5, 5]  # 31 s + 3 s
    assert memories["ts"].tolist() == [1_000.0]


def test_without_the_newest_entry_the_last_event_is_earlier() -> None:
    memories = ring((7, 1, NO_GAP), (8, 2, 5))
    take_out(memories, 0, memories["number"][0] == 8)
    assert (memories["number"][0].tolist(), memories["ts"].tolist()) == ([0, 0, 0, 0, 0, 7], [1_000.0 - 31])


def test_a_ring_without_the_item_stays_as_it_is() -> None:
    memories = ring((7, 1, NO_GAP), (8, 2, 5))
    take_out(memories, 0, memories["number"][0] == 3)
    assert memories["number"][0].tolist() == [0, 0, 0, 0, 7, 8]


def test_scores_of_a_whole_history_are_those_of_the_list(learner: Learner) -> None:
    """With nothing taken out; the state made anew differs by the weights that made the old one."""
    slots = learner.users.occupied()[:40]
    learner.rebuild(slots, lambda numbers: [None] * len(numbers))
    lists = learner.recommend(slots, Pace())["default"]
    found = scores_without(learner, slots, lists.rows_UK[:, 0], np.full(len(slots), -1, np.int32))
    np.testing.assert_allclose(np.exp(found), lists.scores_UK[:, 0], atol=2e-3)


def test_an_item_that_is_no_candidate_has_the_least_score(learner: Learner) -> None:
    slots = learner.users.occupied()[:2]
    unheard = learner.add_items(["unheard"], [60_000])
    found = scores_without(learner, slots, np.repeat(unheard, 2).astype(np.int32), np.full(2, -1, np.int32))
    _, ranking = learner.predictor.stand(slots, Pace(), learner.clock_ts)
    assert (found < np.log(0.5)).all()
    assert np.isfinite(found).all()
    assert unheard[0] not in ranking.found.candidates_BC


def test_reasons_of_a_simulated_shop_are_true_and_nothing_is_learned_on_the_way(learner: Learner) -> None:
    """What follows an item there is known."""
    steps, users = learner.steps, len(learner.users)
    found = faithfulness(learner, "simulated", 400, 0)
    whole = found.kinds[0]
    assert whole.reasons == 400
    assert sum(kind.reasons for kind in found.kinds[1:]) == 400
    assert whole.share > 0.6
    assert whole.fall > whole.fall_of_other
    assert 0 < found.named <= 1
    assert (learner.steps, len(learner.users)) == (steps, users)


@pytest.mark.parametrize(
    ("share", "fall", "good"), [(0.71, 0.5, True), (0.69, 0.5, False), (0.9, 0.1, False), (0.9, 0.2, False)]
)
def test_it_is_good_above_the_bar_and_on_average(share: float, fall: float, good: bool) -> None:
    whole = Kind("all", 100, share, fall, 0.2)
    found = Faithfulness("log", 1, 1, 1.0, (whole, replace(whole, kind="follows")))
    assert [row.good for row in rows_of(found)] == [good, True]


def test_the_same_seed_draws_the_same_reasons(learner: Learner) -> None:
    one, other = (faithful.named_reasons(learner, 50, np.random.default_rng(3))[0] for _ in range(2))
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (one.cause_R != one.other_R).all()
