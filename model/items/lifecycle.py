"""The life of an item: its row, its first vector, eviction, the attic, and its return."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional as F

from model.batch import Batch
from model.counting import popularity
from model.counting.walk import Counting
from model.items.attic import Attic
from model.items.catalog import Catalog
from model.items.content import Content
from model.items.content_table import Descriptions
from model.items.item_table import ItemTable
from model.items.starts import Start, hashed_vectors
from model.lists.list_maker import ListMaker
from model.state import Arrays


class ItemLife:
    """Keeps catalogue, vectors, counts, attic and content in step.

    Arguments of the methods: `events`: number of events that the line has learned; `clock_ts`: time of the newest one,
    in seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        items: ItemTable,
        counting: Counting,
        attic: Attic,
        start: Start,
        list_maker: ListMaker,
        content: Content | None = None,
    ) -> None:
        """Join the parts. content: None where items are known from events alone, and nobody decides on them."""
        self.start = start
        self._catalog, self._items, self._counting, self._attic = catalog, items, counting, attic
        self._list_maker, self._content = list_maker, content

    def make_room(self, count: int, events: int, clock_ts: float) -> NDArray[np.int64]:
        """Evict expired items, or enough items for `count` new ones to fit (see `Catalog.leaving`).

        Returns the evicted rows, so that other tables by row can be cleared, too.
        """
        rows = self._catalog.leaving(count, clock_ts)
        if len(rows):
            self._keep(rows, events)
            self._catalog.evict(rows)
            self._counting.forget(rows)
            self._items.forget(rows)
            self._list_maker.forget(rows)
            if self._content is not None:
                self._content.forget(rows)
        return rows

    def _keep(self, rows: NDArray[np.int64], events: int) -> None:
        kept: Arrays = {
            "table": self._items.half(rows),
            "popularity": popularity.kept(self._counting.tables.popularity, rows),
            "category": self._counting.tables.category_N[rows],
            "born": self._catalog.born_N[rows],
            "events": np.full(len(rows), events),
        }
        self._attic.put(self._catalog.ids_of_rows(rows), kept)

    def add(self, ids: list[str], numbers: list[int], events: int, clock_ts: float) -> NDArray[np.int32]:
        """Give new items rows; their vectors start when their first events are learned (`begin`)."""
        rows = self._catalog.add(ids, numbers, events, clock_ts)
        if self._catalog.capacity > self._items.rows:
            self._items.grow(self._catalog.capacity)
            self._counting.grow(self._catalog.capacity)
        if self._content is not None:
            self._content.begin(rows)
        return rows

    def describe(self, changes: Descriptions) -> None:
        """Take over what is told of items; those with a row have their new category at once."""
        assert self._content is not None
        self._name(self._content, self._content.change(changes))
        self._list_maker.choose_anew()

    def _name(self, content: Content, rows: NDArray[np.int32]) -> None:
        """Set the categories of rows to those that their content names."""
        category_N = self._counting.tables.category_N
        category_N[rows] = content.named(rows, category_N[rows])

    def begin(self, batch: Batch, windows_BL: NDArray[np.int32], events: int) -> None:
        """Start the vectors of the items whose first events are in this batch.

        windows_BL: item rows of the ring before each event, -1: none
        """
        places = np.flatnonzero(batch.new_B)
        if len(places) == 0:
            return
        rows = batch.row_B[places]
        self._catalog.begin(rows, events, batch.clock_B[places])
        self._items.start(rows, self.start.vectors(rows, places, windows_BL))
        self._restore(rows)
        if self._content is not None:
            self._content.begun_N[rows] = True
            self._name(self._content, rows)

    def _restore(self, rows: NDArray[np.int32]) -> None:
        """Give items that return from the attic their category and age, and the vectors that they had."""
        places = self._in_attic(rows)
        back = places >= 0
        if back.any():
            kept, rows, places = self._attic.columns, rows[back], places[back]
            self._catalog.born_N[rows] = kept["born"][places]
            self._catalog.born_ts_N[rows] = 0.0  # an item that returns is not new
            self._counting.tables.category_N[rows] = kept["category"][places]
            if self.start.takes_back:
                self._items.restore(rows, kept["table"][places])

    def add_back(self, batch: Batch, events: int) -> None:
        """Give items that return from the attic their popularity, and remove them from the attic.

        Call it after the mini-batch: earlier, they would be candidates for events before their return.
        """
        rows = batch.row_B[batch.new_B]
        places = self._in_attic(rows)
        back = places >= 0
        if back.any():
            kept = self._attic.take(places[back])
            popularity.add_back(
                self._counting.tables.popularity, rows[back], kept["popularity"], events - kept["events"]
            )

    def _in_attic(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        return self._attic.find(self._catalog.ids_of_rows(rows))

    def start_all_anew(self) -> None:
        """Start the vectors of all items and of the attic at the hash of their ids, when the learned ones are lost."""
        dim, rows = self._items.all_vectors.shape[1], self._catalog.live_rows().astype(np.int32)
        self._items.start(rows, hashed_vectors(self._catalog.ids_of_rows(rows), dim))
        if (kept := self._attic.columns.get("table")) is not None:
            vectors = hashed_vectors(self._attic.ids_at(np.arange(len(kept))), dim)
            self._attic.columns["table"] = F.pad(vectors, (0, 1)).half().numpy()
