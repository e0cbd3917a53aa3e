"""Reads a recorded log in place of the input topic. The speed changes when a batch comes, never what it contains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from stream_worker.backends.files.mapping import Mapping as LogMapping
from stream_worker.backends.files.names import file_name
from stream_worker.backends.files.pace import Pace, beginning
from stream_worker.backends.files.reading import LogReader, LogRow
from stream_worker.backends.files.recorded_log import RecordedLog
from stream_worker.core.decoder import Decoder, Documents
from stream_worker.core.events import Events, Record
from stream_worker.core.interfaces import Clock, PartitionOwner
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.offsets import Committed
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Standing

_PARTITION = 0  # the only partition of a log
_Row = LogRow | Record


class FileSource:
    """Reads rows of a log as records of partition 0; a row's number is its offset.

    Batches end at multiples of `max_records`, so they depend only on the position in the log: not on the speed, and
    not on where a restart began. A batch comes when its last record is due. The first poll claims the partition; it
    and later ones raise ConfigurationError if the log can't be read.

    mapping: None: the files are what `record` wrote, and their records are decoded as those of a topic.
    start, limit: the first row, and the number of rows (None: all).
    speed: 1 replays at the log's own pace, 60 replays a minute in a second, None does not wait. It needs a `clock`.
    sleep: waits for a number of seconds.
    published: Y, which the last run's sink knows; the attribute may be set until the first poll.
    reach: called with the time of each batch's first row, epoch milliseconds, before the batch is read on; returns the
        time before which all of its rows have to be. So that what is told of items takes effect between two batches.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        mapping: LogMapping | None,
        *,
        start: int = 0,
        limit: int | None = None,
        speed: float | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        published: int = 0,
        reach: Callable[[float], float] | None = None,
    ) -> None:
        if speed is not None and (speed <= 0 or clock is None):
            raise ValueError(f"speed: must be positive and come with a clock, got {speed} and {clock}")
        self.published = published
        self._mapping = mapping
        self._reach = reach
        self._reader: RecordedLog | LogReader = RecordedLog(paths) if mapping is None else LogReader(paths, mapping)
        self._start, self._end = start, math.inf if limit is None else start + limit
        self._speed, self._clock = speed, clock
        self._pace: Pace | None = None
        self._sleep = sleep
        self._owner: PartitionOwner | None = None
        self._rows: Iterator[_Row] | None = None
        self._ahead: _Row | None = None
        self._batch: list[Record] = []
        self._position = max(start, published)
        self._name = file_name("log", paths, b"record" if mapping is None else mapping.identity().encode())

    @property
    def name(self) -> str:
        return self._name

    def identity(self) -> SourceId:
        """Return the name without ids: it contains a hash of the log's bytes."""
        return SourceId(self._name)

    @property
    def position(self) -> int:
        """The number of the row that the next poll begins with."""
        return self._position

    @property
    def total(self) -> int | None:
        """The number of the last row to return, plus one; None: not known before the log was read to its end."""
        return None if self._reader.total is None else int(min(self._reader.total, self._end))

    def decoder(
        self,
        config: EventsConfig,
        watch: Callable[[Events], None] | None = None,
        documents: Documents | None = None,
    ) -> Decoder:
        """Return the decoder of this log's records.

        `config`: the event types; without a mapping the places of their parts, too.
        `watch`: called with all events.
        `documents`: reads what was recorded of values that name a schema.
        """
        if self._mapping is None:
            return Decoder(config, watch=watch, documents=documents)
        return Decoder(self._mapping.events(config), from_log=True, watch=watch)

    @property
    def left_out(self) -> int:
        """The number of rows so far that failed a `keep` condition of the mapping."""
        return self._reader.left_out

    def subscribe(self, owner: PartitionOwner) -> None:
        self._owner = owner

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        if self._rows is None:
            self._claim()
        if not self._batch:
            self._batch = self._next_batch(max_records)
        if self._batch and self._speed and self._clock:
            self._pace = self._pace or Pace(self._speed, self._clock, beginning([r.timestamp_ms for r in self._batch]))
            if not self._due(self._pace, timeout_seconds):
                return []
        batch, self._batch = self._batch, []
        self._position += len(batch)
        return batch

    def _claim(self) -> None:
        if self._owner is None:
            raise RuntimeError("poll before subscribe")
        published = max(self._start, self.published)
        first = not self.published
        self._position = self._owner.claim({_PARTITION: Committed(published, first=first)})[_PARTITION]
        rows: Iterator[_Row] = iter(self._reader)
        self._rows = islice(rows, self._position, None if self._end == math.inf else int(self._end))
        self._ahead = next(self._rows, None)

    def _next_batch(self, max_records: int) -> list[Record]:
        if self._rows is None or self._ahead is None:
            return []
        size = max_records - self._position % max_records
        rows = [self._ahead, *self._others(self._rows, size - 1, self._ahead.timestamp_ms)]
        return [_record(self._position + number, row) for number, row in enumerate(rows)]

    def _others(self, rows: Iterator[_Row], most: int, begins_ms: int) -> Iterator[_Row]:
        """Yield up to `most` further rows of a batch, and keep the row after them in `_ahead`."""
        if self._reach is None:
            yield from islice(rows, most)
            self._ahead = next(rows, None)
            return
        before_ms = self._reach(begins_ms)
        self._ahead = next(rows, None)
        while most and self._ahead is not None and self._ahead.timestamp_ms < before_ms:
            yield self._ahead
            most -= 1
            self._ahead = next(rows, None)

    def _due(self, pace: Pace, timeout_seconds: float) -> bool:
        wait = pace.seconds_until(self._batch[-1].timestamp_ms)
        if wait > 0:
            self._sleep(min(wait, timeout_seconds))
        return wait <= timeout_seconds

    def reclaim(self, partitions: Collection[int]) -> None:
        """Let the next poll claim the partition again, and read on from where the owner says."""
        self._rows, self._ahead, self._batch = None, None, []

    def moved_from(self) -> Collection[int]:
        return ()

    def partitions(self) -> Collection[int]:
        return (_PARTITION,)

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Return the offsets unchanged: a log has a row at every offset."""
        return next_offsets

    def serve(self) -> None:
        """Do nothing: a file has no other readers."""

    def exhausted(self) -> bool:
        return self._rows is not None and self._ahead is None and not self._batch

    def standing(self) -> Standing:
        return Standing(self._rows is not None, "reads a log, which has no other readers")

    def trouble(self) -> str:
        return ""

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        total = self.total
        return {p: 0 if total is None else max(0, total - offset) for p, offset in next_offsets.items()}

    def membership(self) -> Any:
        return None

    def close(self) -> None:
        self._rows, self._ahead, self._batch = iter(()), None, []


def _record(offset: int, row: _Row) -> Record:
    if isinstance(row, Record):
        return replace(row, partition=_PARTITION, offset=offset)
    return Record(_PARTITION, offset, row.timestamp_ms, row.key.encode(), row.value, row.place, row.fault)
