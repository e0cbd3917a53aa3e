"""Takes in what is told of items and decided on them, before lists are made: all at a start and a takeover."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from stream_worker.core.amounts import amount
from stream_worker.core.decisions import Decision, decode_decisions
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import DeadLetter, Record
from stream_worker.core.item_changes import ItemChanges
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.logs import get_logger
from stream_worker.loop.leaving import Leaving
from stream_worker.loop.outside import Outside
from stream_worker.loop.reporting import Reporter
from stream_worker.loop.told import Taker, Told
from stream_worker.loop.waiting import Waiting

# Seconds of a tick for records that need not be taken before its lists: with events, and without. Not tuned.
_BUSY_SECONDS, _IDLE_SECONDS = 0.02, 0.25
_ALIVE_SECONDS, _SAY_SECONDS = 0.5, 5.0  # between two signs of life, and two lines of progress; not tuned
_RULES = "rules"  # name of the rules' fingerprint in the state
_DECISIONS, _ITEMS = "decisions", "items"  # names of their states in a checkpoint
_log = get_logger(__name__)


class Described(Protocol):
    """A receiver of what is told of items, and decided on them."""

    def change_items(self, changes: ItemChanges) -> None: ...

    def forget_items(self) -> None:
        """Forget all that was told."""
        ...

    def decide(self, decisions: Sequence[Decision]) -> None: ...

    def forget_decisions(self) -> None: ...

    def decided(self) -> dict[str, int]:
        """Return the number of items by the decision that is in force on them."""
        ...


class Items:
    """Reads the topics that tell of items and decide on them, as far as there are any, and hands on what they say.

    Where more is told than a tick has time for, the rest waits for the next one; only what is due is waited for.
    Decisions are read first, since they are few and urgent.
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
        self._outside, self._clock = outside, outside.clock
        self._decoder, self._described = decoder, described
        self._waiting, self._leaving, self._reporter = waiting, leaving, reporter
        self._topics: list[Told[Any]] = list(self._all_topics())
        self._owes = False
        self._alive_at = self._said = -math.inf

    def _all_topics(self) -> Iterator[Told[Any]]:
        status, described = self._reporter.status, self._described
        if (source := self._outside.decisions) is not None:
            deciding = Taker(decode_decisions, self._decide, self._forget_decisions)
            yield Told(_DECISIONS, source, deciding, status.decisions, self._reporter)
        if (source := self._outside.items) is not None:
            telling = Taker(self._decode_items, described.change_items, described.forget_items)
            yield Told(_ITEMS, source, telling, status.items, self._reporter)

    def begin(self, states: Mapping[str, Any]) -> None:
        """Read on from a checkpoint's states, to the ends as they are now. Raises Unavailable: then begin again."""
        for name in {_DECISIONS, _ITEMS} - {topic.name for topic in self._topics}:
            if states.get(name):
                _log.warning(f"no {name} topic is read, unlike before: what the checkpoint knows of it is left out")
        for topic in self._topics:
            state = states.get(topic.name, {})
            topic.begin(self._of_these_rules(dict(state)) if topic.name == _ITEMS else state)
        for topic in self._topics:
            self._take(topic, -math.inf)
        self._count_decided()

    def owe(self) -> None:
        """Demand that all that was told until now is taken in before the next list: partitions were taken over."""
        self._owes = True

    def take(self, busy: bool) -> bool:
        """Take in what is due, and what else has come, as far as the tick has time. Return False if the worker has to
        leave before all that is due was taken: then no list may be made.

        busy: True if the tick has events, too.
        """
        until = self._clock.monotonic() + (_BUSY_SECONDS if busy else _IDLE_SECONDS)
        while True:
            try:
                if self._owes:
                    for topic in self._topics:
                        topic.source.demand()
                    self._owes = False
                return all(self._take(topic, until, self._outside.source.serve) for topic in self._topics)
            except Unavailable as fault:
                if self._leaving.requested:
                    return False
                self._waiting.wait_for(fault)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each source after the last batch that was handed on, by name; none that never read."""
        states = {topic.name: topic.state for topic in self._topics if topic.state}
        if _ITEMS in states and (rules := self._decoder.rules.fingerprint):
            states[_ITEMS] = states[_ITEMS] | {_RULES: rules}
        return states

    def _of_these_rules(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state of the item source without the rules under which items were taken in. Empty where those of
        today are others: they are asked about every item again, so all that was told is read again."""
        before, now = state.pop(_RULES, ""), self._decoder.rules.fingerprint
        if not state or not now or before == now:
            return state
        _log.info("the rules about items are new: what is told of items is read again from its beginning")
        self._described.forget_items()
        return {}

    def close(self) -> None:
        for topic in self._topics:
            topic.source.close()

    def _decode_items(self, records: Sequence[Record]) -> tuple[ItemChanges, list[DeadLetter]]:
        changes, unreadable = self._decoder.decode(records)
        self._reporter.count_dropped(self._decoder.dropped)
        self._reporter.count_rules(self._decoder.rules)
        return changes, unreadable

    def _decide(self, decisions: Sequence[Decision]) -> None:
        self._described.decide(decisions)
        self._count_decided()

    def _forget_decisions(self) -> None:
        self._described.forget_decisions()
        self._count_decided()

    def _count_decided(self) -> None:
        if self._outside.decisions is not None:
            self._reporter.status.decisions.in_force = self._described.decided()

    def _take(self, topic: Told[Any], until: float, serve: Callable[[], None] = lambda: None) -> bool:
        """Take all that is due, then what comes until a monotonic second. False: the worker leaves before that.

        serve: keeps the group membership alive.
        """
        while True:
            came = topic.batch()
            due = topic.source.due()
            if not due and (not came or self._clock.monotonic() >= until):
                return True
            if due and self._leaving.requested:
                return False
            if due and self._clock.monotonic() - self._alive_at >= _ALIVE_SECONDS:
                self._alive_at = self._clock.monotonic()
                self._show(topic, due)
                serve()

    def _show(self, topic: Told[Any], due: int) -> None:
        """Show on every surface that a topic is read, and how many records are left."""
        words = f"reading {topic.name}: {amount(due, 'record')} to go"
        trouble = topic.source.trouble()
        self._reporter.status.waiting = f"{words}; {trouble}" if trouble else words
        self._reporter.ticked()
        if self._clock.monotonic() - self._said >= _SAY_SECONDS:
            self._said = self._clock.monotonic()
            topic.log(due)
