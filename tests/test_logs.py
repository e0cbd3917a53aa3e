"""Log lines: one form for our own and the libraries' lines, on stderr."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from stream_worker import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Logging is the process's, so every test hands it back as it found it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_without_a_terminal_every_line_is_one_json_object() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    logs.get_logger("worker").warning("partition lost", partition=3, reason="a\nb")
    (line,) = lines(stream)
    assert (line["event"], line["partition"], line["reason"]) == ("partition lost", 3, "a\nb")
    assert (line["level"], line["logger"]) == ("warning", "worker")


def test_timestamps_are_iso_and_utc() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    logs.get_logger("worker").info("hello")
    written = lines(stream)[0]["timestamp"]
    assert written.endswith("Z")
    assert abs(datetime.fromisoformat(written) - datetime.now(UTC)) < timedelta(minutes=1)


def test_lines_of_libraries_take_the_same_form() -> None:
    """confluent_kafka's clients are given such a logger and call it with a format and arguments."""
    stream = io.StringIO()
    logs.configure("info", stream)
    logging.getLogger("kafka").error("%s [%s] %s", "FAIL", "thrd:main", "refused")
    (line,) = lines(stream)
    assert line["event"] == "FAIL [thrd:main] refused"
    assert (line["level"], line["logger"]) == ("error", "kafka")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("terminal", [False, True])
def test_exceptions_are_in_the_line_without_local_variables(terminal: bool) -> None:
    """A traceback with locals would put passwords into the log."""
    stream = Terminal() if terminal else io.StringIO()
    logs.configure("info", stream)
    try:
        hidden = "".join(["hun", "ter2"])
        raise ValueError(f"bad password of {len(hidden)} letters")
    except ValueError:
        logs.get_logger("worker").exception("failed")
        logging.getLogger("library").exception("failed too")
    text = stream.getvalue()
    assert text.count("ValueError: bad password of 7 letters") == 2
    assert text.count("Traceback (most recent call last)") == 2
    assert "hunter2" not in text


def test_on_a_terminal_lines_are_for_people() -> None:
    stream = Terminal()
    logs.configure("info", stream)
    logs.get_logger("worker").info("started", slot="0")
    assert "started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    logs.configure("warning", stream)
    logs.get_logger("worker").info("quiet")
    logging.getLogger("library").info("quiet")
    logs.get_logger("worker").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        logs.configure("loud", io.StringIO())


def test_configuring_again_replaces_the_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    logger = logs.get_logger("worker")
    logs.configure("info", first)
    logger.info("one")
    logs.configure("info", second)
    logger.info("two")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["two"]


def test_the_default_is_stderr_and_stdout_stays_empty(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger("worker").info("hello")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert json.loads(printed.err)["event"] == "hello"


@pytest.mark.parametrize(
    "value", ["\ud800", 2**70, {3: b"\xff"}, object()], ids=["surrogate", "huge", "bytes", "object"]
)
def test_no_value_costs_a_line(value: object) -> None:
    """Hostile records end up in log lines; the line must come out all the same."""
    stream = io.StringIO()
    logs.configure("info", stream)
    logs.get_logger("worker").info("odd", value=value)
    assert lines(stream)[0]["event"] == "odd"


def test_on_a_terminal_what_it_would_obey_is_shown_instead() -> None:
    """Ids and reasons come from outside; a line of the log is one line, and no title of the window."""
    terminal = Terminal()
    logs.configure(stream=terminal)
    user = "\x1b]0;owned\x07\r\n2026 [info] all is well \u202e"
    logs.get_logger("x").warning(f"no event of {user}", user=user)
    try:
        raise ValueError(user)
    except ValueError:
        logs.get_logger("x").exception("failed")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())  # the log's own colours
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\u202e" not in shown
    assert "no event of \\x1b]0;owned\\x07\\r\\n2026" in shown
    assert "ValueError: \\x1b]0;owned" in shown
    assert not any(line.startswith("2026 [info]") for line in shown.splitlines())
