"""The compiled walk against plain Python, its bounds, and that nothing of the future is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.counting import FEATURES, FORWARD, NEXT, WIDE, Counting, CountingConfig
from tests.model.slow_counting import SlowCounting

_ROWS, _RING = 30, 6
_WIDE_OPEN = CountingConfig(neighbours=40, candidates=64, from_counts=64, from_history=24)


@dataclass
class Log:
    """Events as columns; windows are those of the users' own earlier events."""

    windows: NDArray[np.int32]
    target: NDArray[np.int32]
    learn: NDArray[np.bool_]
    idle: NDArray[np.float32]
    gap: NDArray[np.float32]
    proposals: NDArray[np.int32]


def _log(seed: int, events: int = 120, ring: int = _RING, rows: int = _ROWS, learned: float = 0.8) -> Log:
    rng = np.random.default_rng(seed)
    rings = np.full((4, ring), -1, dtype=np.int32)
    windows, target = np.zeros((events, ring), np.int32), rng.integers(0, rows, events).astype(np.int32)
    target = np.where(rng.random(events) < 0.5, target % 6, target).astype(np.int32)
    for k, user in enumerate(rng.integers(0, 4, events)):
        windows[k] = rings[user]
        rings[user] = np.append(rings[user][1:], target[k])
    windows[rng.random(windows.shape) < 0.05] = -1  # evicted items leave gaps
    idle, gap = rng.random((2, events)).astype(np.float32)
    proposals = rng.integers(-1, rows, (events, 3)).astype(np.int32)
    return Log(windows, target, rng.random(events) < learned, idle, gap, proposals)


def _walk(counting: Counting, log: Log, start: int, stop: int, seen: NDArray[np.int64], now: int = 0) -> Any:
    part = slice(start, stop)
    return counting.walk(
        log.windows[part], log.target[part], log.learn[part], log.idle[part], log.gap[part], log.proposals[part],
        np.zeros(counting.rows, np.int64), seen, now + np.cumsum(log.learn[part]),
    )  # fmt: skip


