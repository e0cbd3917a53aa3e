"""Fault points: what `[debug] fault` means, and that every point is a place in the program."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.config import load_settings
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.fault_points import POINTS, DebugConfig, no_fault

PROGRAM = Path(__file__).parents[2] / "stream_worker"


def acted(fault: str, *reached: str) -> list[tuple[int, str]]:
    """Which of the points reached in turn, counted from 1, made the process act, and how."""
    acts: list[tuple[int, str]] = []
    now = 0

    def act(action: str) -> None:
        acts.append((now, action))

    call = DebugConfig(fault).reached(act)
    for now, point in enumerate(reached, 1):  # noqa: B007  (`act` reads it)
        call(point)
    return acts


def test_nothing_happens_unless_a_test_asks_for_it() -> None:
    """The default costs one call that does nothing."""
    assert DebugConfig().fault == ""
    assert DebugConfig().reached(pytest.fail) is no_fault
    assert acted("", *POINTS) == []


@pytest.mark.parametrize("point", POINTS)
def test_a_point_alone_means_the_first_time_and_kill(point: str) -> None:
    """Whatever other points are passed before and after it."""
    assert acted(point, *POINTS, *POINTS) == [(list(POINTS).index(point) + 1, "kill")]


@given(point=st.sampled_from(list(POINTS)), count=st.integers(1, 6), way=st.lists(st.sampled_from(list(POINTS))))
def test_a_count_means_that_time_and_no_other(point: str, count: int, way: list[str]) -> None:
    """Other points do not count, and what comes after it does nothing more."""
    times = [place for place, passed in enumerate(way, 1) if passed == point]
    assert acted(f"{point}:{count}", *way) == [(place, "kill") for place in times[count - 1 : count]]


def test_a_process_may_be_stopped_instead() -> None:
    assert acted("floor.written:2:stop", "floor.written", "written", "floor.written") == [(3, "stop")]


def test_an_unknown_point_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown point 'transaction.ofsets_sent'.*'transaction.offsets_sent'"):
        DebugConfig("transaction.ofsets_sent:3")


def test_an_empty_part_means_its_default() -> None:
    assert acted("written:", "written") == [(1, "kill")]
    assert acted("written::stop", "written") == [(1, "stop")]
    assert acted("written:2:", "written", "written") == [(2, "kill")]


@pytest.mark.parametrize("rest", ["0", "-1", "1.5", "x", "kill", "1:pause", "1:kill:2"])
def test_a_count_or_action_that_means_nothing_is_refused(rest: str) -> None:
    """The message says what is expected and what was given."""
    with pytest.raises(ValueError, match=rf"point:count:kill\|stop, got 'written:{rest}'"):
        DebugConfig(f"written:{rest}")


def test_the_environment_sets_it_and_is_told_what_is_wrong() -> None:
    """As chaos tests do it; a misspelt point is an error of the configuration, before anything has begun."""
    name = "STREAM_WORKER__DEBUG__FAULT"
    assert load_settings(None, {name: "checkpoint.arrays:2"}).debug.fault == "checkpoint.arrays:2"
    with pytest.raises(ConfigurationError, match=r"unknown point 'checkpoint.array'; did you mean 'checkpoint.arrays'"):
        load_settings(None, {name: "checkpoint.array"})


def test_every_point_is_one_place_in_the_program_and_every_place_a_point() -> None:
    """A name that is in the table alone would never kill anybody; one that is in the program alone never could."""
    text = "".join(path.read_text() for path in sorted(PROGRAM.rglob("*.py")))
    assert Counter(re.findall(r'reached\("([^"]+)"\)', text)) == Counter(POINTS.keys())
