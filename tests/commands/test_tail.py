"""`stream-worker tail`: one line a list, for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stream_worker.commands import tail
from stream_worker.core.events import Recommendation
from stream_worker.exit_codes import ExitCode
from tests.test_commands import call


def a_list(user: str, offset: int, items: tuple[str, ...] = ("teapot", "cup")) -> Recommendation:
    scores = tuple(0.31 / (k + 1) for k in range(len(items)))
    return Recommendation(
        user=user, partition=3, next_offset=offset + 1, events=2, ts=1_700_000_000.0, items=items, scores=scores,
        line="0-5f3a", step=812, request_ids=(),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice and Bob by turns, without end."""

    def lists(_: Any, *, from_beginning: bool) -> Iterator[Recommendation]:
        for offset in range(10_000):
            yield a_list("alice" if offset % 2 == 0 else "bob", offset)
        raise AssertionError("read on after what was asked for")

    monkeypatch.setattr(tail, "tail", lists)


def test_a_line_says_when_who_after_how_many_events_what_and_where() -> None:
    assert tail.line(a_list("alice", 1041), 5) == (
        "2023-11-14 22:13:20  alice             +2  teapot 31%, cup 16%  [3:1041]"
    )
    assert "teapot 31%  [" in tail.line(a_list("alice", 1), 1)
    assert "(nothing yet)" in tail.line(a_list("alice", 1, ()), 5)


def test_it_ends_after_as_many_lists_as_asked_for() -> None:
    code, out, _ = call("tail", "--count", "3")
    assert code == ExitCode.DONE
    assert [line.split()[2] for line in out.splitlines()] == ["alice", "bob", "alice"]


def test_only_the_lists_of_one_user_are_shown_and_counted() -> None:
    code, out, _ = call("tail", "--user", "bob", "--count", "3", "--items", "1")
    assert code == ExitCode.DONE
    assert [line.split()[2] for line in out.splitlines()] == ["bob", "bob", "bob"]
    assert "cup" not in out
