"""The number of the checkpoint format, and the upgrades from older formats.

The rule: FORMAT grows with every change of what a checkpoint holds (an array's name, dtype or rank, the meaning of its
numbers, a key of `meta`) once a version that wrote the old content is released. The change brings an upgrade here, one
named function per format; `tests/data/checkpoints/` gets the list of the new arrays and one checkpoint of the old
format. Sizes that follow from the configuration are no part of the format: a part that does not fit starts anew (see
`Line.restore`).

    1  the first format; `source` is a name. Its first checkpoints have no categories.
    2  `source` is a `SourceId`; adds the rest of the first catch-up (`core.effort`) and the returns by item.
    3  adds how many of its newest events a training window may predict, since events may come in sets.
    4  `offsets` has all partitions, owned or heard; adds the counts of events by partition (`core.counted`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId

FORMAT = 4  # the format that is written, see above
START_ANEW = "start anew (`stream-worker reset`)"


def readable(found: Any) -> str:
    """Return why a checkpoint of format `found` can't be read and what to do about it; empty if it can be read."""
    if type(found) is int and (found == FORMAT or found in _UPGRADES):
        return ""
    newer = type(found) is int and found > FORMAT
    written = "a newer version of this program" if newer else "an unknown program"
    return f"written by {written}: expected format 1 to {FORMAT}, got {found}; go back to that version, or {START_ANEW}"


def upgraded(snapshot: Snapshot, found: int) -> Snapshot:
    """Return a snapshot of the older format `found` as one of today's format."""
    for number in range(found, FORMAT):
        snapshot = _UPGRADES[number](snapshot)
    return snapshot


def _from_1(snapshot: Snapshot) -> Snapshot:
    """Make the name of the source a `SourceId`, and give items without categories the category 0 (none)."""
    meta: Mapping[str, Any] = {**snapshot.meta, "source": SourceId.of_json(snapshot.meta["source"]).to_json()}
    counts = snapshot.arrays.get("learner.counting.popularity.weight_PN")
    missing = {} if counts is None else {"learner.counting.category_N": np.zeros(counts.shape[1], np.uint32)}
    return Snapshot({**missing, **snapshot.arrays}, meta)


def _from_2(snapshot: Snapshot) -> Snapshot:
    """Let training windows predict any number of their events, since none of these came in sets."""
    parts = [f"learner.encoder_trainer.{part}" for part in ("replay", "fresh")]
    counts = {part: snapshot.arrays[f"{part}.targets"] for part in parts if f"{part}.targets" in snapshot.arrays}
    most = {f"{part}.most": np.full_like(column, 255) for part, column in counts.items()}
    return Snapshot({**most, **snapshot.arrays}, snapshot.meta)


def _from_3(snapshot: Snapshot) -> Snapshot:
    """Let the counts of events begin at L, since those before it were not counted by partition."""
    counts = {"first": dict(snapshot.meta.get("offsets", {})), "counted": {}, "gap": {}, "heard": []}
    learner = dict(snapshot.meta.get("learner", {}))
    if "events" in learner:
        learner.setdefault("examined", learner["events"])
    return Snapshot(snapshot.arrays, {**snapshot.meta, **counts, "learner": learner})


_UPGRADES: dict[int, Callable[[Snapshot], Snapshot]] = {1: _from_1, 2: _from_2, 3: _from_3}
