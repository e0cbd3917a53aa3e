"""Where a group begins whose offsets are missing, case by case."""

from __future__ import annotations

import pytest

from stream_worker.core.missing_offsets import (
    EXPIRED,
    FIRST,
    MADE_AGAIN,
    Beginning,
    begin,
    first_partitions,
    most_partitions,
    of_this_topic,
)
from stream_worker.core.offsets import Committed, Kept, Mark
from stream_worker.core.source_id import SourceId

LOW, HIGH = 100, 900
HERE = SourceId("clicks", "b", "c1", "shop")


@pytest.mark.parametrize("start", ["earliest", "latest"])
@pytest.mark.parametrize(
    ("kept", "topic_id", "want"),
    [
        (Kept(500, "a"), "b", Beginning(LOW, MADE_AGAIN)),
        (Kept(None, "a"), "b", Beginning(LOW, MADE_AGAIN)),
        (Kept(500, "b"), "b", Beginning(500, EXPIRED)),
        (Kept(500), "b", Beginning(500, EXPIRED)),
        (Kept(500, "a"), "", Beginning(500, EXPIRED)),
        (Kept(50, "b"), "b", Beginning(50, EXPIRED)),
    ],
)
def test_what_is_remembered_decides_whatever_start_says(kept: Kept, topic_id: str, want: Beginning, start: str) -> None:
    """Another topic is read from its beginning; of the same one, or where nobody knows, M is Y. What retention took
    between M and the log's start is judged where it is read."""
    assert begin(kept, topic_id, start, LOW, HIGH, added=False) == want


@pytest.mark.parametrize(
    ("start", "added", "want"),
    [("earliest", False, LOW), ("latest", False, HIGH), ("earliest", True, LOW), ("latest", True, LOW)],
)
def test_a_first_start_follows_the_setting_but_for_partitions_that_were_added(
    start: str, added: bool, want: int
) -> None:
    assert begin(Kept(None, "b"), "b", start, LOW, HIGH, added) == Beginning(want, FIRST)


@pytest.mark.parametrize(
    ("mark", "kept_mark"),
    [
        (Mark(5, 7, 4, "b", "c1", 9), Mark(5, 7, 4, "b", "c1", 9)),
        (Mark(5, 7, 4), Mark(5, 7, 4, "b", "c1")),
        (Mark(5, 7, 4, "a", "c1", 9), None),
        (Mark(5, 7, 4, "a"), None),
        (Mark(5, 7, 4, "a", "c0", 9), Mark(None, 7, 4, "b", "c1")),
    ],
    ids=["ours", "of an older version", "of the topic before", "of nobody knows which cluster", "of a mirror"],
)
def test_a_published_offset_counts_where_it_is_of_this_topic(mark: Mark, kept_mark: Mark | None) -> None:
    """A mirror translates offsets for its cluster and copies what stands beside them."""
    found = of_this_topic({0: Committed(10, mark)}, HERE)
    assert found == ({} if kept_mark is None else {0: Committed(10, kept_mark)})


def test_without_ids_every_published_offset_counts() -> None:
    committed = {0: Committed(10, Mark(5, 7, 4, "a", "c1", 9))}
    assert of_this_topic(committed, SourceId("clicks", group="shop")) == committed


def test_how_many_partitions_there_were_is_told_by_marks_then_by_memories_then_by_now() -> None:
    marked = [Committed(1, Mark(partitions=4)), Committed(1)]
    assert first_partitions(marked, {0: Kept(3)}, 8) == 4
    assert first_partitions([], {0: Kept(3, first_partitions=2)}, 8) == 2
    assert first_partitions([], {0: Kept(3), 1: Kept(0), 2: Kept()}, 8) == 2
    assert first_partitions([], {0: Kept()}, 8) == 8
    assert most_partitions({0: Kept(partitions=12), 1: Kept()}, 8) == 12
    assert most_partitions({}, 8) == 8
