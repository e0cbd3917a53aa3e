"""Checkpoints as folders: safetensors and a JSON manifest with checksums. No pickle.

    <path>/<slot>/owner.lock                 held by the live process of this slot
    <path>/<slot>/00000012-5f3a90c1/         one checkpoint: sequence and the nonce of the start that wrote it
        line.safetensors                     all arrays
        manifest.json                        format, checksum and size of each file, and the snapshot's meta

Written beside, synced, then renamed: a folder without the `.tmp` ending is whole, or its checksums say that it is not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stream_worker.core.errors import CorruptCheckpoint, SlotTaken, Unavailable
from stream_worker.core.interfaces import Snapshot

FORMAT = 1
_ARRAYS, _MANIFEST, _UNFINISHED = "line.safetensors", "manifest.json", ".tmp"
_NAME = re.compile(r"(\d{8})-[0-9a-z]+")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CheckpointConfig:
    """`[checkpoint]`: where, how many are kept, how often one is written."""

    path: str = "checkpoints"
    keep: int = 3
    interval_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("checkpoint.path: must be a folder, got ''")
        if self.keep < 1:
            raise ValueError(f"checkpoint.keep: must be at least 1, got {self.keep}")
        if not 0 < self.interval_seconds <= 3600:
            raise ValueError(f"checkpoint.interval_seconds: above 0, at most 3600, got {self.interval_seconds}")


class DirectoryCheckpoints:
    """The checkpoints of one slot. Raises SlotTaken while another live process holds the slot's lock.

    `owns` is asked before anything is published or deleted, so that a stalled former owner changes nothing.
    """

    def __init__(
        self, config: CheckpointConfig, slot: str, nonce: str, owns: Callable[[], bool] = lambda: True
    ) -> None:
        self._keep = config.keep
        self._folder = Path(config.path) / slot
        self._nonce = nonce
        self._owns = owns
        with _unavailable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / "owner.lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            self._lock.close()
            raise SlotTaken(f"slot {slot!r}: another process holds {self._folder / 'owner.lock'}") from fault
        self._sequence = max((_sequence(folder) for folder in _folders(self._folder)), default=0)
        self.bytes = 0

    def save(self, snapshot: Snapshot) -> None:
        self._sequence += 1
        final = self._folder / f"{self._sequence:08d}-{self._nonce}"
        beside = final.with_name(final.name + _UNFINISHED)
        with _unavailable(self._folder):
            try:
                self.bytes = _write(beside, snapshot)
                if not self._owns():
                    raise Unavailable(f"{self._folder}: another start of this slot owns it now")
                os.replace(beside, final)
                _sync(self._folder)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
            self._clean()

    def load_newest(self) -> Snapshot | None:
        return newest_in(self._folder)

    def close(self) -> None:
        self._lock.close()

    def _clean(self) -> None:
        """Keep the newest, and remove what dead starts left half written."""
        for folder in _folders(self._folder)[self._keep :]:
            shutil.rmtree(folder, ignore_errors=True)
        for leftover in self._folder.glob("*" + _UNFINISHED):
            shutil.rmtree(leftover, ignore_errors=True)

    @staticmethod
    def describe(config: CheckpointConfig, slot: str) -> str:
        """One line for `check`. Raises Unavailable where nothing can be written."""
        folder = Path(config.path) / slot
        probe = folder / f"probe-{os.getpid()}{_UNFINISHED}"
        with _unavailable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"probe")
            probe.unlink()
            free = shutil.disk_usage(folder).free
        return f"{folder}: writable, {len(_folders(folder))} checkpoints, {free / 1e9:.1f} GB free"


def newest_in(folder: Path) -> Snapshot | None:
    """The newest whole checkpoint of a slot's folder; torn ones are passed over, loudly."""
    for candidate in _folders(folder):
        try:
            return _read(candidate)
        except CorruptCheckpoint as fault:
            _log.error("checkpoint passed over", reason=str(fault))
    return None


def newest_of_any_slot(path: Path) -> Snapshot | None:
    """The readable checkpoint under `path` that was written last, whichever slot's; None: there is none."""
    if not path.is_dir():
        return None
    slots = [slot for slot in path.iterdir() if slot.is_dir()]
    for slot in sorted(slots, key=_written, reverse=True):
        if (snapshot := newest_in(slot)) is not None:
            return snapshot
    return None


def _written(slot: Path) -> float:
    return max((folder.stat().st_mtime for folder in _folders(slot)), default=0.0)


def _folders(folder: Path) -> list[Path]:
    """Published checkpoints, newest first."""
    if not folder.is_dir():
        return []
    return sorted((f for f in folder.iterdir() if _NAME.fullmatch(f.name)), key=_sequence, reverse=True)


def _sequence(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match else 0


def _write(folder: Path, snapshot: Snapshot) -> int:
    """All files of a checkpoint, synced to the disk; returns their size in bytes."""
    folder.mkdir()
    arrays = folder / _ARRAYS
    save_file(dict(snapshot.arrays), arrays)
    size = arrays.stat().st_size
    files = {_ARRAYS: {"sha256": _checksum(arrays), "bytes": size}}
    meta = orjson.dumps(dict(snapshot.meta), option=orjson.OPT_SORT_KEYS)
    manifest = {"format": FORMAT, "files": files, "meta": orjson.Fragment(meta), "meta_sha256": _digest(meta)}
    (folder / _MANIFEST).write_bytes(orjson.dumps(manifest))
    for path in (arrays, folder / _MANIFEST, folder):
        _sync(path)
    return size


def _read(folder: Path) -> Snapshot:
    try:
        manifest = orjson.loads((folder / _MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise CorruptCheckpoint(f"{folder}: expected format {FORMAT}, got {manifest['format']}")
        meta = manifest["meta"]
        _same(folder / _MANIFEST, manifest["meta_sha256"], _digest(orjson.dumps(meta, option=orjson.OPT_SORT_KEYS)))
        for name, expected in manifest["files"].items():
            _same(folder / name, expected["sha256"], _checksum(folder / name))
        return Snapshot(load_file(folder / _ARRAYS), meta)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as fault:
        raise CorruptCheckpoint(f"{folder}: {fault!r}") from fault


def _same(path: Path, expected: str, got: str) -> None:
    if expected != got:
        raise CorruptCheckpoint(f"{path}: expected sha256 {expected[:12]}, got {got[:12]}")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _unavailable:  # noqa: N801  (reads as the statement that it is)
    """Turns a failing disk (full, read-only, gone) into Unavailable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, fault: BaseException | None, trace: Any) -> None:
        if isinstance(fault, OSError | SafetensorError):
            raise Unavailable(f"{self._folder}: {fault}") from fault
