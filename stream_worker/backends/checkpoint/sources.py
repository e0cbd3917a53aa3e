"""Whose checkpoints are whose: a folder a source, so that no source writes, locks or deletes in another's.

A source's folder keeps the name that it was given first. What is in it says whose it is, so that ids that become known
later (an old broker was upgraded) do not orphan it.
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

_MOST_OF_A_NAME = 100
_log = get_logger(__name__)


def folder_of(path: Path, source: SourceId) -> Path:
    """The folder of a source below `path`: the one that holds its checkpoints, else one that is still to be made."""
    named = path / name_of(source)
    with unavailable(path):
        slots = [slot for slot in slots_below(path) if slot.parent != path and is_of(slot, source)]
        found = sorted({slot.parent for slot in slots}, key=_written, reverse=True)
    return named if named in found or not found else found[0]


def name_of(source: SourceId) -> str:
    """A name for its folder: its own, as far as a file may have it, and a hash over its ids."""
    told = "\0".join((source.name, source.cluster_id, source.topic_id, source.group))
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", source.name)[:_MOST_OF_A_NAME]
    return f"{safe}-{hashlib.blake2b(told.encode(), digest_size=4).hexdigest()}"


def newest_of(path: Path, chosen: Callable[[SourceId], bool] = lambda source: True) -> Snapshot | None:
    """The readable checkpoint of a chosen source that was written last, whichever slot's; None: there is none. `path`
    is one, or holds some, or slots, or sources."""
    with unavailable(path):
        single = [path] if NAME.fullmatch(path.name) else []
        found = [*single, *(checkpoint for slot in (path, *slots_below(path)) for checkpoint in checkpoints_in(slot))]
        # Torn ones may be anybody's: they are tried, and reported.
        ours = [checkpoint for checkpoint in found if (source := source_of(checkpoint)) is None or chosen(source)]
        return first_whole(sorted(ours, key=created, reverse=True))


def adopt(path: Path, source: SourceId, slot: str) -> None:
    """Move what an older version wrote for this source and slot, right below `path`, into the source's folder. Raises
    SlotTaken while a process of that version lives there."""
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
            _log.warning("checkpoints of an older version stay: another source's process lives there", of=str(old))
        _remove_if_empty(old)


def _move(checkpoints: list[Path], slot: Path) -> None:
    """Unless newer ones are there: a version without folders for sources may have run for a while in between."""
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
    """Folders that hold checkpoints: those of sources, and, right below `path`, those of older versions."""
    for folder in _folders_in(path):
        for slot in (folder, *_folders_in(folder)):
            if checkpoints_in(slot):
                yield slot


def _folders_in(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir()) if path.is_dir() else []


def is_of(slot: Path, source: SourceId) -> bool:
    """By the newest checkpoint that tells."""
    told = (source_of(folder) for folder in checkpoints_in(slot))
    return is_same(next((found for found in told if found is not None), None), source)


def is_same(found: SourceId | None, source: SourceId) -> bool:
    return found is not None and found.is_same(source)


def _written(folder: Path) -> float:
    """When the newest checkpoint of a source's folder was."""
    newest = [checkpoints_in(slot)[0] for slot in _folders_in(folder) if checkpoints_in(slot)]
    return max(created(checkpoint) for checkpoint in newest)


def _remove_if_empty(slot: Path) -> None:
    """Without its lock, if that is all that is left."""
    with suppress(OSError):
        if [file.name for file in slot.iterdir()] == [LOCK]:
            (slot / LOCK).unlink()
            slot.rmdir()
