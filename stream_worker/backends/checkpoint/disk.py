"""Folders, syncs and locks of checkpoints, and the translation of disk errors into the program's own."""

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

# Mode bits: only the owner may list, read and write.
_OWNERS_ALONE = 0o700
# Errors that mean a damaged checkpoint; any other means that the disk can't be used.
_TORN = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)


def make_folder(folder: Path) -> None:
    """Create the folder and its missing parents, accessible to the owner only."""
    for missing in [parent for parent in (folder, *folder.parents) if not parent.is_dir()][::-1]:
        missing.mkdir(mode=_OWNERS_ALONE, exist_ok=True)
        sync(missing.parent)


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked(path: Path, slot: str, *, shared: bool = False) -> IO[bytes]:
    """Open a file and lock it until it is closed or the process ends. Raises SlotTaken if it is locked already.

    shared: others may share the lock; who wants it alone is refused meanwhile.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException as fault:
        file.close()
        if isinstance(fault, BlockingIOError):
            raise SlotTaken(f"slot {slot!r}: another process holds {path}") from fault
        raise
    return file


def is_locked(path: Path) -> bool:
    """Return True if a live process holds the lock on this file."""
    if not path.exists():
        return False
    try:
        locked(path, "").close()
    except SlotTaken:
        return True
    return False


@contextmanager
def corrupt(folder: Path) -> Iterator[None]:
    """Raise CorruptCheckpoint for damaged or missing files of one checkpoint; errors of the disk go through."""
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
    """Raise Unavailable for errors of the disk (full, read-only, gone)."""
    try:
        yield
    except (OSError, SafetensorError) as fault:
        raise Unavailable(f"{folder}: {fault}") from fault