def _walk_all(counting: Counting, log: Log, size: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    seen, outs, now = np.zeros(counting.rows, np.int64), [], 0
    for start in range(0, len(log.target), size):
        outs.append(_walk(counting, log, start, start + size, seen, now))
        now += int(log.learn[start : start + size].sum())
    return np.concatenate([c for c, _ in outs]), np.concatenate([f for _, f in outs])


@pytest.mark.parametrize("seed", range(4))
def test_tables_are_those_of_plain_python(seed: int) -> None:
    """Every weight, total and share of the compiled walk, to the bit of float32, with rows that overflow."""
    log, fast, slow = _log(seed), Counting(CountingConfig(neighbours=5), _ROWS), SlowCounting(5, _ROWS)
    _walk_all(fast, log, 16)
    for k in np.flatnonzero(log.learn):
        slow.learn(log.windows[k].tolist(), int(log.target[k]))
    for table in (NEXT, FORWARD, WIDE):
        for row in range(_ROWS):
            pairs = zip(fast.neighbour_TNK[table, row].tolist(), fast.weight_TNK[table, row].tolist(), strict=True)
            assert list(map(list, pairs)) == slow.pairs[table][row]
    assert fast.total_TN.tolist() == slow.total


@pytest.mark.parametrize("seed", range(4))
def test_features_are_those_of_plain_python(seed: int) -> None:
    """Each feature of each candidate of each event, computed from what came before it, inside a batch too."""
    log, slow = _log(seed), SlowCounting(40, _ROWS)
    candidates, features = _walk_all(Counting(_WIDE_OPEN, _ROWS), log, 16)
    now, seen = 0, [0] * _ROWS
    for k, window in enumerate(log.windows.tolist()):
        now += bool(log.learn[k])
        for place, row in enumerate(candidates[k].tolist()):
            if row >= 0:
                expected = slow.features(window, row, float(log.idle[k]), float(log.gap[k]), 0, seen[row], now)
                assert dict(zip(FEATURES, features[k, place].tolist(), strict=True)) == pytest.approx(
                    dict(zip(FEATURES, expected, strict=True)), rel=1e-4, abs=1e-4
                )
        if log.learn[k]:
            slow.learn(window, int(log.target[k]))
            seen[int(log.target[k])] = now


@pytest.mark.parametrize("seed", range(4))
def test_candidates_are_everything_that_has_a_reason_and_nothing_else(seed: int) -> None:
    """With room for all: the encoder's, the user's own, neighbours of recent items, what was hot before the batch."""
    log, slow, counting = _log(seed), SlowCounting(40, _ROWS), Counting(_WIDE_OPEN, _ROWS)
    candidates, _ = _walk_all(counting, log, 16)
    hot: set[int] = set()
    for k, window in enumerate(log.windows.tolist()):
        if k % 16 == 0:
            ranked = [sorted(set(slow.times), key=lambda i: -slow.share(i, half)) for half in (200, 2e3, 2e4, 2e6)]
            hot = {item for best in ranked for item in best[:8]}
        named = {row for row in candidates[k].tolist() if row >= 0}
        reasons = {row for row in [*log.proposals[k].tolist(), *window] if row >= 0} | slow.proposed(window) | hot
        assert named == reasons
        assert len(named) == (candidates[k] >= 0).sum(), "a candidate stands twice"
        if log.learn[k]:
            slow.learn(window, int(log.target[k]))


def test_with_little_room_the_encoder_and_the_users_own_come_first() -> None:
    """A full list drops the weakest, never what the encoder found or the user did last."""
    log = _log(1, events=200)
    counting = Counting(CountingConfig(neighbours=40, candidates=12, from_counts=4, from_history=3), _ROWS)
    candidates, _ = _walk_all(counting, log, 20)
    for k in range(len(candidates)):
        named = candidates[k].tolist()
        encoder = {row for row in log.proposals[k].tolist() if row >= 0}
        own = [row for row in dict.fromkeys(reversed(log.windows[k].tolist())) if row >= 0 and row not in encoder]
        assert encoder | set(own[:3]) <= set(named)


def test_when_a_row_is_full_the_weakest_leaves() -> None:
    """A newcomer takes the place of the item with the least weight; the others stay."""
    counting = Counting(CountingConfig(neighbours=4), 10)
    after = [1, 1, 1, 2, 3, 3, 4, 4, 5]
    log = Log(
        np.tile(np.array([[-1, 0]], np.int32), (len(after), 1)), np.array(after, np.int32), np.ones(len(after), bool),
        np.zeros(len(after), np.float32), np.zeros(len(after), np.float32), np.full((len(after), 1), -1, np.int32),
    )  # fmt: skip
    _walk(counting, log, 0, len(after), np.zeros(10, np.int64))
    assert set(counting.neighbour_TNK[FORWARD, 0].tolist()) == {1, 3, 4, 5}
    weights = dict(zip(counting.neighbour_TNK[FORWARD, 0].tolist(), counting.weight_TNK[FORWARD, 0], strict=True))
    assert weights == {1: 3.0, 3: 2.0, 4: 2.0, 5: 1.0}
    assert counting.total_TN[FORWARD, 0] == len(after)


def test_a_forgotten_row_is_nowhere() -> None:
    """Neither its own counts nor a mention of it by another row remain, and it is proposed no more."""
    log, counting = _log(2), Counting(_WIDE_OPEN, _ROWS)
    _walk_all(counting, log, 16)
    assert np.isin([0, 3], counting.neighbour_TNK).all()
    others = counting.total_TN[:, 1].copy()
    counting.forget(np.array([0, 3]))
    assert not np.isin([0, 3], counting.neighbour_TNK).any()
    assert not counting.weight_TNK[counting.neighbour_TNK < 0].any()
    assert not counting.total_TN[:, [0, 3]].any()
    assert not counting.popularity_PN[:, [0, 3]].any()
    assert np.array_equal(counting.total_TN[:, 1], others)
    log.windows[np.isin(log.windows, [0, 3])] = -1
    log.proposals[np.isin(log.proposals, [0, 3])] = -1
    log.learn[:] = False
    candidates, _ = _walk_all(counting, log, 16)
    assert not np.isin([0, 3], candidates).any()


def test_growth_changes_nothing_of_what_was_counted() -> None:
    """The same candidates and features before and after the tables grew in the middle of a log."""
    log = _log(3)
    plain, grown = Counting(_WIDE_OPEN, _ROWS), Counting(_WIDE_OPEN, _ROWS)
    seen = [np.zeros(_ROWS, np.int64), np.zeros(_ROWS, np.int64)]
    for counting, mine in zip((plain, grown), seen, strict=True):
        _walk(counting, log, 0, 60, mine)
    grown.grow(3 * _ROWS)
    assert grown.rows == 3 * _ROWS
    first = _walk(plain, log, 60, 120, seen[0])
    second = _walk(grown, log, 60, 120, np.pad(seen[1], (0, 2 * _ROWS)))
    for one, other in zip(_by_candidate(*first), _by_candidate(*second), strict=True):
        assert one == other


def test_a_resumed_state_goes_on_to_the_bit() -> None:
    """A walk from `state_dict` on equals the walk that was never interrupted."""
    log, counting, twin = _log(4), Counting(_WIDE_OPEN, _ROWS), Counting(_WIDE_OPEN, _ROWS)
    seen = np.zeros(_ROWS, np.int64)
    _walk(counting, log, 0, 60, seen)
    twin.load_state_dict(counting.state_dict())
    first, second = (_walk(one, log, 60, 120, seen.copy()) for one in (counting, twin))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert all(np.array_equal(counting.state_dict()[name], twin.state_dict()[name]) for name in twin.state_dict())


def test_popularity_survives_its_own_growth() -> None:
    """Forward decay divides by its increment now and then; shares stay those of the definition."""
    slow, counting = SlowCounting(4, 4), Counting(CountingConfig(neighbours=4), 4)
    events = 9_000  # 200 events double the increment, so that it passes 1e12 after 8,000
    target = (np.arange(events) // 3 % 4).astype(np.int32)
    log = Log(
        np.full((events, 2), -1, np.int32), target, np.ones(events, bool), np.zeros(events, np.float32),
        np.zeros(events, np.float32), np.full((events, 1), -1, np.int32),
    )  # fmt: skip
    _walk(counting, log, 0, events, np.zeros(4, np.int64))
    assert counting.increment_P[0] < 1e5
    slow.times = target.tolist()
    shares = counting.popularity_PN[0] / counting.increment_P[0] * (1 - 0.5 ** (1 / 200))
    assert shares.tolist() == pytest.approx([slow.share(item, 200.0) for item in range(4)])


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 40, 60])
def test_what_comes_later_changes_nothing_before_it(cut: int) -> None:
    """Events from `cut` on are others, in the same batch and in later ones: candidates and features before it, and
    those of the event at `cut` itself (which do not depend on what it turns out to be), are the same."""
    one, other = _log(5, events=64), _log(5, events=64)
    fresh = _log(99, events=64)
    other.target[cut:] = (other.target[cut:] + 7) % _ROWS
    other.learn[cut + 1 :] = ~other.learn[cut + 1 :]
    other.windows[cut + 1 :], other.proposals[cut + 1 :] = fresh.windows[cut + 1 :], fresh.proposals[cut + 1 :]
    first, second = (_walk_all(Counting(_WIDE_OPEN, _ROWS), log, 16) for log in (one, other))
    assert np.array_equal(first[0][: cut + 1], second[0][: cut + 1])
    assert np.array_equal(first[1][: cut + 1], second[1][: cut + 1])
    assert not np.array_equal(first[1][cut + 1 :], second[1][cut + 1 :])


def test_an_event_that_is_not_learned_leaves_no_trace() -> None:
    """Tables, popularity and `seen` stay as they were."""
    log, counting = _log(6), Counting(_WIDE_OPEN, _ROWS)
    seen = np.zeros(_ROWS, np.int64)
    _walk(counting, log, 0, 60, seen)
    before, seen_before = counting.state_dict(), seen.copy()
    log.learn[:] = False
    _walk(counting, log, 60, 120, seen)
    assert all(np.array_equal(before[name], array) for name, array in counting.state_dict().items())
    assert np.array_equal(seen, seen_before)


def test_too_few_neighbours_are_refused() -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=r"model\.neighbours"):
        CountingConfig(neighbours=3)


def _by_candidate(candidates: NDArray[np.int32], features: NDArray[np.float32]) -> list[dict[int, list[float]]]:
    return [
        {row: f for row, f in zip(rows, feats, strict=True) if row >= 0}
        for rows, feats in zip(candidates.tolist(), features.tolist(), strict=True)
    ]
