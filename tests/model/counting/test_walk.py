"""The compiled walk against plain Python, its bounds, and that nothing of the future is in it."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.counting.features import FEATURES
from model.counting.popularity import HALF_LIVES
from model.counting.proposers import NO_PROPOSER, PROPOSERS
from model.counting.scratch import Breadth
from model.counting.tables import FORWARD, TABLES
from model.counting.walk import Counting, CountingConfig, Users, Walked, WalkedEvents
from tests.model.slow_counting import SlowCounting

_ROWS, _RING = 30, 6
# Room for every row, so that only the quotas of the proposals may leave one out; they are at least 10.
_ROOMY = CountingConfig(neighbours=64, candidates=64)


@dataclass
class Log:
    """WalkedEvents as columns; windows are those of the users' own earlier events, before the set."""

    windows: NDArray[np.int32]
    types: NDArray[np.uint8]
    gaps: NDArray[np.uint8]
    target: NDArray[np.int32]
    category: NDArray[np.uint32]
    learn: NDArray[np.bool_]
    idle: NDArray[np.float32]
    last_gap: NDArray[np.float32]
    proposals: NDArray[np.int32]
    within: NDArray[np.int16]


def _log(
    seed: int, events: int = 120, ring: int = _RING, rows: int = _ROWS, learned: float = 0.8, of_a_set: int = 1
) -> Log:
    """`of_a_set`: events of each set."""
    rng = np.random.default_rng(seed)
    rings = np.full((4, ring), -1, dtype=np.int32)
    windows, target = np.zeros((events, ring), np.int32), rng.integers(0, rows, events).astype(np.int32)
    target = np.where(rng.random(events) < 0.5, target % 6, target).astype(np.int32)
    within = (np.arange(events) % of_a_set).astype(np.int16)
    for k, user in enumerate(rng.integers(0, 4, events)):
        if within[k] == 0:
            before = rings.copy()
        windows[k] = before[user]
        rings[user] = np.append(rings[user][1:], target[k])
    windows[rng.random(windows.shape) < 0.05] = -1  # evicted items leave gaps
    gaps = rng.integers(0, 14, windows.shape).astype(np.uint8)
    gaps[rng.random(windows.shape) < 0.05] = 31  # a user's first event
    idle, last_gap = (10 * rng.random((2, events))).astype(np.float32)
    proposals = rng.integers(-1, rows, (events, 3)).astype(np.int32)
    types = rng.integers(0, 3, windows.shape).astype(np.uint8)
    category = rng.integers(0, 5, events).astype(np.uint32)
    learn = rng.random(events) < learned
    return Log(windows, types, gaps, target, category, learn, idle, last_gap, proposals, within)


def _plain(targets: list[int], window: list[int], learn: bool = True) -> Log:
    """WalkedEvents after the same window, at once, without proposals."""
    count = len(targets)
    windows = np.tile(np.array(window, np.int32), (count, 1))
    no_type, nothing = np.zeros(windows.shape, np.uint8), np.zeros(count, np.float32)
    return Log(
        windows, no_type, no_type, np.array(targets, np.int32), np.zeros(count, np.uint32),
        np.full(count, learn), nothing, nothing, np.full((count, 1), -1, np.int32), np.zeros(count, np.int16),
    )  # fmt: skip


def _walk(counting: Counting, log: Log, start: int, stop: int, each: Any = map) -> Any:
    """Candidates, their features, and the proposer of what came."""
    walked = _walked(counting, log, start, stop, each)
    features = np.concatenate([np.log(walked.amounts_BCL), walked.rest_BCR], axis=-1)
    return walked.candidates_BC, features, walked.proposer_B


def _walked(counting: Counting, log: Log, start: int, stop: int, each: Any = map) -> Walked:
    part = slice(start, stop)
    return counting.walk(
        Users(log.windows[part], log.types[part], log.gaps[part], log.idle[part], log.last_gap[part]),
        WalkedEvents(
            log.target[part], log.category[part], log.learn[part], np.ones_like(log.learn[part]), log.within[part],
            np.zeros_like(log.learn[part]),
        ),
        log.proposals[part], np.ones(counting.rows, np.bool_), Breadth(counting.config.candidates), each,
    )  # fmt: skip


