"""What `make chaos` says of a scenario, and when it plays one again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import play
from tests.chaos.scenario import NotShown, Scenario, Skipped, Stage
from tests.support.fleet import Fleet


def _stage(folder: Path, short: bool = True) -> Stage:
    nothing: Any = None
    return Stage(nothing, nothing, folder, [], short, "classic")


def _failing(*faults: Exception) -> tuple[Scenario, list[Exception]]:
    """It raises these, one a time it is played, and holds after them; the list is what is left of them."""
    left = list(faults)

    def run(stage: Stage) -> dict[str, object]:
        if left:
            raise left.pop(0)
        return {"seen": 1}

    return Scenario(1, "made up", run), left


@pytest.mark.parametrize("fault", [TimeoutError("late"), NotShown("no storm")])
def test_what_showed_nothing_is_played_once_more(tmp_path: Path, fault: Exception) -> None:
    scenario, _ = _failing(fault)
    assert play(scenario, _stage(tmp_path), "classic").result == "held"
    twice, left = _failing(fault, fault, fault)
    assert play(twice, _stage(tmp_path), "classic").result == "unclear"
    assert len(left) == 1


@pytest.mark.parametrize(
    ("fault", "result"),
    [(AssertionError("twice"), "FAILED"), (KeyError("x"), "FAILED"), (Skipped("no tmpfs"), "skipped")],
)
def test_anything_else_is_final(tmp_path: Path, fault: Exception, result: str) -> None:
    scenario, _ = _failing(fault)
    line = play(scenario, _stage(tmp_path), "classic")
    assert line.result == result
    assert str(fault) in str(line)


def test_the_full_form_plays_nothing_twice(tmp_path: Path) -> None:
    scenario, _ = _failing(TimeoutError("late"))
    assert play(scenario, _stage(tmp_path, short=False), "classic").result == "unclear"


def test_waiting_in_vain_is_no_broken_promise() -> None:
    """Otherwise a slow machine would look like a lost event."""
    with pytest.raises(TimeoutError, match="all of it"):
        Fleet(Path()).wait_for(lambda: False, "all of it", 0.0)
