"""Moments as a person writes them."""

from __future__ import annotations

import doctest

import pytest

from stream_worker.core import moments
from stream_worker.core.moments import Moment, moment


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(moments).failed == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", Moment(offset=0)),
        ("20261129", Moment(offset=20_261_129)),
        ("2023-11-14T22:13:20Z", Moment(timestamp_ms=1_700_000_000_000)),
        ("2023-11-14T23:13:20.5+01:00", Moment(timestamp_ms=1_700_000_000_500)),
        ("2023-11-14", Moment(timestamp_ms=1_699_920_000_000)),
        ("-90s", Moment(timestamp_ms=1_699_999_910_000)),
        ("-15m", Moment(timestamp_ms=1_699_999_100_000)),
        ("-2d", Moment(timestamp_ms=1_699_827_200_000)),
    ],
)
def test_a_moment_is_an_offset_a_time_or_a_time_ago(text: str, found: Moment) -> None:
    assert moment(text, 1_700_000_000.0) == found


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "-1w", "1h", "-h", "1.5", "-1000000000d", "2026-13-01"])
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="-1h"):
        moment(text, 1_700_000_000.0)
