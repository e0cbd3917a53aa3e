"""What is seen of documents: a path for every value, and what stands there."""

from __future__ import annotations

from typing import Any

from stream_worker.core.events import Record
from stream_worker.core.guessing.shapes import Shapes
from stream_worker.core.mapping.sources import source


def paths(*documents: Any) -> list[tuple[str, str]]:
    return list(Shapes(documents).values)


def test_values_are_found_in_objects_arrays_and_pairs() -> None:
    document = {
        "user": {"id": 1},
        "items": [{"sku": "a", "tags": ["x"]}, {"sku": "b"}],
        "ids": ["a", "b"],
        "params": [{"key": "page", "value": {"string_value": "home"}}],
    }
    assert paths(document) == [
        ("", "user.id"), ("items", ".sku"), ("items", ".tags[0]"), ("ids", "."),
        ("", "params[key=page].value.string_value"),
    ]  # fmt: skip


def test_a_path_reads_the_value_that_was_seen_there() -> None:
    """Names that mean something else in a path are written so that they don't."""
    document = {"key": "a", "record_time": "b", "a.b": "c", "header:x": "d", "d e": "e", "$": "f", "": "g"}
    found = {v.path: next(iter(v.distinct)) for v in Shapes([document])}
    assert len(found) == 6  # nothing can name the field without a name
    assert {path: source((path,))(document, None, Record(0, 0, 0, b"key", b"")) for path in found} == found


def test_documents_with_a_value_are_counted_and_nothing_is_none() -> None:
    [user] = Shapes([{"user": "a"}, {"user": None}, {"user": ""}, {}, {"user": "a"}])
    assert user.documents == {0, 4}
    assert user.distinct == {"a": 2}


def test_times_are_told_with_their_unit() -> None:
    values = [1_772_445_803, 1_772_445_803_000, "1772445803000000", "2026-03-02T10:00:00Z", "20260302", 7, True]
    found = [next(iter(Shapes([{"ts": value}]))).units for value in values]
    assert [next(iter(units), None) for units in found] == [
        "seconds", "milliseconds", "microseconds", "text", "text", None, None,
    ]  # fmt: skip


def test_no_document_is_too_deep_or_too_wide() -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = {"a": [deep]}
    wide = {f"field {number}": number for number in range(10_000)}
    long = {"items": [{"id": number} for number in range(100_000)]}
    shapes = Shapes([deep, wide, long])
    assert len(shapes.values) <= 2_000
    assert sum(v.count for v in shapes) < 5_000
