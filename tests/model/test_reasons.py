"""Reasons: what a history item has done to a score, and which one is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest

from model.counting import causes
from model.counting.evidence import COSINE_FADE, RECENT_FADE
from model.counting.features import FEATURES
from model.counting.scratch import RECENT
from model.counting.tables import FORWARD, WIDE, WIDE_SPAN
from model.lists.lists import Because, Lists
from model.pace import Pace
from model.reasons import KINDS
from tests.model.lines import Event, Line

_LEAST = 1e-4


def at_random(events: int = 240, users: int = 8, items: int = 30, seed: int = 0) -> Line:
    """A line that has learned events of a few users, who come back to some items."""
    random, line = Random(seed), Line()
    log = [
        Event(
            f"u{random.randrange(users)}", f"i{min(random.randrange(items), random.randrange(items))}", 1.7e9 + 60 * k
        )
        for k in range(events)
    ]
    line.run(log, 16)
    return line


@pytest.fixture(scope="module")
def line() -> Line:
    return at_random()


def because_of(line: Line, slots: np.ndarray) -> tuple[np.ndarray, Because]:
    lists = line.recommend(slots)
    assert lists.because is not None
    return lists.rows_UK, lists.because


def test_the_parts_of_all_history_items_are_the_features_of_the_ranker(line: Line) -> None:
    """What `evidence` adds up over the ring, `causes` has by history item."""
    slots = line.learner.users.occupied()
    context, ranking = line.learner.predictor.stand(slots, Pace(), line.learner.clock_ts)
    features = np.exp(ranking.features_BCF.numpy())
    for u in range(len(slots)):
        rows_K = ranking.found.candidates_BC[u]
        memo = causes.make_memo(line.learner.catalog.capacity, len(rows_K), 4)
        count = causes.note_history(memo, context.users.windows_BL[u], WIDE_SPAN)
        causes.find_parts(line.learner.counting.tables, memo, rows_K, rows_K, count)
        part = memo.part_TJK[:, :, :-1]
        sums = {
            "forward_last": part[FORWARD, 0],
            "cosine_last": part[WIDE, 0],
            "forward_recent": (memo.near_J[:count, None] * part[FORWARD, :count]).sum(axis=0),
            "cosine_recent": (memo.far_J[:count, None] * part[WIDE, :count]).sum(axis=0),
            "taste": (memo.times_J[:count, None] * part[WIDE, :count]).sum(axis=0),
            "cosine_max": part[WIDE, :count].max(axis=0),
        }
        there = rows_K >= 0
        for name, expected in sums.items():
            found = features[u, :, FEATURES.index(name)] - _LEAST
            np.testing.assert_allclose(expected[there], found[there], atol=2e-4, err_msg=name)


def test_a_history_is_its_different_items_the_newest_first() -> None:
    memo = causes.make_memo(10, 1, 4)
    window = np.array([-1, 4, 7, 4, -1, 4, 2], np.int32)
    assert causes.note_history(memo, window, WIDE_SPAN) == 3
    assert memo.item_J[:3].tolist() == [2, 4, 7]
    np.testing.assert_allclose(memo.times_J[:3], [1, 3, 1])
    np.testing.assert_allclose(memo.far_J[:3], [1, COSINE_FADE + COSINE_FADE**3 + COSINE_FADE**5, COSINE_FADE**4])
    assert RECENT == 5
    np.testing.assert_allclose(memo.near_J[:3], [1, RECENT_FADE + RECENT_FADE**3, RECENT_FADE**4], rtol=1e-6)


def test_only_the_newest_entries_count() -> None:
    memo = causes.make_memo(10, 1, 4)
    assert causes.note_history(memo, np.array([5, 6, 7, 8], np.int32), 2) == 2
    assert memo.item_J[:2].tolist() == [8, 7]


def test_every_item_of_a_list_has_a_reason_and_a_share(line: Line) -> None:
    rows_UK, because = because_of(line, line.learner.users.occupied())
    listed = rows_UK >= 0
    assert (because.kind_UK[listed] >= 0).all()
    assert (because.kind_UK[~listed] == -1).all()
    assert ((because.weight_UK >= 0) & (because.weight_UK <= 1)).all()
    named = np.isin(because.kind_UK, [KINDS.index(kind) for kind in ("together", "follows", "again", "taste")])
    assert ((because.row_UK >= 0) == named).all()


def test_a_named_item_is_one_of_the_users_own(line: Line) -> None:
    slots = line.learner.users.occupied()
    windows = line.learner.catalog.rows_of_numbers(line.learner.users.number_SL[slots])
    rows_UK, because = because_of(line, slots)
    again = because.kind_UK == KINDS.index("again")
    for u in range(len(slots)):
        assert set(because.row_UK[u][because.row_UK[u] >= 0].tolist()) <= set(windows[u].tolist())
    assert (because.row_UK[again] == rows_UK[again]).all()


@pytest.mark.parametrize(
    ("weighs", "kind", "cause"),
    [
        (("next_last", "forward_recent"), "follows", "a"),
        (("cosine_recent", "taste"), "together", "a"),
        (("cosine_last", "backward_last"), "together", "a"),
        (("encoder_log_probability",), "taste", "a"),
    ],
)
def test_the_kind_is_that_of_the_features_that_the_ranker_goes_by(
    weighs: tuple[str, ...], kind: str, cause: str
) -> None:
    """Everybody goes from a to b; this user comes from c and d, which others have nothing to do with."""
    line = Line()
    log = [Event(f"v{k % 7}", item, 1.7e9 + 60 * k + n) for k in range(40) for n, item in enumerate(("a", "b"))]
    log += [Event("u", item, 1.7e9 + 90_000 + 60 * k) for k, item in enumerate("cda")]
    line.run(log, 16)
    weight_F = line.learner.ranker_trainer.optimizer.slow.module.linear.weight.data[0]
    weight_F[:] = 0.0
    weight_F[[FEATURES.index(name) for name in weighs]] = 1.0
    ids, (a, b) = line.learner.catalog.ids, line.learner.catalog.find(["a", "b"])
    line.learner.items.table_ND1[b] = line.learner.items.table_ND1[a]
    rows_UK, because = because_of(line, line.learner.users.find(["u"]))
    at = [ids[row] for row in rows_UK[0]].index("b")
    assert (KINDS[because.kind_UK[0, at]], ids[because.row_UK[0, at]]) == (kind, cause)


def test_an_item_that_is_there_since_the_user_had_it_is_there_again() -> None:
    line = Line()
    line.run([Event("u", item, 1.7e9 + 60 * k) for k, item in enumerate("abcabdabe" * 6)], 16)
    weight_F = line.learner.ranker_trainer.optimizer.slow.module.linear.weight.data[0]
    weight_F[:] = 0.0
    weight_F[FEATURES.index("own_count")] = 1.0
    rows_UK, because = because_of(line, line.learner.users.find(["u"]))
    listed = rows_UK[0] >= 0
    assert {KINDS[kind] for kind in because.kind_UK[0, listed]} == {"again"}
    assert (because.row_UK[0, listed] == rows_UK[0, listed]).all()


def test_without_a_history_what_is_popular_is_trending() -> None:
    line = at_random()
    slots = line.learner.users.add(["stranger"])
    _, because = because_of(line, slots)
    kinds = {KINDS[kind] for kind in because.kind_UK[0].tolist()}
    assert kinds == {"trending"}
    assert (because.row_UK == -1).all()


def test_any_rows_may_stand_in_the_lists(line: Line) -> None:
    """Rules put items into lists that are no candidates: promoted ones; an item that nobody has touched is new."""
    learner = line.learner
    row = int(learner.add_items(["unheard"], [50_000])[0])
    slots = learner.users.occupied()[:2]
    context, ranking = learner.predictor.stand(slots, Pace(), learner.clock_ts)
    rows_UK = np.array([[row, 3, -1], [2, row, 5]], np.int32)
    promoted_UK = rows_UK == 2
    made = Lists(rows_UK, np.zeros(rows_UK.shape, np.float32), np.zeros(rows_UK.shape, np.int8), promoted_UK, rows_UK)
    assert context.attention_BW is not None
    found = context.users.windows_BL, context.attention_BW, ranking.found.candidates_BC, ranking.features_BCF
    because = learner.predictor._reasons.of_lists(*found, made)
    assert because.kind_UK[0, 2] == -1
    assert (because.kind_UK[rows_UK >= 0] >= 0).all()
    assert KINDS[because.kind_UK[0, 0]] == KINDS[because.kind_UK[1, 1]] == "new"
    assert (KINDS[because.kind_UK[1, 0]], because.row_UK[1, 0]) == ("promoted", -1)


def test_reasons_depend_on_no_other_user_and_no_other_thread(line: Line) -> None:
    slots = line.learner.users.occupied()
    _, whole = because_of(line, slots)
    with ThreadPoolExecutor(3) as threads:
        alone = list(threads.map(lambda slot: because_of(line, np.array([slot]))[1], slots.tolist()))
    joined = Because.joined(alone)
    assert (joined.kind_UK == whole.kind_UK).all()
    assert (joined.row_UK == whole.row_UK).all()
    np.testing.assert_allclose(joined.weight_UK, whole.weight_UK, atol=1e-3)
