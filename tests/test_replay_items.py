"""Replays with `--items`: what a row says acts from its time on, whatever kills the replay on its way."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from stream_worker.cli import main
from stream_worker.exit_codes import ExitCode
from tests.test_replay import contents, log, newest, replay, start, table

__all__ = ["log"]
FIRST, STEP = 1_700_000_000, 7  # seconds of the log's first row, and between two


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Titles and categories of all items from the beginning; each of the first twenty is sold out at a time of its own,
    and is there again later."""
    rows = [{"item": f"i{n}", "title": f"Thing {n // 10}", "category": n % 7, "price": n} for n in range(200)]
    for n in range(20):
        sold_out = FIRST + STEP * (700 + 211 * n) + 3
        rows.append({"item": f"i{n}", "category": n % 7, "available": False, "ts": sold_out})
        rows.append({"item": f"i{n}", "category": n % 7, "available": True, "ts": sold_out + 400 * STEP})
    path = tmp_path_factory.mktemp("items") / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    return path


@pytest.fixture(scope="module")
def whole(log: Path, items: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], str]:
    out = tmp_path_factory.mktemp("whole")
    summary = replay(log, out, "--items", str(items))
    assert "240 rows of items, 0 of which can't be read" in summary
    return contents(out), table(summary)


def test_no_list_names_what_is_sold_out_at_its_time(whole: tuple[dict[str, bytes], str], items: Path) -> None:
    told = [json.loads(line) for line in items.read_text().splitlines()]
    times = {row["item"]: row["ts"] for row in told if row.get("available") is False}
    named = wrong = 0
    for line in whole[0]["recommendations.jsonl"].splitlines():
        made = json.loads(line)
        for entry in made["items"]:
            sold_out = times.get(entry["item"])
            if sold_out is not None:
                named += 1
                wrong += sold_out <= made["ts"] < sold_out + 400 * STEP
    assert named > 1_000
    assert wrong == 0


def test_killed_and_gone_on_it_ends_up_the_same_to_the_byte(
    log: Path, items: Path, whole: tuple[dict[str, bytes], str], tmp_path: Path
) -> None:
    out, learned = tmp_path / "out", tmp_path / "learned"
    options = ("--items", str(items), "--checkpoint-from", str(learned), "--checkpoint-to", str(learned))
    kills = 0
    for _ in range(3):
        before = newest(learned)
        process = start(log, out, *options)
        while newest(learned) == before and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    replay(log, out, *options)
    assert kills >= 1
    assert contents(out) == whole[0]


def test_a_file_without_the_items_ids_is_refused(log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "items.csv"
    path.write_text("sku,title\n1,Shoe\n")
    mapping = Path(__file__).parent.parent / "examples" / "canonical.toml"
    assert main(["replay", str(log), "-m", str(mapping), "--items", str(path)]) == ExitCode.CONFIGURATION
    assert "has no column 'item'" in capfd.readouterr().err
