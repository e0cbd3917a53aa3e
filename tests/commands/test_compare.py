"""`compare`: both configurations are what `replay` would make of them, on the same events, and the differences are
said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import orjson
import pytest

from model.learner_config import LearnerConfig
from stream_worker import scored_replay
from stream_worker.core.events import Record
from stream_worker.core.recorded import encode_record
from stream_worker.exit_codes import ExitCode
from tests.commands.test_reports import call, replay
from tests.test_replay import MAPPING, shoppers, write_log

DEFAULT_CANDIDATES = LearnerConfig().candidates
ROW = re.compile(r"│ (?P<group>\w+) \((?P<events>[\d,]+)\)\s+│ (?P<metric>\S+)\s+│\s+(?P<cells>.*?)\s*│$")


def compare(log: Path, a: Path, b: Path, *options: object) -> tuple[int, str, str]:
    return call("compare", a, b, log, "--mapping", MAPPING, *options)


def rows(out: str) -> dict[tuple[str, str], list[str]]:
    """(group, metric) -> A, B, B - A, interval, p."""
    found = [match for line in out.splitlines() if (match := ROW.match(line))]
    return {(m["group"], m["metric"]): re.split(r"\s*│\s*", m["cells"]) for m in found}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "clicks.csv", shoppers(1_500))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The defaults, and one that sees less and learns nothing."""
    a, b = tmp_path / "a.toml", tmp_path / "b.toml"
    a.write_text("")
    b.write_text("[model]\nlearning = false\ncandidates = 24\n")
    return a, b


def test_both_sides_are_what_replay_makes_of_them(log: Path, files: tuple[Path, Path]) -> None:
    code, out, _ = compare(log, *files)
    assert code == ExitCode.DONE
    found = rows(out)
    assert {group for group, _ in found} == {"all", "new", "new_known", "warm", "cold"}  # these shoppers repeat nothing
    for side, path in enumerate(files):
        _, printed, _ = replay(log, "--config", path)
        worker = next(line for line in printed.splitlines() if line.startswith("│ worker "))
        values = [cell.strip() for cell in worker.strip("│").split("│")][2:]
        metrics = ("hit_rate@10", "hit_rate@20", "mrr@20", "ndcg@20", "log_loss")
        assert [found["all", metric][side] for metric in metrics] == values


def test_keys_that_differ_are_said_and_those_that_do_not_are_not(log: Path, files: tuple[Path, Path]) -> None:
    _, out, _ = compare(log, *files, "--limit", 300)
    keys = out.split("Keys that differ")[1].split("Scored before")[0]
    assert re.findall(r"│ (\S+\.\S+)", keys) == ["model.candidates", "model.learning"]
    assert re.search(rf"model\.candidates\s+│\s+{DEFAULT_CANDIDATES} │\s+24 │", keys)


def test_a_clear_difference_is_told_from_none(log: Path, files: tuple[Path, Path]) -> None:
    _, out, _ = compare(log, *files)
    a, b, change, interval, p = rows(out)["all", "hit_rate@20"]
    low, high = map(float, interval.split(" to "))
    assert low <= float(change) <= high < 0
    assert float(change) == pytest.approx(float(b) - float(a), abs=1.1e-4)
    assert float(p) < 0.05
    _, out, _ = compare(log, files[0], files[0], "--limit", 600)
    assert "│ none" in out
    assert {tuple(cells[2:]) for cells in rows(out).values()} == {("+0.0000", "+0.0000 to +0.0000", "1.000")}


def test_seeds_show_their_spread(log: Path, files: tuple[Path, Path]) -> None:
    code, out, err = compare(log, *files, "--limit", 600, "--seeds", "0,1")
    assert code == ExitCode.DONE
    assert all(re.fullmatch(r"\d\.\d{4} ±\d\.\d{4}", cell) for cell in rows(out)["all", "mrr@20"][:2])
    code, _, err = compare(log, *files, "--seeds", "1,1")
    assert code == ExitCode.USAGE
    assert "different numbers from 0" in err


def test_what_only_one_of_them_scores_is_left_out_and_counted(log: Path, files: tuple[Path, Path]) -> None:
    """Here B takes views for nothing to predict, so that there is nothing in common."""
    files[1].write_text("[events.types.view]\ntarget = false\n[events.types.cart]\n")
    code, _, err = compare(log, *files, "--limit", 300)
    assert code == ExitCode.CONFIGURATION
    assert "no event was scored by both configurations" in err


def test_a_log_without_events_has_nothing_to_compare(files: tuple[Path, Path], tmp_path: Path) -> None:
    code, _, err = compare(write_log(tmp_path / "empty.csv", []), *files)
    assert code == ExitCode.FAILED
    assert "the log has no rows" in err


def test_one_that_is_interrupted_compares_nothing(log: Path, files: tuple[Path, Path]) -> None:
    @contextmanager
    def at_once(stop: Callable[[], None]) -> Iterator[None]:
        stop()
        yield

    with mock.patch.object(scored_replay, "stopped_by_signals", at_once):
        code, out, err = compare(log, *files)
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert "stopped: nothing to compare" in err


def test_a_report_has_both_curves_and_the_table(log: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    code, out, _ = compare(log, *files, "--limit", 600, "--report", tmp_path / "c.html", "--report", tmp_path / "c.png")
    assert code == ExitCode.DONE
    text = (tmp_path / "c.html").read_text()
    for cells in rows(out).values():
        assert "".join(f"<td>{cell}</td>" for cell in cells) in text
    assert "What B has gained so far" in text
    assert f"<td>model.candidates</td><td>{DEFAULT_CANDIDATES}</td><td>24</td>" in text
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_a_wrong_configuration_is_named_before_anything_runs(log: Path, files: tuple[Path, Path]) -> None:
    files[1].write_text("[model]\ndimm = 3\n")
    code, out, err = compare(log, *files)
    assert (code, out) == (ExitCode.CONFIGURATION, "")
    assert "did you mean model.dim?" in err


def test_what_record_wrote_needs_no_mapping(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """As for `replay`; any other file does."""
    values = [{"user": f"u{n % 9}", "item": f"i{n % 13}", "type": "view", "ts": 1_700_000_000 + n} for n in range(200)]
    lines = [
        encode_record(Record(0, n, 1_700_000_000_000, b"k", orjson.dumps(value))) for n, value in enumerate(values)
    ]
    recorded, plain = tmp_path / "recorded.jsonl", tmp_path / "plain.jsonl"
    recorded.write_bytes(b"".join(lines))
    plain.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    code, out, err = call("compare", *files, recorded)
    assert code == ExitCode.DONE, err
    assert ("all", "mrr@20") in rows(out)
    code, _, err = call("compare", *files, plain)
    assert code == ExitCode.USAGE
    assert "plain.jsonl is no file of `stream-worker record`" in err
