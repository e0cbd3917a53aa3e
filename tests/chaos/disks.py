"""Scenario 5, the checkpoints' disk: full, read-only, torn. Workers go on, say so, and recover."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.scenario import Scenario, Seen, Skipped, Stage
from tests.chaos.under_load import Play, playing

_DISK = "256m"
_BLOCK = bytes(1 << 20)


# -- full, read-only ---------------------------------------------------------------------------------------------


def disk_full(stage: Stage) -> Seen:
    """The checkpoints' disk fills up, stays full for a while, and gets space again."""
    disk = stage.folder / "disk"
    with (
        _mounted(disk, "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs"),
        playing(stage, environment={"CHECKPOINT__PATH": str(disk)}) as play,
    ):
        with play.streaming():
            _wait_for_checkpoints(play)
            filler = disk / "filler"
            seen = _goes_on_without_checkpoints(play, lambda: _fill(filler))
            filler.unlink()
            seen |= _recovers(play)
        return play.judged(**seen)


def disk_read_only(stage: Stage) -> Seen:
    """The checkpoints' folder turns read-only, and writable again."""
    with playing(stage) as play:
        with play.streaming():
            _wait_for_checkpoints(play)
            checkpoints = _path(play)
            # Mounted over the folder: the disk itself can't turn read-only while a worker's lock is open for writing.
            with _mounted(checkpoints, "--bind", "-o", "ro", str(checkpoints)):
                seen = _goes_on_without_checkpoints(play, lambda: None)
            seen |= _recovers(play)
        return play.judged(**seen)


@contextmanager
def _mounted(where: Path, *what: str) -> Iterator[None]:
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *what, str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


def _fill(filler: Path) -> None:
    """Take all the space that there is now; a worker that deletes a checkpoint makes some."""
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(_BLOCK):
            pass


def _goes_on_without_checkpoints(play: Play, disturb: Callable[[], None]) -> Seen:
    """Every worker alarms, M stands still, publishing does not."""

    def alarmed() -> bool:
        disturb()
        return all(play.metric("checkpoint_failures_total", slot) for slot in play.fleet.processes)

    play.fleet.wait_for(alarmed, "a failed checkpoint of every worker")
    before = play.scene.floors()
    play.advance("publishing without checkpoints", 1_000)
    play.go_on(play.seconds(2, 10))
    assert play.scene.floors() == before, "M went on without a checkpoint"
    for slot in play.fleet.processes:
        assert {line["level"] for line in play.logged(slot, "checkpoint not complete")} == {"error"}
    return {"failed_checkpoints": int(play.metric("checkpoint_failures_total"))}


def _recovers(play: Play) -> Seen:
    """Every worker writes checkpoints, and M of every partition goes on, as soon as there is space again."""
    newest, before = {slot: _checkpoints(play, slot)[0] for slot in play.fleet.processes}, play.scene.floors()

    def recovered() -> bool:
        written = all(_checkpoints(play, slot)[0] > newest[slot] for slot in newest)
        now = play.scene.floors()
        return written and all(now[partition] > floor for partition, floor in before.items())

    return {"recovered_seconds": play.timed(recovered, "checkpoints and M go on")}


# -- torn, tampered with ---------------------------------------------------------------------------------------


def torn_checkpoint(stage: Stage) -> Seen:
    """Between `kill -9` and restart, the newest checkpoint is torn, has a bit flipped, has its manifest rewritten."""
    damages = [("a", _tear), ("b", _flip), ("a", _rewrite)][: 1 if stage.short else 3]
    # Sessions longer than a restart: the partitions come back to the slot whose line has learned them.
    environment = {"KAFKA__SESSION_TIMEOUT_MS": "300000", "CHECKPOINT__INTERVAL_SECONDS": "3"}
    with playing(stage, environment=environment) as play:
        with play.streaming():
            heard = [_restart_with(play, slot, damage) for slot, damage in damages]
        return play.judged(heard_events=heard)


