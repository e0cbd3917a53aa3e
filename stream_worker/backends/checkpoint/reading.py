"""Reads the newest complete checkpoint; damaged ones are skipped, each with an error in the log."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from safetensors.numpy import load_file

from stream_worker.backends.checkpoint.disk import corrupt, unavailable
from stream_worker.core.checkpoint_format import readable, upgraded
from stream_worker.core.errors import ConfigurationError, CorruptCheckpoint
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger

ARRAYS, MANIFEST, UNFINISHED = "line.safetensors", "manifest.json", ".tmp"
NAME = re.compile(r"(\d{8,})-([0-9a-z]+)")
_log = get_logger(__name__)


def newest_in(slot: Path) -> Snapshot | None:
    """Return the newest complete checkpoint in a slot's folder; None: there is none. Damaged ones are logged."""
    with unavailable(slot):
        return first_whole(checkpoints_in(slot))


def first_whole(folders: Iterable[Path]) -> Snapshot | None:
    """Return the first complete checkpoint of `folders`; damaged ones before it are logged."""
    for folder in folders:
        try:
            return read(folder)
        except CorruptCheckpoint as fault:
            _log.error("checkpoint passed over", reason=str(fault))
    return None


def checkpoints_in(slot: Path) -> list[Path]:
    """Published checkpoints, newest first."""
    if not slot.is_dir():
        return []
    found = [folder for folder in slot.iterdir() if NAME.fullmatch(folder.name)]
    return sorted(found, key=lambda folder: (sequence(folder), folder.name), reverse=True)


def sequence(folder: Path) -> int:
    return int(folder.name.partition("-")[0])


def created(folder: Path) -> float:
    """Seconds since 1970 when the checkpoint was written. A damaged one counts as new, to be reported first."""
    try:
        return float(manifest_of(folder).get("created", 0))
    except CorruptCheckpoint:
        return float("inf")


def source_of(folder: Path) -> SourceId | None:
    """The source that a checkpoint belongs to; None: its manifest can't be read."""
    try:
        with corrupt(folder):
            return SourceId.of_json(manifest_of(folder)["meta"]["source"])
    except CorruptCheckpoint:
        return None


def read(folder: Path) -> Snapshot:
    """Read one checkpoint. Raises CorruptCheckpoint; ConfigurationError for a format that this version can't read."""
    manifest = manifest_of(folder)
    if reason := readable(manifest.get("format")):
        raise ConfigurationError(f"{folder}: {reason}")
    with corrupt(folder):
        _check(folder, manifest["files"])
        found = Snapshot(load_file(folder / ARRAYS), manifest["meta"])
        return replace(upgraded(found, manifest["format"]), created=float(manifest.get("created", 0)))


def _check(folder: Path, files: Mapping[str, Any]) -> None:
    """Raise CorruptCheckpoint unless the manifest lists exactly the one file of a checkpoint, with its size and
    checksum, and that file is no link."""
    if list(files) != [ARRAYS]:
        raise CorruptCheckpoint(f"{folder / MANIFEST}: files must be {ARRAYS} alone, got {', '.join(files) or 'none'}")
    path = folder / ARRAYS
    if path.is_symlink():
        raise CorruptCheckpoint(f"{path}: must be a file of this folder, got a link")
    _same(path, files[ARRAYS]["bytes"], path.stat().st_size)
    _same(path, files[ARRAYS]["sha256"], checksum(path))


def manifest_of(folder: Path) -> dict[str, Any]:
    """Read a manifest and verify its own checksum, which every format has. Raises CorruptCheckpoint."""
    with corrupt(folder):
        data = (folder / MANIFEST).read_bytes()
        manifest: dict[str, Any] = orjson.loads(data)
        del manifest["sha256"]
        if data != sealed(manifest):
            raise CorruptCheckpoint(f"{folder / MANIFEST}: its own checksum is wrong")
        return manifest


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """Encode a manifest as JSON, with the checksum of its other fields as `sha256`."""
    fields = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    seal = hashlib.sha256(fields).hexdigest()
    return orjson.dumps({**manifest, "sha256": seal}, option=orjson.OPT_SORT_KEYS)


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(path: Path, expected: object, got: object) -> None:
    if expected != got:
        raise CorruptCheckpoint(f"{path}: expected {expected}, got {got}")
