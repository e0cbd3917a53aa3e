"""The group of commands: quick help, suggestions, and one mapping of errors to exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from stream_worker.cli import cli, main
from stream_worker.core import errors
from stream_worker.exit_codes import ExitCode, exit_code
from tests.test_commands import COMMANDS, call
from tests.test_replay import MAPPING, shoppers, write_log


def test_the_process_ends_with_the_code_and_all_that_was_said() -> None:
    """It leaves without the interpreter's own way out."""
    for arguments, code, said in (
        (["--help"], ExitCode.DONE, "slot taken"),
        (["frobnicate"], ExitCode.USAGE, "did you mean"),
    ):
        ended = subprocess.run([sys.executable, "-m", "stream_worker", *arguments], capture_output=True, check=False)
        assert ended.returncode == code
        assert said in (ended.stdout + ended.stderr).decode()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_description_and_every_option_a_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "did you mean run?"),
        (["relpay"], "did you mean replay?"),
        (
            ["xyz"],
            "known are run, replay, compare, produce, record, guess, topics, tail, memory, why, items, reset, demo,",
        ),
        ([], "Examples:"),
        (["run", "--confg", "x"], "--config"),
        (["run", "--config", "missing.toml"], "missing.toml"),
        (["tail", "--count", "0"], "--count"),
        (["produce"], "LOG"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(arguments: list[str], said: str) -> None:
    code, _, err = call(*arguments)
    assert code == ExitCode.USAGE
    assert said in err


@pytest.mark.parametrize("command", ["replay", "produce"])
@pytest.mark.parametrize("speed", ["fast", "0", "-1", "nan"])
def test_a_speed_that_is_none_is_usage(command: str, speed: str, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", shoppers(3))
    code, _, err = call(command, str(log), "--mapping", str(MAPPING), "--speed", speed)
    assert code == ExitCode.USAGE
    assert f"got '{speed}'" in err


@pytest.mark.parametrize("option", ["--predictions", "--recommendations", "--dead-letters"])
def test_a_file_in_a_folder_that_is_not_there_is_usage(option: str, tmp_path: Path) -> None:
    """Before the log has been read, and not a traceback after it."""
    log = write_log(tmp_path / "log.csv", shoppers(3))
    missing = tmp_path / "missing"
    code, _, err = call("replay", str(log), "--mapping", str(MAPPING), option, str(missing / "file.jsonl"))
    assert code == ExitCode.USAGE
    assert option in err
    assert f"there is no folder '{missing}'" in err


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (errors.ConfigurationError("x"), 78),
        (errors.SlotTaken("x"), 76),
        (errors.RestartNeeded("x"), 75),
        (errors.MemoriesLost("Redis was wiped"), 75),
        (errors.Unavailable("x"), 1),
        (errors.OffsetLost("x"), 1),
        (errors.CorruptCheckpoint("x"), 1),
    ],
)
def test_every_error_on_purpose_has_its_code_and_one_line(
    fault: errors.StreamWorkerError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are a contract with supervisors; no traceback."""

    def failing(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("stream_worker.commands.tail.settings_from", failing)
    assert exit_code(fault) == code
    assert main(["tail"]) == code
    assert capsys.readouterr().err == f"stream-worker: {fault}\n"


def test_ctrl_c_in_a_command_that_does_not_end_cleanly_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stream_worker.commands.check.settings_from", interrupted)
    assert main(["check"]) == ExitCode.INTERRUPTED
