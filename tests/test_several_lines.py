"""Several lines on one log: what a group of so many workers would predict."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from stream_worker.cli import main
from stream_worker.exit_codes import ExitCode
from tests.test_replay import ENVIRONMENT, arguments, shoppers, write_log

_EVENTS = 1_200


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "log.csv", shoppers(_EVENTS))


def _replayed(log: Path, name: str, *options: str) -> dict[str, bytes]:
    out = log.parent / name
    assert main(arguments(log, out, *options)) == ExitCode.DONE
    return {file.stem: file.read_bytes() for file in sorted(out.iterdir())}


def _events(predictions: bytes) -> list[tuple[str, str]]:
    return [(one["user"], one["item"]) for one in map(orjson.loads, predictions.splitlines())]


def test_lines_that_learn_from_all_events_at_once_predict_what_one_line_predicts(log: Path) -> None:
    """To the byte: what is owned, heard, counted and examined is the same, in the same order."""
    one, three = _replayed(log, "one"), _replayed(log, "three", "--lines", "3", "--heard", "1")
    assert three["predictions"] == one["predictions"]
    assert three["dead-letters"] == one["dead-letters"]
    assert one["predictions"].count(b"\n") > 0.9 * _EVENTS
    assert one["dead-letters"].count(b"\n") == _EVENTS // 50


def test_one_line_is_a_replay_without_lines(log: Path) -> None:
    assert _replayed(log, "one", "--lines", "1") == _replayed(log, "plain")


def test_the_same_lines_predict_the_same(log: Path) -> None:
    options = ("--lines", "3", "--late", "100", "--heard", "4")
    assert _replayed(log, "a", *options) == _replayed(log, "b", *options)


def test_every_event_is_predicted_once_whatever_is_heard_and_when(log: Path) -> None:
    one = _replayed(log, "one")["predictions"]
    for options in ((), ("--late", "300"), ("--heard", "4"), ("--weights",)):
        several = _replayed(log, "-".join(("several", *options)), "--lines", "4", *options)["predictions"]
        assert _events(several) == _events(one)
        assert several != one


@pytest.mark.parametrize("options", [("--late", "5"), ("--lines", "1", "--heard", "1"), ("--weights",)])
def test_what_lines_hear_needs_several_lines(log: Path, options: tuple[str, ...]) -> None:
    assert main(arguments(log, log.parent / "out", *options)) == ExitCode.USAGE


@pytest.mark.parametrize("option", ["--checkpoint-to", "--checkpoint-from", "--report"])
def test_several_lines_have_no_checkpoint_and_no_report(
    log: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log.parent / ("report.html" if option == "--report" else "kept")
    assert main(arguments(log, log.parent / "out", "--lines", "2", option, str(path))) == ExitCode.USAGE
    assert "several lines" in capsys.readouterr().err
    assert not path.exists()
