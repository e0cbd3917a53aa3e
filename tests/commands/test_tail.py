"""`stream-worker tail`: one line a list, for a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_worker.backends.kafka import Published
from stream_worker.commands import tail
from stream_worker.core.codec import encode_recommendation
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

    def lists(
        _: Any, *, from_beginning: bool, on_idle: Callable[[], None]
    ) -> Iterator[tuple[Recommendation, Published]]:
        for offset in range(10_000):
            found = a_list("alice" if offset % 2 == 0 else "bob", offset)
            yield found, Published(3, offset, 0, None, encode_recommendation(found, "clicks"), {})
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


def test_json_is_one_object_a_line_as_it_was_published() -> None:
    code, out, _ = call("tail", "--json", "--user", "bob", "--count", "2")
    assert code == ExitCode.DONE
    lists = [json.loads(line) for line in out.splitlines()]
    assert [found["as_of"]["offset"] for found in lists] == [1, 3]
    assert lists[0]["items"][0] == {"item": "teapot", "score": 0.31}


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    """An id may hold anything: a title for the window, another line, text from right to left."""
    shown = tail.line(a_list("\x1b]0;owned\x07", 1, ("a\nb", "\u202ecup", "Tasse rot")), 5)
    assert shown.isprintable()
    assert all(text in shown for text in ("\\x1b]0;owned\\x07", "a\\nb", "\\u202ecup", "Tasse rot"))


def test_json_on_a_terminal_is_plain_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    value = json.dumps({"user": "\x9b31m\u202e\n", "items": []}, ensure_ascii=False).encode()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert tail.as_line(value).isprintable()
    assert json.loads(tail.as_line(value)) == json.loads(value)


def test_what_is_waited_for_is_said_once_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    hint = tail.Hint("waiting for a list", lambda: now[0])
    hint.waits()
    assert capsys.readouterr().err == ""
    for _ in range(3):
        now[0] += 2.0
        hint.waits()
    assert capsys.readouterr().err == "waiting for a list\n"


def test_nothing_is_said_once_a_list_has_come(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    hint = tail.Hint("waiting for a list", lambda: now[0])
    hint.found = True
    now[0] = 100.0
    hint.waits()
    assert capsys.readouterr().err == ""
