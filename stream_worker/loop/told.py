"""Reads one topic that tells of items, or decides on them, and hands on what its records say, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stream_worker.core.events import DeadLetter, Record
from stream_worker.core.interfaces import ItemSource
from stream_worker.core.status import ItemReading
from stream_worker.logs import get_logger
from stream_worker.loop.reporting import Reporter

_AT_ONCE = 1_000  # records of a batch, between two looks at the clock; not tuned
_WAIT_SECONDS = 0.1  # longest wait for a record that is due; a request to leave is seen after it (not tuned)
_log = get_logger(__name__)
C = TypeVar("C", bound=Sized)  # what the records of a batch say


@dataclass(frozen=True)
class Taker(Generic[C]):
    """The receiver of a batch.

    decode: returns what its records say, and those that can't be read. Raises Unavailable: nothing was decoded.
    take: takes it over.
    forget: forgets all that was taken over.
    """

    decode: Callable[[Sequence[Record]], tuple[C, list[DeadLetter]]]
    take: Callable[[C], None]
    forget: Callable[[], None]


class Told(Generic[C]):
    """One topic, read from where a checkpoint ends.

    name: of its state in a checkpoint, and of what it holds, for people.
    """

    def __init__(
        self, name: str, source: ItemSource, taker: Taker[C], reading: ItemReading, reporter: Reporter
    ) -> None:
        self.name, self.source = name, source
        self._taker, self._reading, self._reporter = taker, reading, reporter
        self._held: list[Record] = []
        self._begun_anew = source.begun_anew
        self.state: dict[str, Any] = {}  # of the source, after the last batch that was handed on

    def begin(self, state: Mapping[str, Any]) -> None:
        """Read on from a state, and make all due that was written until now. Raises Unavailable: then begin again."""
        self.state, self._held = dict(state), []
        self.source.begin(state)
        self.source.demand()

    def batch(self) -> bool:
        """Take in one batch; return True if there was one. Raises Unavailable: the same batch is then the next one."""
        source, taker = self.source, self._taker
        records = self._held or source.poll(_AT_ONCE, _WAIT_SECONDS if source.due() else 0.0)
        self._held = records
        said, unreadable = taker.decode(records)
        self._held = []
        if source.begun_anew != self._begun_anew:
            self._begun_anew = source.begun_anew
            taker.forget()
        if len(said):
            taker.take(said)
        self.state = source.state_dict()
        if records:
            _log.debug(f"taken: {self.name}", next_offsets=self.state.get("offsets"))
        self._reading.lag = source.lag()
        self._reporter.count_told(self._reading, len(records), len(said), unreadable)
        return bool(records)

    def log(self, due: int) -> None:
        _log.info(f"reading {self.name}", topic=self.source.name, read=self._reading.records, to_go=due)
