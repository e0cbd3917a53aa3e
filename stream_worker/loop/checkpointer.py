"""Writes what was learned and remembered, in the background and in the order that the rule of offsets needs.

At a batch boundary whose transaction has committed (Y):
  1. L: the line's checkpoint;
  2. the memory records, in chunks, never lowering an n;
  3. M: the floor of every partition.
So M and every n <= L <= Y whatever dies in between, and what is behind is redone.
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

_CHUNK = 1_000
# What is more than a chunk is spread over so much of the time until the next write, and over so many seconds at most:
# at once, it takes the loop's time.
_SPREAD, _MOST_SECONDS = 0.5, 3.0
_log = get_logger(__name__)


@dataclass
class Written:
    """What one write achieved, by these tokens. `seconds`: spent on it, without its pauses. `checkpoint_ts`: when the
    line's checkpoint was there, None: it is not, or none was due. `failed`: why the rest is still owed. `lost`: the
    store is not what it was."""

    seconds: float = 0.0
    checkpoint_ts: float | None = None
    records: Owed = field(default_factory=dict)
    floors: dict[int, int] = field(default_factory=dict)
    stale: list[int] = field(default_factory=list)
    tokens: Mapping[int, int] = field(default_factory=dict)
    failed: str = ""
    lost: bool = False


class Checkpointer:
    """One write at a time, on a thread of its own."""

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
        """Begin to write; `floors` are the processed offsets that `owed` brings every record up to, `stood` those that
        their reader found no record before. Without a snapshot nothing was learned since the last one."""
        self._started = self._clock.monotonic()
        self._hurry.clear()
        self._running = self._thread.submit(
            self._write, snapshot, owed, dict(tokens), dict(floors), dict(stood or floors)
        )

    def finished(self, timeout_seconds: float = 0.0) -> Written | None:
        """The result of a write that has ended, once. Whoever has the time to wait wants it soon."""
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
        """No more pauses in the write that is running."""
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
        """Before so much of all records; not among the seconds spent."""
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
    """Records, then M, a partition at a time; a stale token ends only its own partition. `rest`: what is done before
    each chunk but the first, which is such a share of all records."""
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
