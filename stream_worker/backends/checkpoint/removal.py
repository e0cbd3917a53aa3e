"""All checkpoints of a source, to be deleted: of every slot, and of the topics that stood under its name before."""

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
    """`paths`: what to delete, folders of sources, and checkpoints of older versions. `held`: locks of live
    processes."""

    paths: tuple[Path, ...] = ()
    held: tuple[Path, ...] = ()
    count: int = 0
    bytes: int = 0

    def delete(self) -> None:
        """Raises Unavailable."""
        for path in self.paths:
            with unavailable(path):
                shutil.rmtree(path)


def found_of(path: Path, source: SourceId) -> Found:
    """A topic that was made again would begin with what the one before taught: it is the same shop."""
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
