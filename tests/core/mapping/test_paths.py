"""A path finds one value of a nested document, and says what is wrong with a path that is none."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.mapping import paths
from stream_worker.core.mapping.paths import head, path

DOCUMENT: dict[str, Any] = {
    "identityMap": {"ECID": [{"id": "x"}, {"id": "y", "primary": True}]},
    "a.b": 3,
    "a": {"b": 4, "c": [1, 2, {"k": "q", "v": 9}], "none": None},
    "key": 5,
    "Age [years]": 6,
    "params": [{"key": "id", "value": {"int": 7}}, {"key": 7, "value": {"string": "seven"}}],
}


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(paths).failed == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("key", 5),
        ("$.key", 5),
        ("a.c", [1, 2, {"k": "q", "v": 9}]),
        ("a.c[0]", 1),
        ("a.c[-1].v", 9),
        ("a.c[7]", None),
        ("a.c[*].v", 9),
        ("a.c.*.v", 9),
        ("a.c[k=q].v", 9),
        ("a.c[k=z].v", None),
        ("identityMap.*[primary=true].id", "y"),
        ("params[key=id].value.int", 7),
        ("params[key=7].value.string", "seven"),
        ('"Age [years]"', 6),
        ("a.none", None),
        ("a.b.c", None),
        ("nothing.at.all", None),
    ],
)
def test_a_path_finds_its_value(text: str, value: object) -> None:
    assert path(text)(DOCUMENT) == value


def test_a_field_whose_whole_name_has_dots_goes_before_the_path() -> None:
    """Names with dots were fields of flat records before there were paths."""
    assert path("a.b")(DOCUMENT) == 3
    assert path("a.b")({"a": {"b": 4}}) == 4


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", "a[", "a]", "a[x]", "a[=1]", "a[1]b"])
def test_what_is_no_path_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be names|must hold a number"):
        path(text)


@given(st.text(max_size=12))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        path(text)(DOCUMENT)
    except ValueError:
        return


@pytest.mark.parametrize("document", [None, 7, "a", [], [{"a": 1}]])
def test_a_document_that_is_no_object_has_nothing(document: object) -> None:
    assert path("a")(document) is None
    assert path("a.b")(document) is None


def test_the_head_of_a_path_is_the_field_to_read() -> None:
    assert [head(text) for text in ("a", "a.b[0]", "$.key", "*.id")] == ["a", "a", "key", ""]
