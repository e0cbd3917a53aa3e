"""Keeps the item numbers of a line's catalogue equal to those of the dictionary in the store.

Rings are written with the catalogue's numbers. The store forgets the number of an id that no worker asks for; if the id
then came to another worker, it would get a second number. So this worker asks for every live item again in each eighth
of the time that numbers are kept, one chunk per tick. If it could not ask for half of that time (the process stood
still, or the store was out of reach), it asks for all items at once before anything is written (ADR 0016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model.items.catalog import Catalog
from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import Clock, ItemNumbering
from stream_worker.logs import get_logger

_CHUNK = 1_000  # items asked for in one tick (not tuned)
_ASKED_A_TIME = 8  # walks through all live items in the time that numbers are kept (ADR 0016)
_RETRY_SECONDS = 60.0  # between two tries while the store does not answer (not tuned)
_log = get_logger(__name__)


class ItemNumbers:
    """The item numbers of one line.

    foreign: True while the catalogue still has numbers of a store that has lost its contents, until `renumber`.
    _asked_ts: the epoch second since which every live item was asked for.
    _began_ts: the epoch second at which the present walk through the live items began; None if none is under way.
    _at: the catalogue row at which this walk goes on.
    """

    def __init__(self, store: ItemNumbering, catalog: Catalog, clock: Clock) -> None:
        self._store, self._catalog, self._clock = store, catalog, clock
        self.foreign = False
        self._asked_ts = clock.now()
        self._began_ts: float | None = None
        self._at = 0
        self._silent_until = -math.inf
        self._said = False

    def of(self, ids: Sequence[str]) -> list[int]:
        """Return the store's numbers of these ids, 0 for a new id when the dictionary is full."""
        numbers = self._store.number_items(ids)
        if not self._said and 0 in numbers:
            self._said = True
            _log.warning(
                "the dictionary of items is full: new items are counted and listed, but do not enter users' memories; "
                "raise memory.max_item_ids (without Redis memory.twin_items), or set memory.expire_seconds",
                first=ids[numbers.index(0)],
            )
        return numbers

    def begin_again(self) -> None:
        """Mark all numbers as foreign: the store lost its contents and may give numbers again that are in use here."""
        self.foreign, self._began_ts = True, None

    def renumber(self) -> None:
        """Ask for the numbers of all live items at once, and put them into the catalogue."""
        asked_ts = self._clock.now()
        self._ask(self._catalog.live_rows())
        self.foreign, self._asked_ts, self._began_ts = False, asked_ts, None

    def keep(self) -> None:
        """Ask for the items that are due; called in every tick before anything of it is written.

        Does nothing while the numbers are foreign. Asks again a minute later if the store does not answer. Raises
        MemoriesLost.
        """
        kept, now = self._store.numbers_kept_seconds, self._clock.now()
        if math.isinf(kept) or self.foreign or now < self._silent_until:
            return
        try:
            if not 0 <= now - self._asked_ts < kept / 2:
                _log.warning("item numbers were not refreshed in time", seconds=now - self._asked_ts)
                self.renumber()
            elif self._began_ts is not None or now - self._asked_ts >= kept / _ASKED_A_TIME:
                self._walk(now)
        except Unavailable:
            self._silent_until = now + min(_RETRY_SECONDS, kept / _ASKED_A_TIME)

    def _walk(self, now: float) -> None:
        """Ask for the next chunk of rows. Items that get a row during the walk have just been asked for."""
        if self._began_ts is None:
            self._began_ts, self._at = now, 0
        rows = self._catalog.live_rows()
        chunk = rows[np.searchsorted(rows, self._at) :][:_CHUNK]
        if len(chunk):
            self._ask(chunk)
            self._at = int(chunk[-1]) + 1
        else:
            self._asked_ts, self._began_ts = self._began_ts, None

    def _ask(self, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        numbers = np.array(self.of([self._catalog.ids[row] for row in rows.tolist()]), dtype=np.uint32)
        other = numbers != self._catalog.number_N[rows]
        self._catalog.renumber(rows[other], numbers[other].tolist())
