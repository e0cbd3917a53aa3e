"""Reads files of items in place of the items topic, for replays: in the order of their times, those without one first.

What a row says takes effect before the first event at or after its time. All rows are held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream_worker.backends.files.item_rows import item_records
from stream_worker.backends.files.names import file_name
from stream_worker.core.events import Record
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.source_id import SourceId


class FileItems:
    """Reads rows as records of partition 0, whose offsets count them in the order of their times.

    Nothing is due before `begin`; then all rows without a time are, and after `reach` those up to an event's time.
    Raises ConfigurationError for files that can't be read.
    """

    def __init__(self, paths: Sequence[Path], config: ItemsConfig) -> None:
        self.name = file_name("items", paths, repr((config.each, config.ts)).encode())
        self.begun_anew = 0
        self._taken = self._reached = 0
        records, decoder = list(item_records(paths, config)), ItemDecoder(config.times_alone())
        ms_N = np.array([_milliseconds(decoder, record) for record in records], dtype=np.float64)
        order = np.argsort(ms_N, kind="stable")
        self._ms_N = ms_N[order]
        self._records = [records[place] for place in order.tolist()]

    def begin(self, state: Mapping[str, Any]) -> None:
        of = SourceId.of_json(state.get("source", self.name))
        same = of.is_same(SourceId(self.name))
        self.begun_anew += not same
        self._taken = state.get("offsets", {}).get("0", 0) if same else 0
        self._reached = max(self._taken, self._before(-math.inf))

    def reach(self, timestamp_ms: float) -> float:
        """Make the rows up to a time due; return the time of the first row after it, inf if there is none."""
        self._reached = max(self._reached, self._before(timestamp_ms))
        return float(self._ms_N[self._reached]) if self._reached < len(self._records) else math.inf

    def demand(self) -> None:
        """Do nothing: what is due depends on the events alone."""

    def due(self) -> int:
        return self._reached - self._taken

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        start, self._taken = self._taken, min(self._reached, self._taken + max_records)
        return [replace(record, offset=start + n) for n, record in enumerate(self._records[start : self._taken])]

    def lag(self) -> int:
        return len(self._records) - self._taken

    def trouble(self) -> str:
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {"source": SourceId(self.name).to_json(), "offsets": {"0": self._taken}}

    def close(self) -> None:
        """Do nothing."""

    def _before(self, timestamp_ms: float) -> int:
        return int(np.searchsorted(self._ms_N, timestamp_ms, side="right"))


def _milliseconds(decoder: ItemDecoder, record: Record) -> float:
    seconds = decoder.seconds(record)
    return -math.inf if math.isnan(seconds) else round(seconds * 1000)
