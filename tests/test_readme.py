"""Commands in the README and in docs/ exist, with these options, and every link leads to something."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from stream_worker.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
TEXT = TEXTS["README.md"]


def without_blocks(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def spans(text: str) -> list[str]:
    """Code inside of sentences."""
    return [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", without_blocks(text))]


def commands(text: str) -> Iterator[str]:
    """What stands after `stream-worker` in code, inline and in blocks."""
    for code in (*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *spans(text)):
        yield from re.findall(r"(?<![\w./:-])stream-worker ([a-z].*)", code)


ALL_COMMANDS = sorted({(page, line) for page, text in TEXTS.items() for line in commands(text)})


def test_commands_are_found_in_the_text() -> None:
    """Otherwise the tests below would hold of nothing."""
    assert {line.split()[0] for line in commands(TEXT)} >= {"check", "run", "tail", "memory", "produce", "replay"}
    assert len({page for page, _ in ALL_COMMANDS}) > 3


@pytest.mark.parametrize(("page", "line"), ALL_COMMANDS)
def test_a_command_of_a_page_exists_with_its_options(page: str, line: str) -> None:
    name, *arguments = shlex.split(line.split("#", maxsplit=1)[0])
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, page
    given = [a for a in arguments if a.startswith("-")]
    assert set(given) <= {option for parameter in command.params for option in parameter.opts}, page


def test_every_option_of_the_readme_exists() -> None:
    known = {
        option
        for name in cli.list_commands(click.Context(cli))
        for parameter in cli.get_command(click.Context(cli), name).params  # type: ignore[union-attr]
        for option in parameter.opts
    }
    prose = [word for span in re.findall(r"`(--[^`]+)`", TEXT) for word in span.split() if word.startswith("--")]
    assert set(prose) <= known


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"[ -]+", "-", re.sub(r"[^\w\- ]", "", heading.lower()).strip())


def anchors(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", without_blocks(text), re.M)}


LINKS = [
    (page, *link)
    for page, text in TEXTS.items()
    for link in re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)", without_blocks(text))
]


def test_links_are_found_in_the_text() -> None:
    assert len({page for page, _, _ in LINKS}) > 20
    assert any(anchor for _, _, anchor in LINKS)


def test_every_link_leads_to_something() -> None:
    assert [(page, to) for page, to, _ in LINKS if not (ROOT / page).parent.joinpath(to).exists()] == []


def test_every_anchor_is_that_of_a_heading() -> None:
    wrong = []
    for page, to, anchor in LINKS:
        target = (ROOT / page).parent / to if to else ROOT / page
        if anchor and anchor not in anchors(target.read_text()):
            wrong.append((page, to, anchor))
    assert wrong == []


def test_every_page_is_linked_from_another() -> None:
    """Nothing to read lies where nobody finds it."""
    linked = {(ROOT / page).parent.joinpath(to).resolve() for page, to, _ in LINKS if to}
    assert [page for page in TEXTS if page != "README.md" and (ROOT / page).resolve() not in linked] == []


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[^\n]*(?:#|`|DURATION))", TEXT)) >= {"demo", "test"}
    code = [c for text in TEXTS.values() for c in (*spans(text), *re.findall(r"```sh\n(.*?)```", text, re.DOTALL))]
    named = {name for c in code for name in re.findall(r"^make ([a-z]+)\b", c, re.M)}
    assert named >= {"demo", "test", "bench", "quality", "chaos"}
    assert named <= targets


def test_the_readme_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


_ALERT_ROW = re.compile(r"^\| ([A-Z]\w+) \| (critical|warning) \| (.{20,}) \| (.*`.+) \|$", re.M)


def test_every_alert_has_its_line_in_operations() -> None:
    """To write it anew: the alert, its severity and its action, as monitoring/alerts.yml has them, and its commands."""
    rules = yaml.safe_load((ROOT / "monitoring" / "alerts.yml").read_text())["groups"][0]["rules"]
    expected = [(r["alert"], r["labels"]["severity"], r["annotations"]["action"]) for r in rules]
    assert expected
    assert [row[:3] for row in _ALERT_ROW.findall(TEXTS["docs/operations.md"])] == expected
