"""Scenario 2: a replay killed again and again ends up the same to the bit as one that never was.

A *life* is one start of the killed replay. It dies at a random moment once it has made progress (a new checkpoint, or
predictions past those that it began with), or at a fault point half way through a checkpoint; the last one lives on.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from tests.chaos.scenario import Scenario, Seen, Stage
from tests.support.fleet import Event

MAPPING = Path(__file__).parents[2] / "examples" / "canonical.toml"
FILES = ("predictions", "recommendations", "dead-letters")
SETTINGS = {
    "WORKER__BATCH_SIZE": "64",
    "CHECKPOINT__INTERVAL_SECONDS": "0.2",
    "MEMORY__DEVICE_USERS": "512",
    "MODEL__MAX_ITEMS": "1500",
}
HALF_WAY = ("checkpoint.arrays", "checkpoint.written", "checkpoint.published")
BAD_EVERY = 197
_NUMBERS_OF_CLAIMS = "memories.tokens"  # a nonce: it grows with every start
_PATIENCE_SECONDS = 180.0


@dataclass
class Replay:
    """`replay` of `log` by `program`, in as many lives as it takes; outputs and checkpoints in `folder`."""

    log: Path
    folder: Path
    program: Sequence[str] = (sys.executable, "-m", "stream_worker")
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()

    def start(self, **environment: str) -> None:
        outputs = [part for name in FILES for part in (f"--{name}", f"{name}.jsonl")]
        checkpoints = ["--checkpoint-from", "learned", "--checkpoint-to", "learned"]
        command = [*self.program, "replay", str(self.log), "--mapping", str(MAPPING)]
        settings = {f"STREAM_WORKER__{key}": value for key, value in (SETTINGS | environment).items()}
        with (self.folder / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [*command, *outputs, *checkpoints],
                env=os.environ | self.environment | settings, cwd=self.folder, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip

    def finish(self) -> str:
        """Wait for the end; returns the printed table, without the last line, which is about this life alone."""
        printed, _ = self.process.communicate(timeout=3_600)
        assert self.process.returncode == 0, f"replay ended with {self.process.returncode}:\n{self.said()}"
        text = printed.decode()
        return text[: text.rindex("┘") + 1]

    def die(self) -> None:
        self.process.kill()
        self.process.communicate()

    def written(self, name: str = "predictions") -> bytes:
        return (self.folder / f"{name}.jsonl").read_bytes()

    def predicted(self) -> int:
        """Bytes of predictions in the file."""
        path = self.folder / "predictions.jsonl"
        return path.stat().st_size if path.exists() else 0

    def promised(self) -> int:
        """Bytes of predictions that the newest checkpoint holds on to; a start cuts off the rest."""
        newest = self.newest()
        return 0 if newest is None else manifest(newest)["meta"]["sink"]["lengths"]["predictions"]

    def learned(self) -> int:
        """Rows that the newest checkpoint has seen."""
        newest = self.newest()
        return 0 if newest is None else manifest(newest)["meta"]["offsets"]["0"]

    def checkpoints(self, ending: str = "") -> list[Path]:
        """Those with this ending, the newest last."""
        found = (self.folder / "learned").glob("*/*/*-*")
        return sorted(path for path in found if path.suffix == ending)

    def newest(self) -> Path | None:
        return max(self.checkpoints(), default=None)

    def said(self) -> str:
        return (self.folder / "stderr").read_text()[-3000:]


@dataclass
class Deaths:
    """What the kills hit."""

    kills: int = 0
    in_checkpoint: int = 0
    cut_off: int = 0

    def at_random(self, replay: Replay, rng: random.Random, row: int) -> None:
        """kill -9 some time after the first progress, and after a checkpoint at `row` or later."""
        half_written = replay.checkpoints(".tmp")
        replay.start(CHECKPOINT__INTERVAL_SECONDS=str(rng.choice((0.01, 0.1, 0.4))))
        wait_for_progress(replay, row)
        time.sleep(rng.uniform(0.0, 0.3))
        assert replay.process.poll() is None, f"it ended before kill {self.kills + 1}:\n{replay.said()}"
        replay.die()
        self._count(replay, set(replay.checkpoints(".tmp")) > set(half_written))

    def half_way(self, replay: Replay, rng: random.Random, point: str) -> None:
        """kill -9 by itself, in the midst of one of its first checkpoints."""
        replay.start(DEBUG__FAULT=f"{point}:{rng.randint(1, 3)}")
        replay.process.communicate(timeout=_PATIENCE_SECONDS)
        assert replay.process.returncode == -signal.SIGKILL, f"it did not die at {point}:\n{replay.said()}"
        self._count(replay, True)

    def _count(self, replay: Replay, in_checkpoint: bool) -> None:
        self.kills += 1
        self.in_checkpoint += in_checkpoint
        self.cut_off += max(0, replay.predicted() - replay.promised())


def killed_replay(stage: Stage) -> Seen:
    """Files, printed table, weights and memories are those of an uninterrupted run."""
    events, kills = (8_000, 4) if stage.short else (60_000, 30)
    log, bad = write_log(stage.folder / "log.csv", stage.log[:events])
    whole, killed = Replay(log, stage.folder / "whole"), Replay(log, stage.folder / "killed")
    whole.start()  # beside the killed one
    try:
        deaths = kill_again_and_again(killed, kills, events, random.Random(stage.seed))
        killed.start()
        tables = whole.finish(), killed.finish()
    finally:
        whole.die()
        killed.die()
    assert tables[0] == tables[1], f"expected\n{tables[0]}\ngot\n{tables[1]}"
    assert deaths.cut_off > 0, "no kill left a prediction that no checkpoint knew of"
    check_dead_letters(killed, bad)
    return {
        "events": events,
        "bad rows": len(bad),
        "kills": deaths.kills,
        "in checkpoint": deaths.in_checkpoint,
        "cut off": f"{deaths.cut_off:,} B",
        "files compared": len(FILES),
        "arrays compared": compare_checkpoints(whole, killed),
        "bytes": f"{compare_files(whole, killed):,}",
    }


def write_log(path: Path, events: Sequence[Event]) -> tuple[Path, set[int]]:
    """The events as CSV, every 197th of them spoiled; returns the numbers of those rows."""
    columns = ("user", "item", "ts", "type")
    bad = set(range(BAD_EVERY // 2, len(events), BAD_EVERY))
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for number, (_, value, _, _) in enumerate(events):
            event = json.loads(value or b"")
            row = [event[name] for name in columns]
            rows.writerow(spoiled(row, number // BAD_EVERY) if number in bad else row)
    return path, bad


def spoiled(row: list[Any], kind: int) -> list[Any]:
    """No user, no time, no known type, too few columns, bytes that are no text, before 1990."""
    user, item, ts, type_ = row
    ways = [["", item, ts, type_], [user, item, "yesterday", type_], [user, item, ts, "steal"], [user, item]]
    ways += [["\udcff", item, ts, type_], [user, item, 1, type_]]
    return ways[kind % len(ways)]


def kill_again_and_again(replay: Replay, kills: int, rows: int, rng: random.Random) -> Deaths:
    """All along the log; every other time half way through a checkpoint."""
    deaths, points = Deaths(), cycle(HALF_WAY)
    for number in range(kills):
        if number % 2:
            deaths.half_way(replay, rng, next(points))
        else:
            deaths.at_random(replay, rng, int(rows * (number + rng.random()) / (kills + 2)))
    return deaths


def wait_for_progress(replay: Replay, row: int) -> None:
    """Until there is a checkpoint, or a prediction, that was not there when this life began; and `row` is learned."""
    newest, begun = replay.newest(), replay.promised()
    end = time.monotonic() + _PATIENCE_SECONDS
    is_cut = replay.predicted() == begun
    while replay.learned() < row or (replay.newest() == newest and not (is_cut and replay.predicted() > begun)):
        is_cut = is_cut or replay.predicted() == begun
        assert replay.process.poll() is None, f"replay ended with {replay.process.returncode}:\n{replay.said()}"
        if time.monotonic() > end:
            raise TimeoutError(f"no progress in {_PATIENCE_SECONDS} s:\n{replay.said()}")
        time.sleep(0.005)


def check_dead_letters(replay: Replay, bad: set[int]) -> None:
    """Exactly the spoiled rows, in the log's order."""
    found = [json.loads(line)["offset"] for line in replay.written("dead-letters").splitlines()]
    assert found == sorted(bad), f"only here: {sorted(set(found) ^ bad)[:10]}, of {len(bad)} there are {len(found)}"


