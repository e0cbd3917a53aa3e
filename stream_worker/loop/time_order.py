"""The order of own and heard records in a tick: that of their times, and each partition's own order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_worker.core.events import Record


def in_time_order(heard: Sequence[Record], own: Sequence[Record]) -> list[Record]:
    """Return all records by their times, the heard ones first where times are equal.

    A record whose time is before that of one in front of it in its partition counts as of the same time.
    """
    records = [*heard, *own]
    if not (heard and own):
        return records
    count = len(records)
    ms_R = np.fromiter((record.timestamp_ms for record in records), np.int64, count)
    partition_R = np.fromiter((record.partition for record in records), np.int64, count)
    for partition in np.unique(partition_R).tolist():
        at = np.flatnonzero(partition_R == partition)
        ms_R[at] = np.maximum.accumulate(ms_R[at])
    return [records[place] for place in np.argsort(ms_R, kind="stable").tolist()]
