"""Help, version and completion come at once: nothing large is imported before a command begins."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys

import click
import pytest

from stream_worker.cli import cli
from tests.test_commands import call

COMMANDS = cli.list_commands(click.Context(cli))
_LARGE = {"torch", "numba", "pyarrow", "river", "scipy", "numpy", "pydantic", "confluent_kafka", "redis", "rich"}
_CODE = """
import sys
from stream_worker.cli import main
try:
    main(sys.argv[1:])
except SystemExit:  # a completion ends so
    pass
sys.stdout.flush()
print(*sys.modules, file=sys.stderr)
"""


def said_and_imported(*arguments: str, **environ: str) -> tuple[str, set[str]]:
    ended = subprocess.run(
        [sys.executable, "-c", _CODE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )
    assert ended.returncode == 0
    return ended.stdout, set(ended.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["-V"], ["help"], *([c, "--help"] for c in COMMANDS)])
def test_help_and_version_import_nothing_large(arguments: list[str]) -> None:
    said, imported = said_and_imported(*arguments)
    assert "stream-worker" in said
    assert "stream_worker.cli" in imported
    assert imported & _LARGE == set()


def test_help_lists_every_command_with_a_whole_sentence() -> None:
    listed = call("--help")[1].split("Commands:")[1]
    assert "..." not in listed
    assert all(f"\n  {name} " in listed for name in COMMANDS)


def test_a_command_that_does_something_would_be_seen() -> None:
    """Otherwise the tests above would hold of nothing."""
    _, imported = said_and_imported("check", STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS="", CUDA_VISIBLE_DEVICES="")
    assert {"pydantic", "numpy"} <= imported


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ru", ["plain,run"]),
        ("rep", ["plain,replay"]),
        ("tail --from", ["plain,--from-beginning"]),
        ("produce --part", ["plain,--partitions"]),
        ("replay --map", ["plain,--mapping"]),
        ("run --config x", ["file,x"]),
    ],
)
def test_tab_offers_commands_options_and_files_and_imports_nothing_large(words: str, offered: list[str]) -> None:
    said, imported = said_and_imported(
        COMP_WORDS=f"stream-worker {words}",
        COMP_CWORD=str(len(words.split())),
        _STREAM_WORKER_COMPLETE="bash_complete",
    )
    assert said.split() == offered
    assert imported & _LARGE == set()


def test_tab_after_a_command_that_is_none_offers_no_command_of_its_own() -> None:
    said, _ = said_and_imported(
        COMP_WORDS="stream-worker rum --conf", COMP_CWORD="2", _STREAM_WORKER_COMPLETE="bash_complete"
    )
    assert said.split() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_are_told_how_to_ask(shell: str) -> None:
    said, imported = said_and_imported(_STREAM_WORKER_COMPLETE=f"{shell}_source")
    assert f"_STREAM_WORKER_COMPLETE={shell}_complete" in said
    assert imported & _LARGE == set()


def test_help_is_a_word_too() -> None:
    """`stream-worker help run` is what somebody tries who doesn't know the options yet."""
    code, out, _ = call("help", "run")
    assert (code, out) == (0, call("run", "--help")[1])
    assert call("help")[1] == call("--help")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_is_called_with_is_what_its_body_takes(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    body = importlib.import_module(f"stream_worker.commands.{name}").command
    assert {p.name for p in command.params} == set(inspect.signature(body).parameters)