def compare_files(whole: Replay, killed: Replay) -> int:
    """The same bytes in every file; returns how many."""
    total = 0
    for name in FILES:
        expected, got = whole.written(name), killed.written(name)
        assert expected, f"{name}: nothing in it"
        pairs = zip(expected.splitlines(), got.splitlines(), strict=False)
        differ = next((pair for pair in pairs if pair[0] != pair[1]), None)
        assert expected == got, (
            f"{name}: {len(expected)} bytes expected, {len(got)} got, the first difference is {differ}"
        )
        total += len(got)
    return total


def compare_checkpoints(whole: Replay, killed: Replay) -> int:
    """The same meta and arrays in the last checkpoint; returns how many arrays."""
    expected, got = whole.newest(), killed.newest()
    assert expected is not None
    assert got is not None
    metas = manifest(expected)["meta"], manifest(got)["meta"]
    names = [name for name in metas[0].keys() | metas[1].keys() if metas[0].get(name) != metas[1].get(name)]
    assert not names, f"of the meta {', '.join(names)} differ"
    arrays, others = (load_file(folder / "line.safetensors") for folder in (expected, got))
    assert arrays.keys() == others.keys()
    arrays.pop(_NUMBERS_OF_CLAIMS)
    differ = [
        name
        for name, array in arrays.items()
        if (array.dtype, array.shape, array.tobytes())
        != (others[name].dtype, others[name].shape, others[name].tobytes())
    ]
    assert not differ, f"{len(differ)} of {len(arrays)} arrays differ: {', '.join(differ)}"
    return len(arrays)


def manifest(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return fields


KILLED_REPLAY = Scenario(2, "replay killed again and again", killed_replay)
