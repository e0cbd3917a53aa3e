"""Decodes what was polled of owned and heard partitions, and puts it into one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Alias, Events, Record
from stream_worker.core.offsets import Offsets
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.pieces import Piece, places_of, records_of

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
        mine = set(self._offsets.owned())
        others = self._hearing.learned().keys() - mine
        owned, heard = records_of(records, mine), records_of(records, others)
        if not heard:
            return self._piece(self.decoder, owned)
        # Dead letters of heard partitions are their owners' to set aside.
        piece, left = self._piece(self._heard, heard)
        piece = replace(piece, dead_letters=())
        return _joined(self._piece(self.decoder, owned), (piece, left), records) if owned else (piece, left)

    def _piece(self, decoder: Decoder, records: Sequence[Record]) -> Decoded:
        events, dead_letters = decoder.decode(records, self._most)
        rest = decoder.rest
        return Piece(records[: len(records) - len(rest)], events, dead_letters, decoder.aliases), rest


def _joined(own: Decoded, heard: Decoded, records: Sequence[Record]) -> Decoded:
    """Return what owned and heard partitions have in the order of `records`."""
    (mine, left), (others, left_of_others) = own, heard
    events = Events.joined([mine.events, others.events])
    order_B = np.argsort(places_of(records, events.partition_B, events.offset_B), kind="stable")
    taken = _those(records, [*mine.records, *others.records])
    aliases = _in_order(taken, [*mine.aliases, *others.aliases])
    return Piece(taken, events.at(order_B), mine.dead_letters, aliases), _those(records, [*left, *left_of_others])


def _those(records: Sequence[Record], wanted: Sequence[Record]) -> Sequence[Record]:
    """Return those records that are wanted, in their order."""
    if len(wanted) in (0, len(records)):
        return records if wanted else []
    places = {(record.partition, record.offset) for record in wanted}
    return [record for record in records if (record.partition, record.offset) in places]


def _in_order(records: Sequence[Record], aliases: Sequence[Alias]) -> Sequence[Alias]:
    if not aliases:
        return ()
    place_of = {(record.partition, record.offset): place for place, record in enumerate(records)}
    return sorted(aliases, key=lambda alias: place_of[alias.partition, alias.offset])
