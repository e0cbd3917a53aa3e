"""The format of a checkpoint, and how older ones become today's.

The rule: FORMAT grows with every change of what a checkpoint holds (an array's name, dtype or rank, what its numbers
mean, a key of `meta`), once a version that wrote the old content is out. The change comes with an upgrade here, one
named function a format, and `tests/data/checkpoints/` gets the list of the new arrays and a checkpoint of the format
that is left behind. Sizes that follow from the configuration are no part of the format: what does not fit begins anew
(see `Line.restore`).

    1  the first; `source` is a name. Without categories in its early days.
    2  `source` is a `SourceId`; also how far the effort for a backlog has come, and what users return to by items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId

FORMAT = 2
START_ANEW = "start anew (`stream-worker reset`)"


def readable(found: Any) -> str:
    """Why a checkpoint of this format can't be read, and what helps; empty: it can."""
    if type(found) is int and (found == FORMAT or found in _UPGRADES):
        return ""
    newer = type(found) is int and found > FORMAT
    written = "a newer version of this program" if newer else "nothing that is known"
    return f"written by {written}: expected format 1 to {FORMAT}, got {found}; go back to that version, or {START_ANEW}"


def upgraded(snapshot: Snapshot, found: int) -> Snapshot:
    """A snapshot of an older format as one of today's."""
    for number in range(found, FORMAT):
        snapshot = _UPGRADES[number](snapshot)
    return snapshot


def _from_1(snapshot: Snapshot) -> Snapshot:
    """Sources get ids, and catalogues from before there were categories get none for every item."""
    meta: Mapping[str, Any] = {**snapshot.meta, "source": SourceId.of_json(snapshot.meta["source"]).to_json()}
    counts = snapshot.arrays.get("learner.counting.popularity.weight_PN")
    missing = {} if counts is None else {"learner.counting.category_N": np.zeros(counts.shape[1], np.uint32)}
    return Snapshot({**missing, **snapshot.arrays}, meta)


_UPGRADES: dict[int, Callable[[Snapshot], Snapshot]] = {1: _from_1}
