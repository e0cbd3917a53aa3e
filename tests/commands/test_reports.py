"""`replay --report`: the figures of the run that it belongs to, the same bytes every time, refused before an hour of
work where it could not be written."""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from stream_worker import report
from stream_worker.cli import main
from stream_worker.exit_codes import ExitCode
from tests.test_replay import MAPPING, shoppers, write_log


def call(*arguments: object, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    with (
        mock.patch.dict(os.environ, environ or {}),
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def replay(log: Path, *options: object) -> tuple[int, str, str]:
    return call("replay", log, "--mapping", MAPPING, *options)


def cells(text: str, row: str) -> list[str]:
    """The numbers of a row of the page's tables."""
    return re.findall(r"<td>([^<]*)</td>", text.split(f"<tr><td>{row}</td>")[1].split("</tr>", maxsplit=1)[0])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "clicks.csv", shoppers(2_000))


def test_two_replays_give_the_same_report_with_the_figures_that_are_printed(log: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        code, out, _ = replay(log, "--report", tmp_path / f"{name}.html", "--report", tmp_path / f"{name}.png")
        assert code == ExitCode.DONE
        assert f"report: {tmp_path / f'{name}.html'}, {tmp_path / f'{name}.png'}" in out
    for suffix in ("html", "png"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
    text = (tmp_path / "one.html").read_text()
    for name in ("worker", "co_visitation", "recent_popularity", "worker, new"):
        printed = next(line for line in out.splitlines() if line.startswith(f"│ {name} "))
        assert [cell.strip() for cell in printed.strip("│").split("│")][1:] == cells(text, name.replace("_", " "))
    assert "0 to 2,000" in text
    assert "<dt>dead letters</dt><dd>40</dd>" in text
    assert "from a checkpoint" not in text


def test_a_replay_that_goes_on_says_from_where(log: Path, tmp_path: Path) -> None:
    learned = ("--checkpoint-to", tmp_path / "learned")
    assert replay(log, "--limit", 1_024, *learned)[0] == ExitCode.DONE
    page = tmp_path / "page.html"
    assert replay(log, "--checkpoint-from", tmp_path / "learned", *learned, "--report", page)[0] == ExitCode.DONE
    text = page.read_text()
    assert "<dt>rows</dt><dd>1,024 to 2,000</dd>" in text
    assert "figures begin after 1,003 events; totals are of all" in text


def test_settings_that_are_not_the_defaults_are_in_the_report(log: Path, tmp_path: Path) -> None:
    code, _, _ = call(
        "replay", log, "-m", MAPPING, "--limit", "256", "--report", tmp_path / "page.html",
        environ={"STREAM_WORKER__MODEL__DIM": "16"},
    )  # fmt: skip
    assert code == ExitCode.DONE
    assert "<td>model.dim</td><td>16</td>" in (tmp_path / "page.html").read_text()


def test_other_formats_are_refused_before_anything_is_read(log: Path, tmp_path: Path) -> None:
    code, _, err = replay(log, "--report", tmp_path / "report.pdf")
    assert code == ExitCode.USAGE
    assert "a report's name ends in .html or .png, got 'report.pdf'" in err
    code, _, err = replay(log, "--report", tmp_path / "no" / "report.html")
    assert code == ExitCode.USAGE
    assert "there is no folder" in err


def test_without_the_extra_it_is_named_before_anything_is_read(log: Path, tmp_path: Path) -> None:
    with mock.patch.object(report, "_NEEDED", ("no_such_library",)):
        code, _, err = replay(log, "--report", tmp_path / "report.html")
    assert code == ExitCode.CONFIGURATION
    assert "pip install 'stream-worker[report]'" in err
