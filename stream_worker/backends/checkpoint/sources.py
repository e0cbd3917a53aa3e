"""One folder of checkpoints per source, so that no source writes, locks or deletes in another one's folder.

A folder keeps its first name. The checkpoints in it say which source it belongs to, so that it is still found after
ids of the topic or the cluster have become known (for example when an old broker was upgraded).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from stream_worker.backends.checkpoint.disk import locked, make_folder, sync, unavailable
from stream_worker.backends.checkpoint.reading import (
    NAME,
    checkpoints_in,
    created,
    first_whole,
    sequence,
    source_of,
)
from stream_worker.backends.checkpoint.slot import LOCK
from stream_worker.core.errors import SlotTaken
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger

# Characters of a source's name in its folder's name. A file name has at most 255 bytes; 100 was not tuned.
_MOST_OF_A_NAME = 100
_log = get_logger(__name__)


def folder_of(path: Path, source: SourceId) -> Path:
    """Return the folder of a source below `path`: the one that has its checkpoints, else one that is not made yet."""
    named = path / name_of(source)
    with unavailable(path):
        slots = [slot for slot in slots_below(path) if slot.parent != path and is_of(slot, source)]
        found = sorted({slot.parent for slot in slots}, key=_written, reverse=True)
    return named if named in found or not found else found[0]


def name_of(source: SourceId) -> str:
    """Return the folder name of a source: its name with safe characters only, and a hash of its ids."""
    told = "\0".join((source.name, source.cluster_id, source.topic_id, source.group))
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", source.name)[:_MOST_OF_A_NAME]
    return f"{safe}-{hashlib.blake2b(told.encode(), digest_size=4).hexdigest()}"


def newest_of(path: Path, chosen: Callable[[SourceId], bool] = lambda source: True) -> Snapshot | None:
    """Read the newest complete checkpoint, of any slot, whose source passes `chosen`; None: there is none.

    `path` may be a checkpoint, or a folder of checkpoints, of slots or of sources.
    """
    with unavailable(path):
        single = [path] if NAME.fullmatch(path.name) else []
        found = [*single, *(checkpoint for slot in (path, *slots_below(path)) for checkpoint in checkpoints_in(slot))]
        # The source of a damaged checkpoint is unknown: it is tried, too, so that the damage is reported.
        ours = [checkpoint for checkpoint in found if (source := source_of(checkpoint)) is None or chosen(source)]
        return first_whole(sorted(ours, key=created, reverse=True))


def adopt(path: Path, source: SourceId, slot: str) -> None:
    """Move checkpoints of this source and slot that an older version wrote directly below `path` into the source's
    folder. Raises SlotTaken while a process of that version uses them."""
    old = path / slot
    with unavailable(path):
        ours = [folder for folder in checkpoints_in(old) if is_same(source_of(folder), source)]
        if not ours:
            return
        try:
            with closing(locked(old / LOCK, slot)):
                _move(ours, folder_of(path, source) / slot)
        except SlotTaken:
            if is_of(old, source):
                raise
            _log.warning(
                "checkpoints of an older version stay: another source's process uses their folder", of=str(old)
            )
        _remove_if_empty(old)


def _move(checkpoints: list[Path], slot: Path) -> None:
    """Move checkpoints into a slot's folder, unless that has a newer one. It may have older ones: a version without
    folders for sources may have run again after an earlier move."""
    there, old = checkpoints_in(slot), checkpoints[0].parent
    if there and created(there[0]) >= created(checkpoints[0]):
        return
    make_folder(slot)
    before = sequence(there[0]) if there else 0
    for folder in reversed(checkpoints):
        number, _, nonce = folder.name.partition("-")
        os.rename(folder, slot / f"{before + int(number):08d}-{nonce}")
    for changed in (slot, old):
        sync(changed)
    _log.warning("checkpoints of an older version moved", count=len(checkpoints), of=str(old), to=str(slot))


def slots_below(path: Path) -> Iterator[Path]:
    """Yield the folders that hold checkpoints: slots of sources, and directly below `path` slots of older versions."""
    for folder in _folders_in(path):
        for slot in (folder, *_folders_in(folder)):
            if checkpoints_in(slot):
                yield slot


def _folders_in(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir()) if path.is_dir() else []


def is_of(slot: Path, source: SourceId) -> bool:
    """Return True if the newest readable checkpoint in a slot's folder is of this source."""
    told = (source_of(folder) for folder in checkpoints_in(slot))
    return is_same(next((found for found in told if found is not None), None), source)


def is_same(found: SourceId | None, source: SourceId) -> bool:
    return found is not None and found.is_same(source)


def _written(folder: Path) -> float:
    """Seconds since 1970 when the newest checkpoint in a source's folder was written."""
    newest = [checkpoints_in(slot)[0] for slot in _folders_in(folder) if checkpoints_in(slot)]
    return max(created(checkpoint) for checkpoint in newest)


def _remove_if_empty(slot: Path) -> None:
    """Delete a slot's folder if only its lock file is left in it."""
    with suppress(OSError):
        if [file.name for file in slot.iterdir()] == [LOCK]:
            (slot / LOCK).unlink()
            slot.rmdir()
