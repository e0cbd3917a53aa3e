"""Every fault is counted, and the first of each kind can be shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.fault_counts import FaultCounts

FAULTS = st.tuples(st.sampled_from(["NotJson", "BadId"]), st.text(max_size=3), st.text(max_size=3))


def test_the_first_of_a_kind_is_told_and_what_came_makes_no_kind() -> None:
    counts = FaultCounts()
    first = counts.add("BadId", "user: expected a text, got 1", "line 2")
    assert first is not None
    assert (first.name, first.reason, first.place) == ("BadId", "user: expected a text, got 1", "line 2")
    assert counts.add("BadId", "user: expected a text, got 2", "line 3") is None
    assert counts.add("BadId", "item: expected a text, got 2", "line 4") is not None
    assert first.count == 2


def test_the_commonest_come_first_and_of_equals_the_earlier() -> None:
    counts = FaultCounts()
    for name in ("a", "b", "c", "c"):
        counts.add(name, "expected x, got y", "here")
    assert [kind.name for kind in counts.commonest(2)] == ["c", "a"]


@given(st.lists(FAULTS))
def test_no_fault_is_lost(faults: list[tuple[str, str, str]]) -> None:
    counts = FaultCounts()
    for name, reason, place in faults:
        counts.add(name, reason, place)
    names = [name for name, _, _ in faults]
    assert counts.by_name() == {name: names.count(name) for name in set(names)}
    assert counts.total() == len(faults)


def test_kinds_without_number_are_counted_in_bounded_memory() -> None:
    counts = FaultCounts()
    for number in range(10_000):
        counts.add("NotJson", f"expected {number}, got nothing", "here")
    assert counts.by_name() == {"NotJson": 10_000}
    assert len(counts.commonest(10_000)) <= 201
