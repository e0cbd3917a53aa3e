"""Publishes lists, dead letters and Y in one transaction, and tries again until it is committed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from stream_worker.core.errors import RestartNeeded, TransactionAborted, Unavailable
from stream_worker.core.events import Outputs
from stream_worker.core.offsets import Mark, Offsets
from stream_worker.core.status import Status
from stream_worker.logs import get_logger
from stream_worker.loop.leaving import Leaving
from stream_worker.loop.outside import Outside
from stream_worker.loop.waiting import Waiting

_MOST_ABORTS = 30  # aborts in a row after which a new process has to take over: 47 s of pauses (not tuned)
# Pause after the second abort in a row, doubled at each further one, and the longest pause (not tuned).
_ABORT_SECONDS, _MOST_ABORT_SECONDS = 0.05, 2.0
_log = get_logger(__name__)


class Publisher:
    """Holds the `outbox`, the outputs of a tick, until its transaction is committed."""

    def __init__(self, outside: Outside, offsets: Offsets, leaving: Leaving, waiting: Waiting, status: Status) -> None:
        self.outbox = Outputs()
        self._sink, self._source = outside.sink, outside.source
        self._offsets, self._leaving, self._waiting, self._status = offsets, leaving, waiting, status

    def publish(self, marks: Callable[[Mapping[int, int]], dict[int, Mark]]) -> None:
        """Publish the outbox and Y. After an abort, let rebalances through and publish again what is still owned.

        If the brokers do not answer until the deadline of a worker that leaves, return with both still due. Raises
        RestartNeeded after 30 aborts in a row.

        marks: returns the mark of each partition whose Y is due.
        """
        aborts = 0
        while due := self._offsets.due():
            try:
                self._sink.commit(self.outbox, due, self._source.membership(), marks(due))
            except TransactionAborted as fault:
                aborts += 1
                self._aborted(fault, aborts)
            except Unavailable as fault:
                if self._leaving.over():
                    return
                self._waiting.wait_for(fault)
            else:
                self._committed(due)
        self.outbox = Outputs()

    def drop(self, partitions: Collection[int]) -> None:
        """Remove the outputs of partitions that this worker no longer owns."""
        outbox = self.outbox
        outbox.recommendations = [r for r in outbox.recommendations if r.partition not in partitions]
        outbox.dead_letters = [d for d in outbox.dead_letters if d.record.partition not in partitions]
        outbox.similar = [s for s in outbox.similar if not s.is_of(partitions)]
        outbox.popular = [p for p in outbox.popular if not p.is_of(partitions)]

    def _aborted(self, fault: TransactionAborted, aborts: int) -> None:
        if aborts == _MOST_ABORTS:
            raise RestartNeeded(f"a transaction was aborted {aborts} times in a row, at last: {fault}") from fault
        self._status.publishing.transactions_aborted += 1
        _log.warning("transaction aborted, sending again", reason=str(fault))
        if aborts > 1:
            self._waiting.rest(str(fault), min(_ABORT_SECONDS * 2 ** (aborts - 2), _MOST_ABORT_SECONDS))
        self._source.serve()

    def _committed(self, due: Mapping[int, int]) -> None:
        self._status.waiting = ""
        self._offsets.publish(due)
        counts = self._status.publishing
        counts.transactions_committed += 1
        counts.lists += len(self.outbox.recommendations)
        counts.similar += len(self.outbox.similar)
        counts.popular += len(self.outbox.popular)
        counts.lists_shortened = self._sink.shortened
