"""A log that several lines of one process read: each owns a part of its users, and hears the others' events."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stream_worker.core.events import Outputs, Record
from stream_worker.core.interfaces import PartitionOwner
from stream_worker.core.offsets import Committed, Mark
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Standing


class SharedLog:
    """The records of a log, in partitions by a hash of their keys. A record's offset stays that in the log.

    lines: how many lines read it; line p owns partition p.
    late: how many records of the log come before a line hears one of another line's; 0: none, they are heard in the
        order of the log.
    """

    def __init__(self, name: str, lines: int, late: int = 0) -> None:
        self.name = name
        self.late = late
        self.parts = [LogPart(self, line) for line in range(lines)]
        self.heard = [HeardLog(self, line) for line in range(lines)]
        self.end = 0

    def append(self, records: Sequence[Record]) -> None:
        """Append the next records of the log."""
        for record in records:
            partition = zlib.crc32(record.key or b"") % len(self.parts)
            placed = replace(record, partition=partition)
            self.parts[partition].queue.append(placed)
            for line, heard in enumerate(self.heard):
                if line != partition:
                    heard.queue.append(placed)
            self.end = record.offset + 1

    def in_order(self, line: int, heard: Sequence[Record], own: Sequence[Record]) -> list[Record]:
        """Return the records of a line's tick as they come: a heard one `late` records after it stands in the log."""
        return sorted([*heard, *own], key=lambda record: record.offset + self.late * (record.partition != line))


class LogPart:
    """The records that one line owns."""

    def __init__(self, log: SharedLog, line: int) -> None:
        self._log, self._line = log, line
        self._owner: PartitionOwner | None = None
        self._claimed = False
        self.queue: deque[Record] = deque()

    @property
    def name(self) -> str:
        return self._log.name

    def identity(self) -> SourceId:
        return SourceId(self.name)

    def subscribe(self, owner: PartitionOwner) -> None:
        self._owner = owner

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        if not self._claimed and self._owner is not None:
            self._claimed = self._line in self._owner.claim({self._line: Committed(0, first=True)})
        count = min(max_records, len(self.queue))
        return [self.queue.popleft() for _ in range(count)]

    def reclaim(self, partitions: Collection[int]) -> None:
        self._claimed = False

    def moved_from(self) -> Collection[int]:
        return ()

    def partitions(self) -> Collection[int]:
        return (self._line,)

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return next_offsets

    def serve(self) -> None:
        """Do nothing: nobody else reads this part."""

    def exhausted(self) -> bool:
        return False

    def standing(self) -> Standing:
        return Standing(self._claimed, "reads its part of a log")

    def trouble(self) -> str:
        return ""

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return dict.fromkeys(next_offsets, 0)

    def membership(self) -> Any:
        return None

    def close(self) -> None:
        self.queue.clear()


class HeardLog:
    """The records that one line hears: those of the other lines, late."""

    def __init__(self, log: SharedLog, line: int) -> None:
        self._log, self._line = log, line
        self.queue: deque[Record] = deque()

    @property
    def name(self) -> str:
        return self._log.name

    def partitions(self) -> Collection[int]:
        return range(len(self._log.parts))

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        return dict.fromkeys(self.partitions(), (0, self._log.end))

    def listen(self, starts: Mapping[int, int]) -> Mapping[int, int]:
        """Return the starts: all are read from the first record on."""
        return starts

    def leave(self, partitions: Collection[int]) -> None:
        """Do nothing: what a line owns never comes here."""

    def hold(self, partitions: Collection[int]) -> None:
        """Do nothing: a replay never lags."""

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        queue, end = self.queue, self._log.end - self._log.late
        records: list[Record] = []
        while queue and queue[0].offset < end and len(records) < max_records:
            records.append(queue.popleft())
        return records

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return next_offsets

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return dict.fromkeys(next_offsets, 0)

    def begun_anew(self) -> Collection[int]:
        return ()

    def alone(self) -> bool:
        return False

    def is_awaited(self) -> bool:
        return False

    def trouble(self) -> str:
        return ""

    def close(self) -> None:
        self.queue.clear()


class Collected:
    """A sink that keeps the outputs of one line until they are taken."""

    shortened = 0

    def __init__(self) -> None:
        self._outputs = Outputs()

    def commit(
        self,
        outputs: Outputs,
        next_offsets: Mapping[int, int],
        membership: Any,
        marks: Mapping[int, Mark] | None = None,
    ) -> None:
        for name, values in vars(outputs).items():
            getattr(self._outputs, name).extend(values)

    def take(self) -> Outputs:
        """Return what was committed since the last call."""
        outputs, self._outputs = self._outputs, Outputs()
        return outputs

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: no checkpoint has what was collected."""

    def close(self) -> None:
        """Do nothing: nothing is open."""
