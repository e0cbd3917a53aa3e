"""Takes in what is told of items, before lists are made: all of it at a start and a takeover, else what has come."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stream_worker.core.amounts import amount
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Record
from stream_worker.core.interfaces import ItemSource
from stream_worker.core.item_changes import ItemChanges
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.logs import get_logger
from stream_worker.loop.leaving import Leaving
from stream_worker.loop.outside import Outside
from stream_worker.loop.reporting import Reporter
from stream_worker.loop.waiting import Waiting

_AT_ONCE = 1_000  # records between two looks at the clock; not tuned
# Seconds of a tick for records that need not be taken before its lists: with events, and without. Not tuned.
_BUSY_SECONDS, _IDLE_SECONDS = 0.02, 0.25
_WAIT_SECONDS = 0.1  # longest wait for a record that is due; a request to leave is seen after it (not tuned)
_ALIVE_SECONDS, _SAY_SECONDS = 0.5, 5.0  # between two signs of life, and two lines of progress; not tuned
_RULES = "rules"  # name of the rules' fingerprint in the state
_log = get_logger(__name__)


class Described(Protocol):
    """A receiver of what is told of items."""

    def change_items(self, changes: ItemChanges) -> None: ...

    def forget_items(self) -> None:
        """Forget all that was told."""
        ...


class Items:
    """Reads from the item source, if there is one, decodes, and hands the changes on.

    Where more is told than a tick has time for, the rest waits for the next one; only what is due is waited for.
    """

    def __init__(
        self,
        outside: Outside,
        decoder: ItemDecoder,
        described: Described,
        waiting: Waiting,
        leaving: Leaving,
        reporter: Reporter,
    ) -> None:
        self._outside, self._clock, self._source = outside, outside.clock, outside.items
        self._decoder, self._described = decoder, described
        self._waiting, self._leaving, self._reporter = waiting, leaving, reporter
        self._held: list[Record] = []
        self._state: dict[str, Any] = {}
        self._begun_anew = 0
        self._owes = False
        self._alive_at = self._said = -math.inf

    def begin(self, state: Mapping[str, Any]) -> None:
        """Read on from the state of a checkpoint, to the end as it is now. Raises Unavailable: then begin again."""
        self._state, self._held = self._of_these_rules(dict(state)), []
        if self._source is None:
            if state:
                _log.warning("no items topic is read, unlike before: what the checkpoint knows of items is left out")
            self._state = {}
            return
        self._source.begin(self._state)
        self._source.demand()
        self._take(self._source, -math.inf)

    def owe(self) -> None:
        """Demand that all that was told until now is taken in before the next list: partitions were taken over."""
        self._owes = True

    def take(self, busy: bool) -> bool:
        """Take in what is due, and what else has come, as far as the tick has time. Return False if the worker has to
        leave before all that is due was taken: then no list may be made.

        busy: True if the tick has events, too.
        """
        if self._source is None:
            return True
        until = self._clock.monotonic() + (_BUSY_SECONDS if busy else _IDLE_SECONDS)
        while True:
            try:
                if self._owes:
                    self._source.demand()
                    self._owes = False
                return self._take(self._source, until, self._outside.source.serve)
            except Unavailable as fault:
                if self._leaving.requested:
                    return False
                self._waiting.wait_for(fault)

    def state_dict(self) -> dict[str, Any]:
        """Return the item source's state after the last change that was handed on; empty if none was ever read."""
        rules = self._decoder.rules.fingerprint
        return self._state | {_RULES: rules} if self._state and rules else self._state

    def _of_these_rules(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state of the item source without the rules under which items were taken in. Empty where those of
        today are others: they are asked about every item again, so all that was told is read again."""
        before, now = state.pop(_RULES, ""), self._decoder.rules.fingerprint
        if self._source is None or not state or not now or before == now:
            return state
        _log.info("the rules about items are new: what is told of items is read again from its beginning")
        self._described.forget_items()
        return {}

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    def _take(self, source: ItemSource, until: float, serve: Callable[[], None] = lambda: None) -> bool:
        """Take all that is due, then what comes until a monotonic second. False: the worker leaves before that.

        serve: keeps the group membership alive.
        """
        while True:
            came = self._batch(source)
            due = source.due()
            if not due and (not came or self._clock.monotonic() >= until):
                return True
            if due and self._leaving.requested:
                return False
            if due and self._clock.monotonic() - self._alive_at >= _ALIVE_SECONDS:
                self._alive_at = self._clock.monotonic()
                self._show(source, due)
                serve()

    def _batch(self, source: ItemSource) -> bool:
        """Take in one batch; return True if there was one. Raises Unavailable: the same batch is then the next one."""
        records = self._held or source.poll(_AT_ONCE, _WAIT_SECONDS if source.due() else 0.0)
        self._held = records
        changes, unreadable = self._decoder.decode(records)
        self._held = []
        if source.begun_anew != self._begun_anew:
            self._begun_anew = source.begun_anew
            self._described.forget_items()
        if len(changes):
            self._described.change_items(changes)
        self._state = source.state_dict()
        self._reporter.count_items(len(records), len(changes), source.lag(), unreadable, self._decoder.dropped)
        self._reporter.count_rules(self._decoder.rules)
        return bool(records)

    def _show(self, source: ItemSource, due: int) -> None:
        """Show on every surface that items are read, and how many records are left."""
        words = f"reading items: {amount(due, 'record')} to go"
        self._reporter.status.waiting = f"{words}; {trouble}" if (trouble := source.trouble()) else words
        self._reporter.ticked()
        if self._clock.monotonic() - self._said >= _SAY_SECONDS:
            self._said = self._clock.monotonic()
            _log.info("reading items", topic=source.name, read=self._reporter.status.items.records, to_go=due)
