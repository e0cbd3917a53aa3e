"""A log's habits that spoil figures are told once, with how much there is of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_worker.core.codec import encode_event
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Events, Record
from stream_worker.core.log_watch import LogWatch
from stream_worker.core.mapping.config import EventsConfig

T = 1_600_000_000
Row = tuple[str, str, int]


def batches(rows: list[Row], size: int) -> Iterator[Events]:
    records = [
        Record(0, n, ts * 1000, None, encode_event(user, item, "view", ts)) for n, (user, item, ts) in enumerate(rows)
    ]
    for start in range(0, len(records), size):
        yield Decoder(EventsConfig()).decode(records[start : start + size])[0]


def findings(rows: list[Row], size: int = 7, *, mapped: bool = True) -> list[str]:
    watch = LogWatch(mapped=mapped)
    for events in batches(rows, size):
        watch.add(events)
    return list(watch.findings())


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_log_in_order_has_nothing_to_tell(size: int) -> None:
    """Nor one that is a few seconds out of order, or in which one user does two things at one time."""
    rows = [(f"u{n % 9}", f"i{n % 4}", T + 10 * (n // 2) - 30 * (n % 2)) for n in range(60)]
    rows += [("a", "x", T + 900), ("a", "y", T + 900), ("a", "x", T + 900)]
    assert findings(rows, size) == []


@pytest.mark.parametrize("size", [1, 2, 100])
def test_rows_out_of_order_are_told_with_the_first(size: int) -> None:
    rows = [("a", "x", T), ("b", "y", T + 90), ("a", "z", T), ("b", "x", T + 90), ("a", "y", T)]
    [told] = findings(rows, size)
    assert told.startswith("2 events are more than a minute older than the one before (first: row 2)")
    assert "sort = true" in told
    [told] = findings(rows, size, mapped=False)
    assert told.endswith("(first: row 2), as in their topic")


@pytest.mark.parametrize("size", [1, 2, 100])
def test_an_event_that_stands_there_twice_is_told(size: int) -> None:
    rows = [("a", "x", T), ("a", "x", T), ("b", "x", T), ("b", "x", T + 1), ("b", "x", T + 1)]
    [told] = findings(rows, size)
    assert told.startswith("2 events stand there twice in a row (first: row 1)")


def test_a_user_with_more_than_a_fifth_is_told_by_name() -> None:
    """A second shop's NA was one user with 11,322 of 18,025 events."""
    rows = [("NA" if n % 3 else f"u{n}", f"i{n}", T + n) for n in range(1_500)]
    [told] = findings(rows, 384)
    assert told.startswith("67% of the events are of one user, 'NA'")
    assert findings([(f"u{n % 5}", f"i{n}", T + n) for n in range(1_500)]) == []
    assert findings([("a", f"i{n}", T + n) for n in range(20)]) == []


def test_users_without_number_are_watched_in_bounded_memory() -> None:
    watch = LogWatch()
    for events in batches([("NA" if n % 4 == 0 else f"u{n}", "i", T + n) for n in range(60_000)], 500):
        watch.add(events)
    assert len(watch._users) <= 20_000
    assert "25% of the events are of one user, 'NA'" in "".join(watch.findings())
