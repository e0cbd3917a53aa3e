"""Checkpoints as folders: safetensors and a JSON manifest with checksums. No pickle.

    <path>/<slot>/owner.lock                 held by the live process of this slot
    <path>/<slot>/00000012-5f3a90c1/         one checkpoint: sequence and the nonce of the start that wrote it
        line.safetensors                     all arrays
        manifest.json                        format, time, checksum and size of each file, the snapshot's meta, and
                                             its own checksum (over all its other fields, sorted)

Written beside, synced, then renamed: a folder without the `.tmp` ending is whole, or its checksums say that it is not.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stream_worker.core.errors import ConfigurationError, CorruptCheckpoint, SlotTaken, Unavailable
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import Snapshot

FORMAT = 1
_ARRAYS, _MANIFEST, _UNFINISHED = "line.safetensors", "manifest.json", ".tmp"
_NAME = re.compile(r"(\d{8,})-([0-9a-z]+)")
_TORN = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
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
        self,
        config: CheckpointConfig,
        slot: str,
        nonce: str,
        owns: Callable[[], bool] = lambda: True,
        now: Callable[[], float] = time.time,
        reached: Reached = no_fault,
    ) -> None:
        self._keep = config.keep
        self._folder = Path(config.path) / slot
        self._nonce = nonce
        self._owns = owns
        self._now = now
        self._reached = reached
        self.bytes = 0
        if not _NAME.fullmatch(f"00000000-{nonce}"):
            raise ValueError(f"checkpoint nonce: must be of 0-9 and a-z, got {nonce!r}")
        with _unavailable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            _sync(self._folder.parent)
            self._lock = _locked(self._folder / "owner.lock")
            self._sequence = max((_sequence(folder) for folder in _folders(self._folder)), default=0)

    def save(self, snapshot: Snapshot) -> None:
        self._sequence += 1
        final = self._folder / f"{self._sequence:08d}-{self._nonce}"
        beside = final.with_name(final.name + _UNFINISHED)
        with _unavailable(self._folder):
            try:
                self._reached("checkpoint.before")
                size = self._write(beside, snapshot)
                self._reached("checkpoint.written")
                if not self._owns():
                    raise SlotTaken(f"{self._folder}: another start of this slot owns it now")
                os.replace(beside, final)
                _sync(self._folder)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
            self.bytes = size
            self._reached("checkpoint.published")
            if self._owns():
                self._clean()
            self._reached("checkpoint.cleaned")

    def _write(self, folder: Path, snapshot: Snapshot) -> int:
        """All files of a checkpoint, synced to the disk; returns the size of the arrays' in bytes."""
        folder.mkdir()
        arrays = folder / _ARRAYS
        save_file({name: _in_order(array) for name, array in snapshot.arrays.items()}, arrays)
        size = arrays.stat().st_size
        self._reached("checkpoint.arrays")
        files = {_ARRAYS: {"sha256": _checksum(arrays), "bytes": size}}
        manifest = {"format": FORMAT, "created": self._now(), "files": files, "meta": dict(snapshot.meta)}
        (folder / _MANIFEST).write_bytes(_sealed(manifest))
        for path in (arrays, folder / _MANIFEST, folder):
            _sync(path)
        return size

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
        with _unavailable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(_UNFINISHED, "probe-", folder) as probe:
                (Path(probe) / "probe").write_bytes(b"probe")
            free = shutil.disk_usage(folder).free
        return f"{folder}: writable, {len(_folders(folder))} checkpoints, {free / 1e9:.1f} GB free"


def newest_in(folder: Path) -> Snapshot | None:
    """The newest whole checkpoint of a slot's folder; torn ones are passed over, loudly."""
    with _unavailable(folder):
        return _first_whole(_folders(folder))


def newest_of_any_slot(path: Path) -> Snapshot | None:
    """The readable checkpoint under `path` that was written last, whichever slot's; None: there is none."""
    with _unavailable(path):
        slots = [slot for slot in path.iterdir() if slot.is_dir()] if path.is_dir() else []
        folders = [folder for slot in sorted(slots) for folder in _folders(slot)]
        return _first_whole(sorted(folders, key=_created, reverse=True))


def _first_whole(folders: Iterable[Path]) -> Snapshot | None:
    for folder in folders:
        try:
            return _read(folder)
        except CorruptCheckpoint as fault:
            _log.error("checkpoint passed over", reason=str(fault))
    return None


def _created(folder: Path) -> float:
    """When it was written. A torn one counts as new, so that it is tried, and reported, first."""
    try:
        return float(_manifest_of(folder).get("created", 0))
    except CorruptCheckpoint:
        return float("inf")


def _folders(folder: Path) -> list[Path]:
    """Published checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = [f for f in folder.iterdir() if _NAME.fullmatch(f.name)]
    return sorted(found, key=lambda f: (_sequence(f), f.name), reverse=True)


def _sequence(folder: Path) -> int:
    return int(folder.name.partition("-")[0])


def _in_order(array: NDArray[Any]) -> NDArray[Any]:
    """safetensors (0.8) writes memory as it lies, whatever the strides: a transposed array would come out wrong."""
    return array if array.flags.c_contiguous else np.array(array, order="C")


def _read(folder: Path) -> Snapshot:
    manifest = _manifest_of(folder)
    if (got := manifest.get("format")) != FORMAT:
        raise ConfigurationError(
            f"{folder}: another version of this program wrote it: expected format {FORMAT}, got {got}"
        )
    with _corrupt(folder):
        for name, expected in manifest["files"].items():
            _same(folder / name, expected["bytes"], (folder / name).stat().st_size)
            _same(folder / name, expected["sha256"], _checksum(folder / name))
        return Snapshot(load_file(folder / _ARRAYS), manifest["meta"])


def _manifest_of(folder: Path) -> dict[str, Any]:
    """Its fields, exactly as they were written; the seal is the same in every format."""
    with _corrupt(folder):
        data = (folder / _MANIFEST).read_bytes()
        manifest: dict[str, Any] = orjson.loads(data)
        del manifest["sha256"]
        if data != _sealed(manifest):
            raise CorruptCheckpoint(f"{folder / _MANIFEST}: its checksum does not fit")
        return manifest


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as JSON, with the checksum of its fields as `sha256`."""
    fields = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    seal = hashlib.sha256(fields).hexdigest()
    return orjson.dumps({**manifest, "sha256": seal}, option=orjson.OPT_SORT_KEYS)


def _same(path: Path, expected: object, got: object) -> None:
    if expected != got:
        raise CorruptCheckpoint(f"{path}: expected {expected}, got {got}")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locked(path: Path) -> IO[bytes]:
    """The file, locked for as long as it is open and its process lives."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as fault:
        file.close()
        if isinstance(fault, BlockingIOError):
            raise SlotTaken(f"slot {path.parent.name!r}: another process holds {path}") from fault
        raise
    return file


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _corrupt(folder: Path) -> Iterator[None]:
    """Turns what is wrong with the files of one checkpoint, and not with the disk, into CorruptCheckpoint."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as fault:
        raise CorruptCheckpoint(f"{folder}: {fault!r}") from fault
    except OSError as fault:
        if fault.errno in _TORN:
            raise CorruptCheckpoint(f"{folder}: {fault!r}") from fault
        raise


@contextmanager
def _unavailable(folder: Path) -> Iterator[None]:
    """Turns a failing disk (full, read-only, gone) into Unavailable."""
    try:
        yield
    except (OSError, SafetensorError) as fault:
        raise Unavailable(f"{folder}: {fault}") from fault
