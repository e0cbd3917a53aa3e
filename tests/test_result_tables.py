"""Tables of the docs are those of benchmarks/results, and each figure says where it comes from."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from datetime import date
from pathlib import Path

import pytest

from benchmarks.record import write
from benchmarks.tables.markdown import table
from benchmarks.tables.pages import DOCS, RESULTS, ROOT, TABLES, blocks, drawn, filled
from tests.chaos.__main__ import Line, figures

PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))}
FILES = sorted(RESULTS.glob("*.json"))


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text)])
def test_the_tables_of_a_page_are_those_of_the_results(page: str) -> None:
    """To write them anew: `python -m benchmarks.tables`."""
    assert filled(PAGES[page]) == PAGES[page]


def test_every_table_stands_in_one_page() -> None:
    assert sorted(name for text in PAGES.values() for name in blocks(text)) == sorted(TABLES)


def test_every_result_is_shown() -> None:
    shown = {name for found in TABLES.values() for name in found.results}
    assert {path.stem for path in FILES} == shown


def test_every_past_result_is_linked_from_a_page_of_past_results() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "results").glob("*.md"))
    past = sorted((RESULTS / "past").glob("*.json"))
    assert past
    assert [path.name for path in past if f"benchmarks/results/past/{path.name}" not in text] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_result_says_when_at_which_commit_and_by_which_command(path: Path) -> None:
    result = json.loads(path.read_text())
    assert date.fromisoformat(result["recorded"]) >= date(2026, 11, 24)
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?", result["commit"])
    assert re.match(r"(python -m (benchmarks|tests)\.|make )", result["command"])


def test_another_figure_makes_another_table(tmp_path: Path) -> None:
    before = (RESULTS / "throughput.json").read_text()
    (tmp_path / "throughput.json").write_text(before.replace("33.4", "34.3"))
    assert "| all learned from | 1,712 | 34.3 |" in drawn("loops", tmp_path)
    assert drawn("loops", tmp_path) != drawn("loops")


def test_a_name_without_a_table_is_refused() -> None:
    with pytest.raises(KeyError, match="lops"):
        filled("<!-- table: lops -->\n<!-- /table -->")


def test_a_row_that_does_not_fit_its_head_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        table(["a", "b"], [["1"]])


def test_what_a_benchmark_writes_says_where_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path / "new.json", {"figure": 1})
    result = json.loads((tmp_path / "new.json").read_text())
    assert result["figure"] == 1
    assert date.fromisoformat(result["recorded"]) <= date.today()
    assert result["command"].startswith("python ")
    assert str(ROOT) not in result["command"]


def test_what_make_chaos_writes_is_what_its_table_reads(tmp_path: Path) -> None:
    line = Line(5, "Redis killed", "consumer", "held", 3.0, {"resumed_seconds": 1.5, "events": 12_142, "from": [1, 2]})
    write(tmp_path / "chaos.json", figures([line], short=True))
    row = "| 5 | Redis killed | KIP-848 | held | resumed seconds 1.5, events 12,142, from 1; 2 | short, "
    assert row in drawn("scenarios", tmp_path)


def test_every_benchmark_writes_its_figures_with_their_origin() -> None:
    """A file that `benchmarks.record.write` has not written has no date, commit and command."""
    own = re.compile(r"write_text\(\s*json\.|json\.dump\(")
    writers = [path.name for path in (ROOT / "benchmarks").rglob("*.py") if own.search(path.read_text())]
    assert writers == ["record.py"]


COMMANDS = sorted(
    {(page, command) for page, text in PAGES.items() for command in re.findall(r"python -m (benchmarks[^`\n]*)", text)}
)


def test_commands_are_found_in_the_pages() -> None:
    assert len(COMMANDS) > 5


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_benchmark_that_a_page_names_exists_with_its_options(page: str, command: str) -> None:
    name, *arguments = shlex.split(command, comments=True)
    place = ROOT / name.replace(".", "/")
    module = importlib.import_module(f"{name}.__main__" if place.is_dir() else name)
    given = {argument for argument in arguments if argument.startswith("--")}
    known = {option for parameter in module.main.params for option in parameter.opts}
    assert given <= known, page
