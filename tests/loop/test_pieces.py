"""Pieces of a poll: whole records, no more events than fit, nothing left out and nothing twice."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.events import DeadLetter, Events, Record
from stream_worker.loop.pieces import Piece, cut


def _whole(sizes: list[int], bad: set[int]) -> Piece:
    """Records of so many events each, in two partitions; the bad ones have a dead letter, too."""
    records = [Record(k % 2, 10 + k // 2, 0, None, b"") for k in range(len(sizes))]
    of = [record for record, size in zip(records, sizes, strict=True) for _ in range(size)]
    count = len(of)
    nothing = np.zeros(count)
    events = Events(
        partition_B=np.array([record.partition for record in of], np.int32),
        offset_B=np.array([record.offset for record in of], np.int64),
        ts_B=nothing,
        type_B=nothing.astype(np.int16),
        value_B=nothing.astype(np.float32),
        category_B=nothing.astype(np.uint32),
        within_B=np.array([k for size in sizes for k in range(size)], np.int16),
        id_B=nothing.astype(np.uint32),
        session_B=nothing.astype(np.uint32),
        users=[f"u{k}" for k in range(count)],
        items=[f"i{k}" for k in range(count)],
        request_ids=[None] * count,
    )
    return Piece(records, events, [DeadLetter(records[k], "Bad", "", (1,)) for k in sorted(bad)])


@given(sizes=st.lists(st.integers(0, 7), min_size=1, max_size=30), most=st.integers(1, 12), data=st.data())
def test_pieces_are_whole_records_that_fit(sizes: list[int], most: int, data: st.DataObject) -> None:
    """In order; each as many records as there is room for, each dead letter with its record."""
    bad = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
    whole = _whole(sizes, bad)
    pieces = list(cut(whole, most))
    assert [record for piece in pieces for record in piece.records] == whole.records
    assert [user for piece in pieces for user in piece.events.users] == whole.events.users
    assert [letter for piece in pieces for letter in piece.dead_letters] == whole.dead_letters
    for piece in pieces:
        at = {(record.partition, record.offset) for record in piece.records}
        assert {*zip(piece.events.partition_B.tolist(), piece.events.offset_B.tolist(), strict=True)} <= at
        assert {(letter.record.partition, letter.record.offset) for letter in piece.dead_letters} <= at
        assert len(piece.events) <= most or len(set(piece.events.offset_B.tolist())) == 1
    for piece, later in itertools.pairwise(pieces):
        first = int(np.argmax(np.append(np.diff(later.events.offset_B * 2 + later.events.partition_B) != 0, True))) + 1
        assert len(piece.events) + first > most, "there was room for another record"


def test_of_a_lost_partition_nothing_is_left() -> None:
    whole = _whole([2, 1, 3, 0], {1, 2})
    left = whole.of({0})
    assert [record.partition for record in left.records] == [0, 0]
    assert left.events.users == ["u0", "u1", "u3", "u4", "u5"]
    assert [letter.record.partition for letter in left.dead_letters] == [0]
    assert whole.of({0, 1}) is whole
