"""Writes L, memory records and M in the background, in the order that the rule of offsets needs.

At a batch boundary whose transaction has committed (Y):
  1. L: the line's checkpoint;
  2. the memory records, in chunks, never lowering an n;
  3. M: the floor of every partition.
So M and every n <= L <= Y whatever dies in between, and the next owner redoes what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from stream_worker.core.errors import MemoriesLost, StaleToken, Unavailable
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import CheckpointStore, Clock, RecordStore, Snapshot
from stream_worker.logs import get_logger
from stream_worker.loop.memories import Owed

_CHUNK = 1_000  # memory records per write to the store (measured: ADR 0013, docs/experiments/latency.md)
# Chunks after the first are spread over half of the time until the next write, at most 3 seconds: written at once, they
# would keep the store and Python's lock from the loop (ADR 0013).
_SPREAD, _MOST_SECONDS = 0.5, 3.0
_log = get_logger(__name__)


@dataclass
class Written:
    """The result of one write.

    seconds: time spent on it, without its pauses.
    checkpoint_ts: epoch seconds at which the line's checkpoint was complete; None if it is not, or none was due.
    records: the memory records that the store has now, by partition.
    floors: M of each partition whose records are all written.
    stale: partitions whose token the store refused.
    tokens: the tokens that the write used.
    failed: why the rest was not written; empty if nothing failed.
    lost: True if the store has lost what was written to it.
    """

    seconds: float = 0.0
    checkpoint_ts: float | None = None
    records: Owed = field(default_factory=dict)
    floors: dict[int, int] = field(default_factory=dict)
    stale: list[int] = field(default_factory=list)
    tokens: Mapping[int, int] = field(default_factory=dict)
    failed: str = ""
    lost: bool = False


class Checkpointer:
    """Writes on a thread of its own, one write at a time.

    `interval_seconds`: time between the beginnings of two writes.
    `reached`: called at each fault point, by its name.
    """

    def __init__(
        self,
        checkpoints: CheckpointStore,
        store: RecordStore,
        clock: Clock,
        interval_seconds: float,
        reached: Reached = no_fault,
    ) -> None:
        self._checkpoints = checkpoints
        self._store = store
        self._clock = clock
        self._reached = reached
        self._interval_seconds = interval_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[Written] | None = None
        self._hurry = Event()
        self._started = clock.monotonic()

    def due(self) -> bool:
        return self._running is None and self._clock.monotonic() - self._started >= self._interval_seconds

    def busy(self) -> bool:
        return self._running is not None

    def start(
        self,
        snapshot: Snapshot | None,
        owed: Owed,
        tokens: Mapping[int, int],
        floors: Mapping[int, int],
        stood: Mapping[int, int] | None = None,
    ) -> None:
        """Begin a write.

        `snapshot`: the checkpoint; None if nothing was learned since the last one.
        `owed`: the memory records to be written, by partition.
        `tokens`: the token of each partition.
        `floors`: M of each partition once `owed` is written: the processed offsets.
        `stood`: how far the reader came past M where no offset holds a record; None: no further.
        """
        self._started = self._clock.monotonic()
        self._hurry.clear()
        self._running = self._thread.submit(
            self._write, snapshot, owed, dict(tokens), dict(floors), dict(stood or floors)
        )

    def finished(self, timeout_seconds: float = 0.0) -> Written | None:
        """Return the result of a write that has ended, once; None if there is none.

        With a timeout the running write is hurried, and waited for.
        """
        if self._running is None:
            return None
        if timeout_seconds > 0:
            self.hurry()
        wait([self._running], timeout_seconds)
        if not self._running.done():
            return None
        running, self._running = self._running, None
        return running.result()

    def hurry(self) -> None:
        """End the pauses of the write that is running."""
        self._hurry.set()

    def close(self) -> None:
        self.hurry()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _write(
        self,
        snapshot: Snapshot | None,
        owed: Owed,
        tokens: dict[int, int],
        floors: dict[int, int],
        stood: dict[int, int],
    ) -> Written:
        written, start = Written(tokens=tokens), self._clock.monotonic()
        try:
            if snapshot is not None:
                self._checkpoints.save(snapshot)  # 1. L
                written.checkpoint_ts = self._clock.now()
            if self._store.durable:
                rest = partial(self._rest, written)
                save_memories(self._store, owed, tokens, floors, stood, written, self._reached, rest)  # 2. and 3.
                self._reached("written")
        except (Unavailable, MemoriesLost) as fault:
            written.failed, written.lost = str(fault), isinstance(fault, MemoriesLost)
            _log.error("checkpoint not complete", reason=str(fault))
        written.seconds += self._clock.monotonic() - start
        return written

    def _rest(self, written: Written, share: float) -> None:
        """Pause before a chunk that is this share of all records; the pause does not count as time spent."""
        start = self._clock.monotonic()
        self._hurry.wait(share * min(_SPREAD * self._interval_seconds, _MOST_SECONDS))
        written.seconds -= self._clock.monotonic() - start


def save_memories(
    store: RecordStore,
    owed: Owed,
    tokens: Mapping[int, int],
    floors: Mapping[int, int],
    stood: Mapping[int, int],
    written: Written,
    reached: Reached = no_fault,
    rest: Callable[[float], None] = lambda share: None,
) -> None:
    """Write memory records, then M, one partition after the other; a stale token ends only its own partition.

    `store`: the memory store.
    `owed`, `tokens`, `floors`, `stood`: see `Checkpointer.start`.
    `written`: takes the result.
    `reached`: called at each fault point, by its name.
    `rest`: called before each chunk but the first, with the chunk's share of all records.

    Raises Unavailable and MemoriesLost.
    """
    total, begun = sum(map(len, owed.values())), False
    for partition, floor in floors.items():
        records = owed.get(partition, [])
        try:
            for start in range(0, len(records), _CHUNK):
                chunk = records[start : start + _CHUNK]
                if begun and total > _CHUNK:
                    rest(len(chunk) / total)
                begun = True
                store.save(partition, tokens[partition], chunk)
                reached("records.chunk")
            reached("records.written")
            store.set_floor(partition, tokens[partition], floor, stood[partition])
            reached("floor.written")
        except StaleToken as fault:
            written.stale.append(partition)
            _log.warning("memories refused", reason=str(fault), partition=partition)
        else:
            written.records[partition] = records
            written.floors[partition] = floor
