"""Finds and deletes all checkpoints of a source: of every slot, and of deleted topics that had the same name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from stream_worker.backends.checkpoint.disk import is_locked, unavailable
from stream_worker.backends.checkpoint.reading import checkpoints_in, source_of
from stream_worker.backends.checkpoint.slot import LOCK
from stream_worker.backends.checkpoint.sources import is_of, is_same, slots_below
from stream_worker.core.source_id import SourceId


@dataclass(frozen=True)
class Found:
    """Checkpoints to delete.

    paths: folders of sources, and single checkpoints that older versions wrote.
    held: lock files that live processes hold; deleting under them would take their checkpoints away.
    count, bytes: number of checkpoints, and size of all files.
    """

    paths: tuple[Path, ...] = ()
    held: tuple[Path, ...] = ()
    count: int = 0
    bytes: int = 0

    def delete(self) -> None:
        """Delete all `paths`. Raises Unavailable."""
        for path in self.paths:
            with unavailable(path):
                shutil.rmtree(path)


def found_of(path: Path, source: SourceId) -> Found:
    """Find the checkpoints of a source below `path`, also those of deleted topics of the same name and group: a new
    topic would begin with what was learned from the deleted one, since only their topic ids differ."""
    shop = replace(source, topic_id="")
    with unavailable(path):
        slots = list(slots_below(path))
        folders = {slot.parent for slot in slots if slot.parent != path and is_of(slot, shop)}
        right_below = [c for slot in slots if slot.parent == path for c in checkpoints_in(slot)]
        older = [checkpoint for checkpoint in right_below if is_same(source_of(checkpoint), shop)]
        paths = (*sorted(folders), *sorted(older))
        checkpoints = [*older, *(c for folder in folders for slot in folder.iterdir() for c in checkpoints_in(slot))]
        locks = [*(c.parent / LOCK for c in older), *(lock for folder in folders for lock in folder.glob(f"*/{LOCK}"))]
        size = sum(file.stat().st_size for found in paths for file in found.rglob("*") if file.is_file())
        return Found(paths, tuple(lock for lock in dict.fromkeys(locks) if is_locked(lock)), len(checkpoints), size)
