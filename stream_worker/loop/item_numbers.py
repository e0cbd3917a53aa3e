"""The numbers of a line's items: asked of the store, asked for again before they are forgotten, and said when out.

The catalogue holds the number that the store gave, and rings are written with it. A store that ages forgets the number
of an id that nobody asks for; if this id came to another worker then, it would get a second one. So every live item is
asked for again each eighth of the time that numbers are kept, a chunk a tick; and where half of that time went by
without (the process stood still, or the store was out of reach), all are asked for at once, before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model.items.catalog import Catalog
from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import Clock, ItemNumbering
from stream_worker.logs import get_logger

_CHUNK = 1_000
_ASKED_A_TIME = 8
_RETRY_SECONDS = 60.0
_log = get_logger(__name__)


class ItemNumbers:
    """`foreign`: the numbers in the catalogue are those of a store that is no more, until `renumber`.

    `_asked_ts`: since then every live item was asked for, `_began_ts`: when the walk through them began that is under
    way (None: none is), up to row `_at`.
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
        """The store's numbers of these ids, 0 where it has no room for more."""
        numbers = self._store.number_items(ids)
        if not self._said and 0 in numbers:
            self._said = True
            _log.warning(
                "no room for more ids of items: new items are counted and listed, but not remembered of their users; "
                "raise memory.max_item_ids (without Redis memory.twin_items), or set memory.expire_seconds",
                first=ids[numbers.index(0)],
            )
        return numbers

    def begin_again(self) -> None:
        """The store did so: its numbers may be the former ones of other items, so that all have to change at once."""
        self.foreign, self._began_ts = True, None

    def renumber(self) -> None:
        """Ask for the numbers of all live items, at once."""
        asked_ts = self._clock.now()
        self._ask(self._catalog.live_rows())
        self.foreign, self._asked_ts, self._began_ts = False, asked_ts, None

    def keep(self) -> None:
        """Once a tick, before anything of it is written, unless they are foreign. Raises MemoriesLost; a store that
        does not answer is asked again a minute later."""
        kept, now = self._store.numbers_kept_seconds, self._clock.now()
        if math.isinf(kept) or self.foreign or now < self._silent_until:
            return
        try:
            if not 0 <= now - self._asked_ts < kept / 2:
                _log.warning("numbers of items are asked for late", seconds=now - self._asked_ts)
                self.renumber()
            elif self._began_ts is not None or now - self._asked_ts >= kept / _ASKED_A_TIME:
                self._walk(now)
        except Unavailable:
            self._silent_until = now + min(_RETRY_SECONDS, kept / _ASKED_A_TIME)

    def _walk(self, now: float) -> None:
        """The next rows. Those that come or are recycled meanwhile have just been asked for."""
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