def _walk_all(counting: Counting, log: Log, size: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    outs = _walks(counting, log, size)
    return np.concatenate([c for c, _, _ in outs]), np.concatenate([f for _, f, _ in outs])


def _walks(counting: Counting, log: Log, size: int) -> list[Any]:
    return [_walk(counting, log, start, start + size) for start in range(0, len(log.target), size)]


def _learn_set(slow: SlowCounting, log: Log, k: int) -> None:
    """Count all events of a set once the last one, k, was examined."""
    if k + 1 == len(log.target) or log.within[k + 1] == 0:
        for j in range(k - int(log.within[k]), k + 1):
            if log.learn[j]:
                _learn(slow, log, j)


def _learn(slow: SlowCounting, log: Log, k: int) -> None:
    slow.learn(log.windows[k].tolist(), log.types[k].tolist(), int(log.target[k]), int(log.category[k]))


def _row(counting: Counting, table: int, row: int) -> list[list[Any]]:
    rows = counting.tables.rows
    at = slice(rows.start_TN[table, row], rows.start_TN[table, row] + rows.width_TN[table, row])
    pairs = zip(rows.item_X[at].tolist(), rows.weight_X[at].tolist(), strict=True)
    return [[item, weight] for item, weight in pairs if item >= 0]


@pytest.mark.parametrize("of_a_set", [1, 4])
@pytest.mark.parametrize("neighbours", [4, 10, 16])
@pytest.mark.parametrize("seed", range(4))
def test_tables_are_those_of_plain_python(seed: int, neighbours: int, of_a_set: int) -> None:
    """Every weight, total and share of the compiled walk, to the bit of float32, with rows that overflow.

    Each event of a set is counted alone, after the ring before the set.
    """
    log, slow = _log(seed, of_a_set=of_a_set), SlowCounting(neighbours, _ROWS)
    fast = Counting(CountingConfig(neighbours=neighbours, candidates=128), _ROWS)
    _walk_all(fast, log, 16)
    for k in np.flatnonzero(log.learn).tolist():
        _learn(slow, log, k)
    for table in range(TABLES):
        for row in range(_ROWS):
            assert _row(fast, table, row) == slow.pairs[table][row]
    assert fast.tables.rows.total_TN.tolist() == slow.total


@pytest.mark.parametrize("of_a_set", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_features_are_those_of_plain_python(seed: int, of_a_set: int) -> None:
    """Each feature of each candidate of each event, computed from what came before its set, inside a batch too."""
    log, slow = _log(seed, of_a_set=of_a_set), SlowCounting(64, _ROWS)
    candidates, features = _walk_all(Counting(_ROOMY, _ROWS), log, 16)
    for k, window in enumerate(log.windows.tolist()):
        rows = [row for row in candidates[k].tolist() if row >= 0]
        context = float(log.idle[k]), float(log.last_gap[k])
        every = slow.features(window, log.types[k].tolist(), log.gaps[k].tolist(), rows, *context)
        for place, expected in enumerate(every):
            found = dict(zip(FEATURES, features[k, place].tolist(), strict=True))
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
        _learn_set(slow, log, k)


@pytest.mark.parametrize("of_a_set", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_candidates_are_everything_that_has_a_reason_and_nothing_else(seed: int, of_a_set: int) -> None:
    """With room for all: the encoder's, the user's own, what the scores propose, what is hot at that very event."""
    log, slow = _log(seed, rows=12, of_a_set=of_a_set), SlowCounting(64, 12)
    candidates, _ = _walk_all(Counting(_ROOMY, 12), log, 16)
    for k, window in enumerate(log.windows.tolist()):
        named = {row for row in candidates[k].tolist() if row >= 0}
        reasons = set().union(*slow.reasons(window).values(), *(slow.hottest(half, 12) for half in HALF_LIVES))
        assert named == reasons | {row for row in [*log.proposals[k].tolist(), *window] if row >= 0}
        assert len(named) == (candidates[k] >= 0).sum(), "a candidate stands twice"
        _learn_set(slow, log, k)


def test_with_little_room_the_encoder_comes_first_and_then_what_is_likeliest_to_follow() -> None:
    """A full list drops what is merely hot, never what the encoder found."""
    log = _log(1, events=200)
    counting, slow = Counting(CountingConfig(neighbours=64, candidates=12), _ROWS), SlowCounting(64, _ROWS)
    candidates, _ = _walk_all(counting, log, 20)
    for k, window in enumerate(log.windows.tolist()):
        named = candidates[k][candidates[k] >= 0].tolist()
        encoder = {row for row in log.proposals[k].tolist() if row >= 0}
        assert set(named[: len(encoder)]) == encoder
        follow = slow.reasons(window)["forward_recent"] - encoder
        room = min(len(follow), 12 - len(encoder))
        assert set(named[len(encoder) : len(encoder) + room]) <= follow
        if log.learn[k]:
            _learn(slow, log, k)


@pytest.mark.parametrize("seed", range(4))
def test_the_source_of_what_came_is_one_that_proposed_it(seed: int) -> None:
    """The encoder before all others, who follows before own history, as far as a first round goes; -1 for what was not
    among the candidates."""
    log, counting, slow = _log(seed), Counting(_ROOMY, _ROWS), SlowCounting(64, _ROWS)
    candidates, _, source = (np.concatenate(c) for c in zip(*_walks(counting, log, 16), strict=True))
    for k, (target, window) in enumerate(zip(log.target.tolist(), log.windows.tolist(), strict=True)):
        reasons = slow.reasons(window)
        named = {"encoder": log.proposals[k].tolist(), "follows": reasons["forward_recent"], "own": window}
        expected = next((name for name, rows in named.items() if target in rows), None)
        found = PROPOSERS[source[k]] if source[k] >= 0 else None
        if len(named["follows"]) <= 20 and (expected != "own" or target not in reasons["next_last"]):
            assert found == expected or (expected is None and found not in named)
        named |= {"next": reasons["next_last"], "together": reasons["cosine_recent"], "two_hop": reasons["two_hop"]}
        assert found in (None, "hot") or target in named[found]
        assert found == "encoder" or target not in named["encoder"]
        assert (source[k] >= 0) == (target in candidates[k])
        if log.learn[k]:
            _learn(slow, log, k)


def _proposed(candidates: int) -> list[int]:
    """After 0 came each of 1 to 80, the later the more often; who is proposed then."""
    counting = Counting(CountingConfig(neighbours=256, candidates=candidates), 100)
    followers = [row for row in range(1, 81) for _ in range(1 + row // 10)]
    _walk(counting, _plain(followers, [-1, 0]), 0, len(followers))
    named, _, _ = _walk(counting, _plain([0], [-1, 0], learn=False), 0, 1)
    return [row for row in named[0].tolist() if row >= 0]


def test_of_a_score_no_more_than_its_quota_is_proposed_in_the_first_round() -> None:
    """The twenty likeliest to follow leave room for what else has a reason."""
    first = set(_proposed(20))
    assert set(range(70, 81)) <= first <= set(range(60, 81)), "70 came eight times, sixty seven times"
    assert 0 in _proposed(40), "the user's own, before more of them"


def test_every_candidate_keeps_its_proposer() -> None:
    """The proposer of what came is that of the same candidate; the encoder is asked first, so its rows are its own."""
    counting, log, came = Counting(_ROOMY, _ROWS), _log(5), 0
    walked = _walked(counting, log, 0, len(log.target))
    assert ((walked.proposers_BC == NO_PROPOSER) == (walked.candidates_BC < 0)).all()
    for k, target in enumerate(log.target.tolist()):
        rows = walked.candidates_BC[k].tolist()
        by = dict(zip(rows, walked.proposers_BC[k].tolist(), strict=True))
        assert by.get(target, NO_PROPOSER) == walked.proposer_B[k]
        came += target in by
        assert all(PROPOSERS[by[row]] == "encoder" for row in log.proposals[k].tolist() if row in by and row >= 0)
    assert came > 50
    assert len(set(walked.proposers_BC.ravel().tolist())) > 4


def test_with_room_for_it_there_is_a_second_round() -> None:
    """Forty of those who follow instead of twenty, and nobody twice."""
    named = _proposed(128)
    assert set(range(50, 81)) <= set(named)
    assert len(named) == len(set(named))


def test_when_a_row_is_full_the_weakest_leaves() -> None:
    """A newcomer takes the place of the item with the least weight; the others stay."""
    counting, after = Counting(CountingConfig(neighbours=4, candidates=128), 10), [1, 1, 1, 2, 3, 3, 4, 4, 5]
    _walk(counting, _plain(after, [-1, 0]), 0, len(after))
    assert sorted(_row(counting, FORWARD, 0)) == [[1, 3.0], [3, 2.0], [4, 2.0], [5, 1.0]]
    assert counting.tables.rows.total_TN[FORWARD, 0] == len(after)


def test_a_forgotten_row_is_nowhere() -> None:
    """Neither its own counts nor a mention of it by another row remain, and it is proposed no more."""
    log, counting = _log(2), Counting(_ROOMY, _ROWS)
    _walk_all(counting, log, 16)
    named = {item for table in range(TABLES) for row in range(_ROWS) for item, _ in _row(counting, table, row)}
    assert {0, 3} <= named
    others = counting.tables.rows.total_TN[:, 1].copy()
    counting.forget(np.array([0, 3]))
    assert not {0, 3} & {i for table in range(TABLES) for row in range(_ROWS) for i, _ in _row(counting, table, row)}
    assert not counting.tables.rows.total_TN[:, [0, 3]].any()
    assert not counting.tables.popularity.weight_PN[:, [0, 3]].any()
    assert not counting.tables.category_N[[0, 3]].any()
    assert counting.tables.category_N[1] > 0
    assert np.array_equal(counting.tables.rows.total_TN[:, 1], others)
    log.windows[np.isin(log.windows, [0, 3])] = -1
    log.proposals[np.isin(log.proposals, [0, 3])] = -1
    log.learn[:] = False
    candidates, _ = _walk_all(counting, log, 16)
    assert not np.isin([0, 3], candidates).any()


def test_places_of_forgotten_rows_are_used_again() -> None:
    """Ten rounds of newcomers in recycled rows need no more of the pool than two."""
    counting, used = Counting(_ROOMY, _ROWS), []
    for round_ in range(10):
        _walk_all(counting, _log(round_), 16)
        used.append(int(counting.tables.rows.used_1[0]))
        counting.forget(np.arange(_ROWS))
    assert used[-1] <= 1.2 * used[1]


def test_growth_changes_nothing_of_what_was_counted() -> None:
    """The same candidates and features before and after the tables grew in the middle of a log."""
    log = _log(3)
    plain, grown = Counting(_ROOMY, _ROWS), Counting(_ROOMY, _ROWS)
    for counting in (plain, grown):
        _walk(counting, log, 0, 60)
    grown.grow(3 * _ROWS)
    assert grown.rows == 3 * _ROWS
    first = _walk(plain, log, 60, 120)
    second = _walk(grown, log, 60, 120)
    for one, other in zip(_by_candidate(*first[:2]), _by_candidate(*second[:2]), strict=True):
        assert one == other


def test_threads_may_share_a_walk_that_learns_nothing() -> None:
    """Who looks at which event makes no difference, and all are looked at."""
    log, counting, shared = _log(5), Counting(_ROOMY, _ROWS), []
    _walk(counting, log, 0, 60)
    log.learn[60:] = False

    def each(walk: Any, parts: list[slice]) -> Any:
        shared.extend(parts)
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(walk, parts))

    alone, together = _walk(counting, log, 60, 120), _walk(counting, log, 60, 120, each)
    assert [k for part in shared for k in range(60)[part]] == list(range(60))
    assert len(shared) > 1
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_a_walk_that_learns_is_not_shared() -> None:
    """What is learned from one event is seen by the next one."""

    def each(*_: Any) -> Any:
        raise AssertionError

    log, counting, twin = _log(6), Counting(_ROOMY, _ROWS), Counting(_ROOMY, _ROWS)
    log.learn[:60] = np.arange(60) == 59
    one, other = _walk(counting, log, 0, 60), _walk(twin, log, 0, 60, each)
    assert np.array_equal(one[1], other[1])


def test_a_resumed_state_goes_on_to_the_bit() -> None:
    """A walk from `state_dict` on equals the walk that was never interrupted."""
    log, counting, twin = _log(4), Counting(_ROOMY, _ROWS), Counting(_ROOMY, _ROWS)
    _walk(counting, log, 0, 60)
    twin.load_state_dict(counting.state_dict())
    first, second = (_walk(one, log, 60, 120) for one in (counting, twin))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert all(np.array_equal(counting.state_dict()[name], twin.state_dict()[name]) for name in twin.state_dict())


def test_a_state_of_other_widths_is_refused() -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=r"model\.neighbours: the state has 64, the configuration 16"):
        Counting(CountingConfig(neighbours=16, candidates=128), _ROWS).load_state_dict(
            Counting(_ROOMY, _ROWS).state_dict()
        )


def test_popularity_survives_its_own_growth() -> None:
    """Forward decay divides by its increment now and then; shares stay those of the definition."""
    slow, counting = SlowCounting(4, 4), Counting(CountingConfig(neighbours=4, candidates=128), 4)
    events = 9_000  # 200 events double the increment, so that it passes 1e12 after 8,000
    target = (np.arange(events) // 3 % 4).tolist()
    _walk(counting, _plain(target, [-1, -1]), 0, events)
    popularity = counting.tables.popularity
    assert popularity.newest_P[0] < 1e5
    slow.times = target
    shares = popularity.weight_PN[0] / popularity.newest_P[0] * (1 - 0.5 ** (1 / 200))
    assert shares.tolist() == pytest.approx([slow.share(item, 200.0) for item in range(4)])


@pytest.mark.parametrize("returns", [False, True])
def test_what_users_do_not_return_to_is_not_proposed(returns: bool) -> None:
    """Each user does three things, the third of which is the first again or not; in the end the first two are among
    the candidates of a user who has done them, or not, whoever proposes them."""
    counting, events = Counting(_ROOMY, _ROWS), 3_000
    log = _plain([0 if returns else 2] * events, [-1] * 18 + [0, 1])
    _walk(counting, log, 0, events)
    asked = _plain([3], [-1] * 18 + [0, 1], learn=False)
    asked.proposals[:] = 1
    candidates, _, _ = _walk(counting, asked, 0, 1)
    assert set(candidates[0].tolist()) - {-1} == ({0, 1} if returns else {2})


def test_a_ring_full_of_the_same_items_says_that_users_return_to_them() -> None:
    """Of twenty places of the ring one is returned to at a time, but of the two items there each second one."""
    counting, window = Counting(_ROOMY, _ROWS), [0, 1] * 10
    _walk(counting, _plain([0, 1] * 1_500, window), 0, 3_000)
    counted = counting.tables.returns
    assert counted.items_Y[0] == pytest.approx(counted.offered_2Y[0, 0] / 10)
    assert counted.returned_2Y[0, 0] == pytest.approx(counted.items_Y[0] / 2)
    candidates, _, _ = _walk(counting, _plain([3], window, learn=False), 0, 1)
    assert {0, 1} <= set(candidates[0].tolist())


@pytest.mark.parametrize("name", ["items_Y", "items_2", "again_2"])
def test_a_state_from_before_items_were_counted_begins_to_count_them(name: str) -> None:
    counting, log = Counting(_ROOMY, _ROWS), _log(3)
    _walk(counting, log, 0, 60)
    older = {key: array for key, array in counting.state_dict().items() if key != f"returns.{name}"}
    resumed = Counting(_ROOMY, _ROWS)
    resumed.load_state_dict(older)
    assert not getattr(resumed.tables.returns, name).any()
    _walk(resumed, log, 60, 120)
    assert getattr(resumed.tables.returns, name).sum() > 0


def _own(counting: Counting, log: Log) -> set[int]:
    """Candidates of the first event that are named as the user's own."""
    walked = _walked(counting, log, 0, 1)
    return set(walked.candidates_BC[0, walked.proposers_BC[0] == PROPOSERS.index("own")].tolist())


def test_of_a_users_own_items_the_frequent_ones_are_named_before_the_newer_ones() -> None:
    """Of a hundred different items sixty are named: the twenty that stand there twice, though long ago, and of the
    others, which stand there once each, the newest forty."""
    counting = Counting(CountingConfig(neighbours=64, candidates=128), 100)
    window = [*range(80, 100), *range(80, 100), *range(80)]
    assert _own(counting, _plain([0], window, learn=False)) == {*range(80, 100), *range(40, 80)}


def test_an_item_that_stands_in_the_ring_often_takes_one_place_of_the_quota() -> None:
    counting = Counting(CountingConfig(neighbours=64, candidates=128), 100)
    assert _own(counting, _plain([0], [*range(40), *[40, 41] * 50], learn=False)) == set(range(42))


@pytest.mark.parametrize("returns", ["earlier", "present"])
def test_own_items_of_the_session_that_users_return_to_are_named_first(returns: str) -> None:
    """Seventy items of an earlier session and seventy of the present one; sixty are named, though those of the present
    session are the newer ones."""
    counting, window = Counting(CountingConfig(neighbours=64, candidates=128), 200), list(range(140))
    log = _plain([5 if returns == "earlier" else 100] * 3_000, window)
    log.gaps[:, 70] = 11  # 34 minutes before the second half
    _walk(counting, log, 0, 3_000)
    counted = counting.tables.returns
    assert counted.items_2[0] == pytest.approx(counted.items_2[1])
    assert counted.again_2[int(returns == "present")] == pytest.approx(counted.items_2[0] / 70)
    assert counted.again_2[int(returns == "earlier")] == 0
    log.learn[:] = False
    expected = set(range(70)) if returns == "earlier" else set(range(70, 140))
    own = _own(counting, log)
    assert own <= expected
    assert len(own) > 50, "the others are named by others, too"


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 40, 60])
def test_what_comes_later_changes_nothing_before_it(cut: int) -> None:
    """Events from `cut` on are others, in the same batch and in later ones: candidates and features before it, and
    those of the event at `cut` itself (which do not depend on what it turns out to be), are the same."""
    one, other = _log(5, events=64), _log(5, events=64)
    fresh = _log(99, events=64)
    other.target[cut:] = (other.target[cut:] + 7) % _ROWS
    other.learn[cut + 1 :] = ~other.learn[cut + 1 :]
    other.windows[cut + 1 :], other.proposals[cut + 1 :] = fresh.windows[cut + 1 :], fresh.proposals[cut + 1 :]
    first, second = (_walk_all(Counting(_ROOMY, _ROWS), log, 16) for log in (one, other))
    assert np.array_equal(first[0][: cut + 1], second[0][: cut + 1])
    assert np.array_equal(first[1][: cut + 1], second[1][: cut + 1])
    assert not np.array_equal(first[1][cut + 1 :], second[1][cut + 1 :])


def test_an_event_that_is_not_learned_leaves_no_trace() -> None:
    """Tables and popularity stay as they were."""
    log, counting = _log(6), Counting(_ROOMY, _ROWS)
    _walk(counting, log, 0, 60)
    before = copy.deepcopy(counting.state_dict())
    log.learn[:] = False
    _walk(counting, log, 60, 120)
    assert all(np.array_equal(before[name], array) for name, array in counting.state_dict().items())


def _by_candidate(candidates: NDArray[np.int32], features: NDArray[np.float32]) -> list[dict[int, list[float]]]:
    return [
        {row: f for row, f in zip(rows, feats, strict=True) if row >= 0}
        for rows, feats in zip(candidates.tolist(), features.tolist(), strict=True)
    ]
