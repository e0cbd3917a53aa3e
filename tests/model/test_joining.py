"""Two memories become one: rings by time, counters summed, ids together, and nothing is joined a second time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from model.batch import NO_GAP, SESSION_ENDS
from model.joining import KEPT_JOINS, join

RING, IDS = 8, 6
_START = 1_700_000_000.0


def memory(events: Sequence[tuple[int, float]], ids: Sequence[int] = (), count: int | None = None) -> dict[str, Any]:
    """The memory of a user with events of (item, second), as the table has it; the type is the item's last digit."""
    gaps, before = [], None
    for _, second in events:
        gaps.append(NO_GAP if before is None else int(np.log2(1 + max(0.0, second - before))))
        before = second if before is None else max(before, second)
    return {
        "number": _right([item for item, _ in events], RING, np.uint32),
        "type": _right([item % 10 for item, _ in events], RING, np.uint8),
        "gap": _right(gaps, RING, np.uint8),
        "events": np.asarray(len(events) if count is None else count, np.uint32),
        "ts": np.asarray(0.0 if before is None else _START + before),
        "next_offset": np.asarray(5),
        "session": np.asarray(0, np.uint32),
        "in_set": np.asarray(0, np.int64),
        "ids": _right(ids, IDS, np.uint32),
        "joined": np.zeros((KEPT_JOINS, 2), np.uint32),
    }


def _right(values: Sequence[int], size: int, kind: Any) -> Any:
    kept = np.array(values, kind)[-size:]
    return np.concatenate([np.zeros(size - len(kept), kind), kept])


def ring(joined: dict[str, Any]) -> list[int]:
    assert (joined["type"] == joined["number"] % 10).all()
    return [int(number) for number in joined["number"] if number]


def joined(own: dict[str, Any], other: dict[str, Any], code: int = 9) -> dict[str, Any]:
    found = join(own, other, code)
    assert found is not None
    return found


def test_who_comes_back_has_what_was_done_before_the_login_behind_what_was_known() -> None:
    own = memory([(11, 0), (12, 60)])
    found = joined(own, memory([(21, 5_000), (22, 5_030), (23, 5_033)]))
    assert ring(found) == [11, 12, 21, 22, 23]
    assert found["gap"][-5:].tolist() == [NO_GAP, 5, 12, 4, 2]
    assert (int(found["events"]), float(found["ts"]), int(found["next_offset"])) == (5, _START + 5_033, 5)


def test_who_was_known_later_only_gets_what_was_before_in_front() -> None:
    found = joined(memory([(11, 9_000)]), memory([(21, 0), (22, 30)]))
    assert ring(found) == [21, 22, 11]
    assert found["gap"][-3:].tolist() == [NO_GAP, 4, 13]
    assert float(found["ts"]) == _START + 9_000


def test_rings_that_overlap_are_joined_by_the_times_that_gaps_give() -> None:
    """Of two devices that were used in turn, an hour each."""
    found = joined(memory([(11, 0), (12, 10), (13, 7_200)]), memory([(21, 3_600), (22, 3_610), (23, 10_800)]))
    assert ring(found) == [11, 12, 21, 22, 13, 23]
    gaps = found["gap"][-6:].tolist()
    assert (gaps[0], gaps[1], gaps[3]) == (NO_GAP, 3, 3)
    assert all(8 <= gap <= 12 for gap in (gaps[2], gaps[4], gaps[5]))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("own_first", [True, False])
def test_of_two_rings_that_do_not_overlap_the_older_one_stands_in_front(seed: int, own_first: bool) -> None:
    """However the times fall into their buckets, and however long it was in between."""
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.choice([0, 1, 3, 7, 8, 100, 1_023, 3_000, 90_000], RING)).tolist()
    events = [(k + 1, float(second)) for k, second in enumerate(seconds)]
    older, newer = memory(events[:5]), memory(events[5:])
    found = joined(older, newer) if own_first or older["ts"] == newer["ts"] else joined(newer, older)
    if older["ts"] < _START + seconds[5]:
        assert ring(found) == list(range(1, RING + 1))


@pytest.mark.parametrize("seed", range(20))
def test_each_ring_keeps_its_order_and_only_the_oldest_entries_leave(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, RING + 1, 2)
    first, second = (
        [(base + k, second) for k, second in enumerate(np.sort(rng.integers(0, 10_000, size)).tolist())]
        for base, size in zip((100, 200), sizes, strict=True)
    )
    found = join(memory(first), memory(second), 9)
    if found is None:
        assert not second
        return
    kept = ring(found)
    assert len(kept) == min(RING, sizes.sum())
    for items in ([item for item, _ in first], [item for item, _ in second]):
        of_it = [item for item in kept if item in items]
        assert of_it == items[len(items) - len(of_it) :]
    assert int(found["events"]) == sizes.sum()


