"""Replay as a user runs it: deterministic, resumable after kill -9 to the same bytes, and blind to what comes later."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from stream_worker.cli import main
from stream_worker.exit_codes import ExitCode

MAPPING = Path(__file__).parent.parent / "examples" / "canonical.toml"
BATCH = 64
Row = tuple[str, str, int, str]


def shoppers(events: int, seed: int = 0) -> list[Row]:
    """Rows user,item,ts,type of 60 users over 200 items; one row in 50 has no user."""
    rng = np.random.default_rng(seed)
    last = rng.integers(0, 200, size=60)
    rows = []
    for k in range(events):
        user = int(rng.integers(0, 60))
        last[user] = (last[user] + rng.integers(1, 4)) % 200
        rows.append((f"u{user}" if k % 50 else "", f"i{last[user]}", 1_700_000_000 + 7 * k, "view"))
    return rows


def write_log(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("user", "item", "ts", "type"))
        writer.writerows(rows)
    return path


ENVIRONMENT = {
    "STREAM_WORKER__WORKER__BATCH_SIZE": str(BATCH),
    "STREAM_WORKER__CHECKPOINT__INTERVAL_SECONDS": "0.2",
}


def arguments(log: Path, out: Path, *options: str) -> list[str]:
    out.mkdir(exist_ok=True)
    files = {name: str(out / f"{name}.jsonl") for name in ("predictions", "recommendations", "dead-letters")}
    named = [part for name, path in files.items() for part in (f"--{name}", path)]
    return ["replay", str(log), "--mapping", str(MAPPING), *named, *options]


def start(log: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """A process of its own, to be killed or interrupted."""
    return subprocess.Popen(
        [sys.executable, "-m", "stream_worker", *arguments(log, out, *options)],
        env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def replay(log: Path, out: Path, *options: str) -> str:
    """Within this process; returns what it prints."""
    with mock.patch.dict(os.environ, ENVIRONMENT), redirect_stdout(io.StringIO()) as stdout:
        assert main(arguments(log, out, *options)) == ExitCode.DONE
    return stdout.getvalue()


def table(summary: str) -> str:
    """Without the last line, which counts the events and seconds of this process."""
    return summary[: summary.rindex("┘")]


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.jsonl"))}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "log.csv", shoppers(6_000))


@pytest.fixture(scope="module")
def whole(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], str]:
    """The files and the summary of an uninterrupted replay."""
    out = tmp_path_factory.mktemp("whole")
    summary = replay(log, out)
    return contents(out), table(summary)


def test_the_same_log_gives_the_same_bytes(log: Path, whole: tuple[dict[str, bytes], str], tmp_path: Path) -> None:
    """Predictions, lists, dead letters and the table of metrics; checkpoints on the way change nothing."""
    summary = replay(log, tmp_path / "again", "--checkpoint-to", str(tmp_path / "learned"))
    assert contents(tmp_path / "again") == whole[0]
    assert table(summary) == whole[1]
    assert whole[0]["predictions.jsonl"].count(b"\n") == 6_000 - 120
    assert whole[0]["dead-letters.jsonl"].count(b"\n") == 120


def test_every_listed_item_says_why_it_is_there(whole: tuple[dict[str, bytes], str]) -> None:
    """By an item that the user had before, if by any."""
    had: dict[str, set[str]] = {}
    for user, item, _, _ in shoppers(6_000):
        had.setdefault(user, set()).add(item)
    reasons = [
        (made["user"], entry["item"], entry["because"])
        for made in map(json.loads, whole[0]["recommendations.jsonl"].splitlines())
        for entry in made["items"]
    ]
    assert {because["kind"] for _, _, because in reasons} >= {"follows", "together", "taste"}
    for user, item, because in reasons:
        assert ("item" in because) == (because["kind"] in {"follows", "together", "taste", "again"})
        assert because.get("item", item) in had[user] or "item" not in because
        assert (because["kind"] == "again") == (because.get("item") == item)
        assert 0 <= because["weight"] <= 1


def test_killed_again_and_again_it_ends_up_the_same_to_the_byte(
    log: Path, whole: tuple[dict[str, bytes], str], tmp_path: Path
) -> None:
    """kill -9 after every new checkpoint; the last start runs to the end."""
    out, learned = tmp_path / "out", tmp_path / "learned"
    options = ("--checkpoint-from", str(learned), "--checkpoint-to", str(learned))
    kills = 0
    for _ in range(4):
        before = newest(learned)
        process = start(log, out, *options)
        while newest(learned) == before and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    summary = replay(log, out, *options)
    assert kills >= 2
    assert contents(out) == whole[0]
    assert table(summary) == whole[1]


def newest(learned: Path) -> str:
    return max((folder.name for folder in learned.glob("*/*/*-*") if not folder.name.endswith(".tmp")), default="")


@pytest.mark.parametrize("place", [BATCH * 20, BATCH * 20 + 1, BATCH * 20 + 40, BATCH * 21 - 1])
def test_later_events_change_no_earlier_prediction(
    place: int, whole: tuple[dict[str, bytes], str], tmp_path: Path
) -> None:
    """From `place` on (a batch boundary, and inside a batch) other users do other things with items never seen before:
    every prediction up to there is the same."""
    rng = np.random.default_rng(place)
    changed = shoppers(6_000)[: place + 3 * BATCH]
    for k in range(place, len(changed)):
        user, _, ts, kind = changed[k]
        changed[k] = (user and f"u{rng.integers(0, 90)}", f"i{rng.integers(100, 400)}", ts, kind)
    replay(write_log(tmp_path / "log.csv", changed), tmp_path / "out")
    valid = sum(bool(row[0]) for row in changed[:place])
    before = whole[0]["predictions.jsonl"].splitlines()
    after = contents(tmp_path / "out")["predictions.jsonl"].splitlines()
    assert after[:valid] == before[:valid]
    assert after[valid + 20 :] != before[valid + 20 : len(after)]


def test_what_was_learned_helps_on_another_log(tmp_path: Path) -> None:
    """A warm start knows the users and the items of the first log."""
    first = write_log(tmp_path / "first.csv", shoppers(3_000, seed=1))
    second = write_log(tmp_path / "second.csv", shoppers(300, seed=2))
    replay(first, tmp_path / "a", "--checkpoint-to", str(tmp_path / "learned"))
    replay(second, tmp_path / "warm", "--checkpoint-from", str(tmp_path / "learned"))
    replay(second, tmp_path / "cold")
    full = [
        sum(b'"ranked":["' in line for line in contents(tmp_path / n)["predictions.jsonl"].splitlines())
        for n in ("warm", "cold")
    ]
    assert full[0] > full[1]
    assert b'"ranked":["' in contents(tmp_path / "warm")["predictions.jsonl"].splitlines()[0]


def test_a_folder_with_a_checkpoint_is_not_overwritten_by_accident(log: Path, tmp_path: Path) -> None:
    replay(log, tmp_path / "a", "--limit", "200", "--checkpoint-to", str(tmp_path / "learned"))
    process = start(log, tmp_path / "b", "--checkpoint-to", str(tmp_path / "learned"))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == ExitCode.CONFIGURATION
    assert b"holds a checkpoint already" in stderr


def test_ctrl_c_ends_it_cleanly_with_its_summary(log: Path, tmp_path: Path) -> None:
    process = start(log, tmp_path / "out", "--speed", "1")
    assert process.stderr is not None
    assert any(b"partitions claimed" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED, stderr.decode()
    assert b"events in" in stdout
    assert b"Traceback" not in stderr
