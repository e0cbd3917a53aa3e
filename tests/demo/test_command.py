"""`stream-worker demo` as a stranger starts it: a process of its own, and no terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_worker.cli import main
from stream_worker.demo import session
from stream_worker.exit_codes import ExitCode

_PATIENCE_SECONDS = 120.0
Demo = subprocess.Popen[str]


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    """Demos to be killed when the test is over."""
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.kill()
        demo.wait()


def _start(demos: list[Demo], folder: Path, *arguments: str) -> Demo:
    command = [sys.executable, "-m", "stream_worker", "demo", *arguments]
    # A setting of the environment is meant for a real Kafka and must not reach the demo.
    environment = {**os.environ, "TMPDIR": str(folder), "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    demos.append(demo)
    return demo


def _read_until(demo: Demo, wanted: str) -> str:
    """The output up to the line with `wanted` in it."""
    assert demo.stdout is not None
    read, end = "", time.monotonic() + _PATIENCE_SECONDS
    while wanted not in read:
        line = demo.stdout.readline()
        assert line, f"ended before {wanted!r}: {read}"
        assert time.monotonic() < end
        read += line
    return read


def _clean(errors: str) -> bool:
    """Neither tracebacks nor lines that librdkafka prints by itself."""
    return "Traceback" not in errors and re.search(r"^%\d\|", errors, re.MULTILINE) is None


def test_the_demo_runs_by_itself_and_ends_with_a_summary(demos: list[Demo], tmp_path: Path) -> None:
    """Exit code 0; what was sold was read, learned and published; beside the baselines; nothing is left behind."""
    demo = _start(demos, tmp_path, "--seconds", "8")
    output, errors = demo.communicate(timeout=_PATIENCE_SECONDS)
    assert demo.returncode == ExitCode.DONE, errors
    assert _clean(errors)
    assert "half of the customers change their taste" in output
    assert all(name in output for name in ("worker", "co_visitation", "recent_popularity"))
    found = re.search(r"^([\d,]+) events, ([\d,]+) lists published", output, re.MULTILINE)
    assert found is not None, output
    events, lists = (int(number.replace(",", "")) for number in found.groups())
    assert 0 < lists <= events
    assert events > 500
    assert re.search(r"from event to readable list: median [1-9]\d* ms", output)
    assert list(tmp_path.glob("stream-worker*")) == []


@pytest.mark.parametrize("when", ["demo: loading", "demo: starting", "HR@20 this"])
def test_ctrl_c_ends_it_cleanly_at_any_time(when: str, demos: list[Demo], tmp_path: Path) -> None:
    """Exit code 130, no traceback, nothing left behind, and a summary once there is something to sum up."""
    demo = _start(demos, tmp_path, "--seconds", "600")
    output = _read_until(demo, when)
    demo.send_signal(signal.SIGINT)
    rest, errors = demo.communicate(timeout=_PATIENCE_SECONDS)
    assert demo.returncode == ExitCode.INTERRUPTED, errors
    assert _clean(errors)
    assert ("lists published" in rest) or ("ended before the first event" in output + rest)
    assert list(tmp_path.glob("stream-worker*")) == []


def test_a_failing_thread_ends_the_demo_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, one line, whichever thread it was; the signal handlers are what they were."""

    def broken() -> None:
        raise OSError("no port is free")

    monkeypatch.setattr(session, "EmbeddedKafka", broken)
    before = signal.getsignal(signal.SIGINT)
    assert main(["demo", "--seconds", "5"]) == ExitCode.FAILED
    assert "OSError: no port is free" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failing_shop_ends_the_demo_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker leaves in good order then."""

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("sold out")

    monkeypatch.setattr(session, "encode_event", broken)
    assert main(["demo", "--seconds", "5"]) == ExitCode.FAILED
    assert "RuntimeError: sold out" in capsys.readouterr().err