def test_a_user_without_a_memory_gets_all_of_the_other_ones() -> None:
    other = memory([(21, 0), (22, 30)], ids=[3, 4])
    found = joined(memory([]), other)
    for name in ("number", "type", "gap", "events", "ts", "ids"):
        assert found[name].tolist() == other[name].tolist(), name


@pytest.mark.parametrize("other", [memory([]), memory([], ids=[3])])
def test_of_a_memory_of_no_events_nothing_is_joined(other: dict[str, Any]) -> None:
    assert join(memory([(11, 0)]), other, 9) is None


def test_a_memory_that_came_from_another_partition_has_a_ring_and_no_count() -> None:
    found = joined(memory([(11, 9_000)]), memory([(21, 0), (22, 30)], count=0))
    assert (ring(found), int(found["events"])) == ([21, 22, 11], 1)


def test_the_same_login_again_joins_only_what_came_since() -> None:
    """A tracker names both ids at every page: nothing may be counted twice."""
    own, other = memory([(11, 0)]), [(21, 100), (22, 200)]
    once = joined(own, memory(other))
    assert join(once, memory(other), 9) is None
    again = joined(once, memory([*other, (23, 300)]))
    assert (ring(again), int(again["events"])) == ([11, 21, 22, 23], 4)
    assert join(again, memory([*other, (23, 300)]), 9) is None
    assert ring(joined(again, memory([(31, 400)]), code=7)) == [11, 21, 22, 23, 31]


def test_another_id_that_began_anew_is_all_new() -> None:
    once = joined(memory([(11, 0)]), memory([(21, 100), (22, 200)]))
    assert ring(joined(once, memory([(24, 500)]))) == [11, 21, 22, 24]


def test_what_came_with_the_other_memory_is_not_joined_again() -> None:
    """b took a's events, and the user took b's: a's are there."""
    a = memory([(31, 0)])
    b = joined(memory([(21, 100)]), a, code=1)
    user = joined(memory([(11, 200)]), b, code=2)
    assert (ring(user), int(user["events"])) == ([31, 21, 11], 3)
    assert join(user, a, 1) is None


def test_the_joins_kept_are_the_newest_ones() -> None:
    user = memory([(11, 0)])
    for code in range(1, KEPT_JOINS + 3):
        user = joined(user, memory([(20 + code, 100.0 * code)]), code)
    assert user["joined"].tolist() == [[code, 1] for code in range(3, KEPT_JOINS + 3)]
    assert join(user, memory([(23, 300)]), 3) is None


def test_of_ids_the_newer_memorys_stay_and_none_stands_twice() -> None:
    own, other = memory([(11, 0)], ids=[1, 2, 3, 4]), memory([(21, 100)], ids=[5, 2, 6])
    assert joined(own, other)["ids"].tolist() == [1, 3, 4, 5, 2, 6]
    late = memory([(11, 200)], ids=[1, 2, 3, 4])
    assert joined(late, other)["ids"].tolist() == [5, 6, 1, 2, 3, 4]


def test_sets_that_stay_together_are_sets_and_the_session_is_the_newer_memorys() -> None:
    """Of an order of three things, and of one into which something falls."""
    own, other = memory([(11, 0), (12, 0), (13, 0)]), memory([(21, 50), (22, 60), (23, 60)])
    own["in_set"], own["session"] = np.asarray(0b011, np.int64), np.asarray(7, np.uint32)
    other["in_set"], other["session"] = np.asarray(0b001, np.int64), np.asarray(8, np.uint32)
    found = joined(own, other)
    assert (ring(found), int(found["in_set"]), int(found["session"])) == ([11, 12, 13, 21, 22, 23], 0b011001, 8)
    between = memory([(31, 50)])
    wide = memory([(11, 0), (12, 100)])
    wide["in_set"] = np.asarray(0b1, np.int64)
    assert (ring(joined(wide, between)), int(joined(wide, between)["in_set"])) == ([11, 31, 12], 0)


def test_the_gap_of_a_new_session_may_be_as_short_as_any() -> None:
    """A session id that changes within a minute makes it long."""
    other = memory([(21, 50), (22, 60)])
    other["gap"][-1] = SESSION_ENDS
    assert ring(joined(memory([(11, 40)]), other)) == [11, 21, 22]


def test_an_unknown_gap_counts_as_no_time() -> None:
    """The first event in another partition has one, in the middle of the ring."""
    own = memory([(11, 0), (12, 100)])
    own["gap"][-1] = NO_GAP
    assert ring(joined(own, memory([(21, 50)]))) == [21, 11, 12]
