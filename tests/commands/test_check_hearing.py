"""What `check` says of hearing."""

from __future__ import annotations

import pytest

from stream_worker.commands.check_hearing import hearing_line
from stream_worker.loop.hearing_config import HearingConfig

ON, OFF = HearingConfig(), HearingConfig(enabled=False)


@pytest.mark.parametrize("others", [(), ("g-1",)])
def test_with_hearing_there_is_nothing_to_warn_of(others: tuple[str, ...]) -> None:
    assert hearing_line(ON, others) == (
        "hearing: on, so a worker learns from the partitions of others, too (hearing.enabled)"
    )


def test_a_worker_alone_needs_no_hearing() -> None:
    assert hearing_line(OFF, ()) == "hearing: off, which is good for one worker alone (hearing.enabled)"


@pytest.mark.parametrize(("others", "words"), [(("g-1",), "1 other worker"), (("g-1", "g-2"), "2 other workers")])
def test_without_hearing_a_group_of_several_is_warned_of(others: tuple[str, ...], words: str) -> None:
    assert hearing_line(OFF, others).startswith(f"warning: hearing is off, and the group has {words}: ")
