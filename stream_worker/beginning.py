"""Chooses the checkpoint that a worker begins from.

It is the slot's own checkpoint, one that the user named, or the newest one of the same source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stream_worker.assembly import memory_layout
from stream_worker.backends.checkpoint import newest_of
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.config import Settings
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.interfaces import CheckpointStore, ItemNumbering, Snapshot
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger

# A slot goes on from its own checkpoint if no other is this much newer, since its line has a name (not tuned).
_MUCH_SECONDS = 60.0
_log = get_logger(__name__)


@dataclass(frozen=True)
class Beginning:
    """The checkpoint to begin from.

    snapshot: None if nothing was learned before.
    own: True if it is the slot's own, so that its line goes on; else a new line starts from it.
    """

    snapshot: Snapshot | None = None
    own: bool = False


def beginning_of(
    checkpoints: CheckpointStore, path: Path, source: SourceId, named: Path | None = None, *, hears: bool = False
) -> Beginning:
    """Return the checkpoint to begin from, the first that exists of these:

    1. the newest of the slot's own `checkpoints`; where all slots hear all, another's that is a minute newer
    2. the newest in the folder `named` by the user
    3. the newest below `path` of another slot of this `source`
    4. the newest below `path` of the topic that had this one's name before

    Raises ConfigurationError if the named folder holds no readable checkpoint.
    """
    own = checkpoints.load_newest()
    if own is not None and hears and (newer := _much_newer(own, path, source)) is not None:
        return Beginning(newer)
    if own is not None:
        if named is not None:
            _log.warning("--from is ignored: the slot goes on from its own checkpoint", folder=str(named))
        return Beginning(own, own=True)
    if named is not None:
        return Beginning(named_snapshot(named, source, "--from"))
    same = newest_of(path, source.is_same)
    return Beginning(_of_topic_before(path, source) if same is None else same)


def _much_newer(own: Snapshot, path: Path, source: SourceId) -> Snapshot | None:
    """Return the newest checkpoint of any slot of this source if it is more than a minute newer than a slot's own."""
    newest = newest_of(path, source.is_same)
    if newest is None or newest.created <= own.created + _MUCH_SECONDS:
        return None
    _log.info("another slot's checkpoint is newer than this one's own", seconds=round(newest.created - own.created))
    return newest


def named_snapshot(folder: Path, source: SourceId, option: str) -> Snapshot:
    """Return the newest checkpoint in a folder that the user named, preferably one of this source.

    `option`: the command's option that named the folder, for the error. Raises ConfigurationError if there is none.
    """
    found = newest_of(folder, source.is_same)
    found = newest_of(folder) if found is None else found
    if found is None:
        raise ConfigurationError(f"{option}: no readable checkpoint in {folder}")
    return found


def _of_topic_before(path: Path, source: SourceId) -> Snapshot | None:
    """Return the newest checkpoint of a topic with the same cluster, name and group, but another id.

    Such a topic was deleted and made again, and its users and items are the same.
    """
    found = newest_of(path, replace(source, topic_id="").is_same)
    if found is not None:
        before = SourceId.of_json(found.meta["source"])
        _log.warning(
            "the topic was made again: starting from what was learned of the one before, without its offsets",
            topic=source.name,
            topic_id=source.topic_id,
            before=before.topic_id,
        )
    return found


def ancestors_of(
    snapshot: Snapshot | None, source: SourceId, settings: Settings, store: ItemNumbering
) -> Mapping[str, bytes]:
    """Return user -> memory record of a snapshot of another source, with the item numbers of `store`.

    Empty for a snapshot of this source: its users' memories are in the store, or come with the snapshot.
    """
    if snapshot is None or SourceId.of_json(snapshot.meta["source"]).is_same(source):
        return {}
    if not (memories := snapshot.state_below("memories")):
        return {}
    theirs = InMemoryMemoryStore(settings.memory)
    theirs.load_state_dict(memories)
    named = [(user, blob) for _, user, blob in theirs.scan()]
    layout = memory_layout(settings)
    records = layout.decode([blob for _, blob in named])
    numbers, places = np.unique(records["number"], return_inverse=True)
    ids = theirs.item_ids(numbers.tolist())
    ours = np.zeros(len(numbers), dtype=np.uint32)
    ours[[item is not None for item in ids]] = store.number_items([item for item in ids if item is not None])
    records["number"] = ours[places.reshape(records["number"].shape)]
    return {user: blob for (user, _), blob in zip(named, layout.encode(records), strict=True)}
