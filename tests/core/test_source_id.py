"""Sources are told apart by what is known of both."""

from __future__ import annotations

import doctest

import pytest

from stream_worker.core import source_id
from stream_worker.core.source_id import SourceId

CLICKS = SourceId("clicks", "a1", "c1", "shop")


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(source_id).failed == 0


@pytest.mark.parametrize("other", [CLICKS, SourceId("clicks"), SourceId("clicks", group="shop")])
def test_what_is_unknown_differs_from_nothing(other: SourceId) -> None:
    assert CLICKS.is_same(other)
    assert other.is_same(CLICKS)


@pytest.mark.parametrize(
    "other",
    [
        SourceId("carts", "a1", "c1", "shop"),
        SourceId("clicks", "b2", "c1", "shop"),
        SourceId("clicks", "a1", "c2", "shop"),
        SourceId("clicks", "a1", "c1", "bakery"),
    ],
)
def test_one_known_difference_is_another_source(other: SourceId) -> None:
    assert not CLICKS.is_same(other)


def test_it_survives_json_and_an_older_version_wrote_the_name_alone() -> None:
    assert SourceId.of_json(CLICKS.to_json()) == CLICKS
    assert SourceId.of_json("clicks") == SourceId("clicks")
