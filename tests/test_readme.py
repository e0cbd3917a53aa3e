"""The README's commands exist, with these options, and the files that it names are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from stream_worker.cli import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> Iterator[str]:
    """What stands after `stream-worker` in code, inline and in blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    for code in (*blocks, *(span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose))):
        yield from re.findall(r"(?<![\w./-])stream-worker ([a-z].*)", code)


def test_commands_are_found_in_the_text() -> None:
    """Otherwise the tests below would hold of nothing."""
    assert {line.split()[0] for line in commands()} >= {"check", "run", "tail", "memory", "produce", "replay"}


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_a_command_of_the_readme_exists_with_its_options(line: str) -> None:
    name, *arguments = shlex.split(line.split("#", maxsplit=1)[0])
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    given = [a for a in arguments if a.startswith("-")]
    assert set(given) <= {option for parameter in command.params for option in parameter.opts}


def test_every_option_of_the_prose_exists() -> None:
    known = {
        option
        for name in cli.list_commands(click.Context(cli))
        for parameter in cli.get_command(click.Context(cli), name).params  # type: ignore[union-attr]
        for option in parameter.opts
    }
    prose = [word for span in re.findall(r"`(--[^`]+)`", TEXT) for word in span.split() if word.startswith("--")]
    assert prose
    assert set(prose) <= known


def test_every_link_leads_to_something() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)\b(?=[^\n]*(?:#|`|DURATION))", TEXT))
    assert named >= {"demo", "test"}
    assert named <= targets
