"""No output destroys what a command reads, nor another output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream_worker.exit_codes import ExitCode
from tests.test_commands import call
from tests.test_replay import MAPPING, shoppers, write_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "clicks.csv", shoppers(20))


@pytest.mark.parametrize("option", ["--predictions", "--recommendations", "--dead-letters"])
@pytest.mark.parametrize("name", ["clicks.csv", "link.csv", "second_name.csv", "sub/../clicks.csv"])
def test_an_output_that_leads_to_the_log_is_refused(option: str, name: str, log: Path) -> None:
    (log.parent / "sub").mkdir()
    (log.parent / "link.csv").symlink_to(log)
    os.link(log, log.parent / "second_name.csv")
    before = log.read_bytes()
    code, _, err = call("replay", str(log), "-m", str(MAPPING), option, str(log.parent / name))
    assert code == ExitCode.USAGE
    assert "would be overwritten" in err
    assert log.read_bytes() == before


def test_an_output_that_leads_to_the_mapping_or_the_configuration_is_refused(log: Path, tmp_path: Path) -> None:
    mapping, config = tmp_path / "m.toml", tmp_path / "c.toml"
    mapping.write_bytes(MAPPING.read_bytes())
    config.touch()
    for path in (mapping, config):
        before = path.read_bytes()
        code, _, err = call("replay", str(log), "-m", str(mapping), "-c", str(config), "--predictions", str(path))
        assert (code, path.read_bytes()) == (ExitCode.USAGE, before), err


def test_two_outputs_on_one_path_are_refused(log: Path, tmp_path: Path) -> None:
    """Also where there is no such file yet."""
    one, other = str(tmp_path / "out.jsonl"), str(tmp_path / "." / "sub" / ".." / "out.jsonl")
    (tmp_path / "sub").mkdir()
    code, _, err = call("replay", str(log), "-m", str(MAPPING), "--predictions", one, "--dead-letters", other)
    assert code == ExitCode.USAGE
    assert "two outputs" in err
    assert not Path(one).exists()


def test_a_comparison_refuses_a_report_that_leads_to_its_log(log: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "page.html").symlink_to(log)
    before = log.read_bytes()
    empty = tmp_path / "empty.toml"
    empty.touch()
    code, _, err = call(
        "compare", str(empty), str(empty), str(log), "-m", str(MAPPING), "--report", str(tmp_path / "page.html")
    )
    assert code == ExitCode.USAGE
    assert "would be overwritten" in err
    assert log.read_bytes() == before
