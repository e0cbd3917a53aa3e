"""Decodes what was polled of owned and heard partitions, and puts it into one piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Events, Record
from stream_worker.core.offsets import Offsets
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.pieces import Piece

Decoded = tuple[Piece, Sequence[Record]]  # a piece, and the records that are left


class Decoding:
    """Decodes records; only those of owned partitions are counted, and become dead letters.

    most: events after which records of several are left for a commit of their own.
    """

    def __init__(self, decoder: Decoder, hearing: Hearing, offsets: Offsets, most: int) -> None:
        self.decoder = decoder
        self._heard = decoder.of_heard()
        self._hearing, self._offsets, self._most = hearing, offsets, most
        self._before = decoder.key_mismatches, decoder.ignored.copy()

    def begin(self) -> None:
        """Note what was counted, since an attempt that ends half-way has counted already."""
        self._before = self.decoder.key_mismatches, self.decoder.ignored.copy()

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Return the events of owned and heard partitions, with the dead letters of owned ones, and what is left.

        Raises what `documents` raises while a schema can't be had; then call it again.
        """
        self.decoder.key_mismatches, self.decoder.ignored = self._before[0], self._before[1].copy()
        owned = [record for record in records if record.partition in self._offsets]
        heard = [r for r in records if r.partition in self._hearing and r.partition not in self._offsets]
        own = self._piece(self.decoder, owned)
        return _joined(own, self._piece(self._heard, heard), records) if heard else own

    def _piece(self, decoder: Decoder, records: Sequence[Record]) -> Decoded:
        events, dead_letters = decoder.decode(records, self._most)
        rest = decoder.rest
        return Piece(records[: len(records) - len(rest)], events, dead_letters, decoder.aliases), rest


def _joined(own: Decoded, heard: Decoded, records: Sequence[Record]) -> Decoded:
    """Return what owned and heard partitions have in the order of `records`; dead letters are the owner's to set
    aside."""
    place_of = {(record.partition, record.offset): place for place, record in enumerate(records)}
    (mine, left), (others, left_of_others) = own, heard
    events = Events.joined([mine.events, others.events])
    at_B = zip(events.partition_B.tolist(), events.offset_B.tolist(), strict=True)
    order_B = np.argsort(np.array([place_of[at] for at in at_B], np.int64), kind="stable")
    aliases = sorted([*mine.aliases, *others.aliases], key=lambda alias: place_of[alias.partition, alias.offset])
    rest = {(record.partition, record.offset) for record in (*left, *left_of_others)}
    taken = {(record.partition, record.offset) for record in (*mine.records, *others.records)}
    piece = Piece(_those(records, taken), events.at(order_B), mine.dead_letters, aliases)
    return piece, _those(records, rest) if rest else []


def _those(records: Sequence[Record], places: set[tuple[int, int]]) -> Sequence[Record]:
    return [record for record in records if (record.partition, record.offset) in places]
