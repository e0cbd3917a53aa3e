"""Folders, syncs and locks, and which faults of a disk mean what."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from safetensors import SafetensorError

from stream_worker.core.errors import CorruptCheckpoint, SlotTaken, Unavailable

_OWNERS_ALONE = 0o700
_TORN = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)


def make_folder(folder: Path) -> None:
    """The folder, and what is missing above it, for its owner alone."""
    for missing in [parent for parent in (folder, *folder.parents) if not parent.is_dir()][::-1]:
        missing.mkdir(mode=_OWNERS_ALONE, exist_ok=True)
        sync(missing.parent)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked(path: Path, slot: str) -> IO[bytes]:
    """The file, locked for as long as it is open and its process lives. Raises SlotTaken."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as fault:
        file.close()
        if isinstance(fault, BlockingIOError):
            raise SlotTaken(f"slot {slot!r}: another process holds {path}") from fault
        raise
    return file


def is_locked(path: Path) -> bool:
    """Whether a live process holds it."""
    if not path.exists():
        return False
    try:
        locked(path, "").close()
    except SlotTaken:
        return True
    return False


@contextmanager
def corrupt(folder: Path) -> Iterator[None]:
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
def unavailable(folder: Path) -> Iterator[None]:
    """Turns a failing disk (full, read-only, gone) into Unavailable."""
    try:
        yield
    except (OSError, SafetensorError) as fault:
        raise Unavailable(f"{folder}: {fault}") from fault