def _restart_with(play: Play, slot: str, damage: Callable[[Path], None]) -> int:
    """An older checkpoint is used, said loudly, and what it has not learned of what is remembered is heard first, so
    that nothing is in the gap. Returns how many events that are."""
    owned = play.partitions(slot)
    play.fleet.wait_for(lambda: _newest_is_done(play, slot, owned), "two checkpoints, and M at the newer one's offsets")
    play.fleet.kill(slot)
    newest, older = _checkpoints(play, slot)[:2]
    learned, remembered = _learned(older), play.scene.floors()
    missing = sum(remembered[partition] - learned[partition] for partition in owned if partition in learned)
    assert missing > 0, "nothing is missing: the scenario shows nothing"
    damage(newest)
    play.start(slot)
    said = [line for line in play.logged(slot, "checkpoint passed over") if newest.name in line["reason"]]
    assert said, f"{newest.name} was not passed over"
    assert said[0]["level"] == "error"
    play.advance("progress with the older checkpoint")
    assert play.logged(slot, "hearing what is remembered, first"), f"{missing} events in memories were not heard"
    gap = int(play.metric("events_gap_total", slot))
    assert not gap, f"{gap} of {missing} events that are in memories and were not in the line are in the gap"
    return missing


def _newest_is_done(play: Play, slot: str, owned: frozenset[int]) -> bool:
    found = _checkpoints(play, slot)
    if len(found) < 2:
        return False
    learned, older, now = _learned(found[0]), _learned(found[1]), play.scene.floors()
    done = all(now.get(partition, -1) >= learned.get(partition, 0) for partition in owned)
    return done and any(older.get(partition, 0) < learned.get(partition, 0) for partition in owned & older.keys())


def _tear(checkpoint: Path) -> None:
    arrays = checkpoint / "line.safetensors"
    with arrays.open("r+b") as file:
        file.truncate(arrays.stat().st_size // 2)


def _flip(checkpoint: Path) -> None:
    with (checkpoint / "line.safetensors").open("r+b") as file:
        file.seek(-1_000, 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def _rewrite(checkpoint: Path) -> None:
    """As if it had learned more than it has."""
    manifest = checkpoint / "manifest.json"
    fields = json.loads(manifest.read_bytes())
    fields["meta"]["offsets"] = {partition: offset + 1_000 for partition, offset in fields["meta"]["offsets"].items()}
    manifest.write_text(json.dumps(fields))


# -- what is on the disk ---------------------------------------------------------------------------------------


def _path(play: Play) -> Path:
    return Path(play.scene.environment["CHECKPOINT__PATH"])


def _checkpoints(play: Play, slot: str) -> list[Path]:
    """The slot's checkpoints, newest first."""
    return sorted(_path(play).glob(f"*/{slot}/????????-????????"), reverse=True)


def _learned(checkpoint: Path) -> dict[int, int]:
    """L; empty of a checkpoint that is deleted at this moment."""
    with suppress(FileNotFoundError):
        offsets = json.loads((checkpoint / "manifest.json").read_bytes())["meta"]["offsets"]
        return {int(partition): offset for partition, offset in offsets.items()}
    return {}


def _wait_for_checkpoints(play: Play) -> None:
    play.fleet.wait_for(
        lambda: all(_checkpoints(play, slot) for slot in play.fleet.processes) and len(play.scene.floors()) > 0,
        "a checkpoint of every worker",
    )


DISK_FULL = Scenario(5, "checkpoint disk full", disk_full, in_short=False)
DISK_READ_ONLY = Scenario(5, "checkpoint folder read-only", disk_read_only, in_short=False)
TORN_CHECKPOINT = Scenario(5, "newest checkpoint torn", torn_checkpoint)
DISKS = [DISK_FULL, DISK_READ_ONLY, TORN_CHECKPOINT]
