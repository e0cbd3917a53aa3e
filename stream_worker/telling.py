"""The log lines of `run` about its work: the first dead letter of each kind, and a line of figures every minute.

Without a metrics server this is all that a person sees of a worker.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from stream_worker.core.quality import HIT_RATE, WORKER
from stream_worker.core.status import Observer, Status
from stream_worker.logs import get_logger

_EVERY_SECONDS = 60.0  # between two lines of figures (not tuned)
_MOST_IGNORED = 10  # types of ignored records in a line (not tuned)
_MOST_KINDS = 50  # warnings about kinds of dead letters, so that a faulty producer can't fill the log (not tuned)

_log = get_logger(__name__)


class Telling:
    """An observer that writes log lines: one of figures about the work since the previous line, every `every_seconds`.

    When no events come, it writes one line that the worker waits, and then none until an event has come.
    """

    def __init__(
        self,
        log: Any = _log,
        every_seconds: float = _EVERY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._every_seconds = every_seconds
        self._monotonic = monotonic
        self._said = monotonic()
        self._records = self._events = self._lists = self._duplicates = 0
        self._dead: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()
        self._looked_at = 0
        self._warned_of: set[str] = set()
        self._idle = False

    def ticked(self, status: Status) -> None:
        dead = status.consuming.dead_letters.total()
        if dead > self._looked_at:
            self._looked_at = dead
            self._warn_of_new_kinds(status)
        if self._monotonic() - self._said >= self._every_seconds:
            self._tell(status)

    def _warn_of_new_kinds(self, status: Status) -> None:
        for kind in status.consuming.set_aside.commonest(_MOST_KINDS):
            if kind.place not in self._warned_of and len(self._warned_of) < _MOST_KINDS:
                self._warned_of.add(kind.place)
                self._log.warning("no event, a dead letter", error=kind.name, reason=kind.reason, place=kind.place)

    def _tell(self, status: Status) -> None:
        now, counts = self._monotonic(), status.consuming
        if counts.records > self._records:
            self._log.info("at work", **self._work(status, now - self._said))
            self._idle = False
        elif not self._idle and not status.waiting and counts.lag:  # it owns partitions, and none has a record
            self._log.info("nothing to read: waiting for events", events=counts.events)
            self._idle = True
        self._said, self._records, self._events = now, counts.records, counts.events
        self._lists, self._duplicates = status.publishing.lists, counts.duplicates
        self._dead, self._ignored = Counter(counts.dead_letters), Counter(counts.ignored)

    def _work(self, status: Status, seconds: float) -> dict[str, Any]:
        said: dict[str, Any] = {
            "events_per_second": round((status.consuming.events - self._events) / max(seconds, 1e-9), 1),
            "lists": status.publishing.lists - self._lists,
            "lag": sum(status.consuming.lag.values()),
            **_quality(status),
            "effort": round(status.learning.effort, 3),
        }
        dead = Counter(status.consuming.dead_letters) - self._dead
        duplicates = status.consuming.duplicates - self._duplicates
        said |= {"duplicates": duplicates} if duplicates else {}
        ignored = Counter(status.consuming.ignored) - self._ignored
        return said | ({"dead_letters": dict(dead)} if dead else {}) | _told("ignored", ignored)


def _quality(status: Status) -> dict[str, float]:
    """Return the rolling hit rates of the worker and of the best baseline; empty before an event was scored."""
    rates = status.quality.rolling(HIT_RATE)
    said = {HIT_RATE: round(rates.pop(WORKER), 4)} if rates else {}
    best = max(rates, key=rates.__getitem__, default="")
    return said | ({f"{best}_{HIT_RATE}": round(rates[best], 4)} if best else {})


def _told(name: str, counts: Counter[str]) -> dict[str, dict[str, int]]:
    """Return the commonest of what was counted under a name; nothing if there is none."""
    return {name: dict(counts.most_common(_MOST_IGNORED))} if counts else {}


def last_words(status: Status) -> dict[str, Any]:
    """Return the figures of the log line about the worker's end."""
    counts = status.consuming
    dead = {"dead_letters": dict(counts.dead_letters)} if counts.dead_letters else {}
    dropped = {"fields_dropped": dict(counts.fields_dropped.by_name())} if counts.fields_dropped.total() else {}
    duplicates = {"duplicates": counts.duplicates} if counts.duplicates else {}
    aliases = {"aliases": dict(status.memory.aliases)} if status.memory.aliases else {}
    faults = duplicates | aliases | dead | dropped | _told("ignored", counts.ignored) | _of_items(status)
    return {"events": counts.events, "lists": status.publishing.lists, **faults}


def _of_items(status: Status) -> dict[str, Any]:
    """Return how much was told of items, and how much of it can't be read; empty where nothing was told."""
    reading = status.items
    faults = {"items_unreadable": reading.unreadable, "item_fields_dropped": reading.fields_dropped}
    bad = {name: dict(counts.by_name()) for name, counts in faults.items() if counts.total()}
    failed = {"item_rules_failed": dict(reading.rules_failed)} if reading.rules_failed else {}
    return ({"item_records": reading.records} if reading.records else {}) | bad | failed | _of_decisions(status)


def _of_decisions(status: Status) -> dict[str, Any]:
    """Return how many records of the decisions topic were read and how many are no decision, where there were any."""
    reading = status.decisions
    bad = {"decisions_unreadable": dict(reading.unreadable.by_name())} if reading.unreadable.total() else {}
    return ({"decision_records": reading.records} if reading.records else {}) | bad


class All:
    """An observer that tells several others."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def ticked(self, status: Status) -> None:
        for observer in self._observers:
            observer.ticked(status)
