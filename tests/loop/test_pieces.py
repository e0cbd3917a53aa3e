"""Pieces of a poll: whole records, no more events than fit, nothing left out and nothing twice."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.events import Alias, DeadLetter, Events, Record
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


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "a", "b", "x"])), min_size=1, max_size=30),
    most=st.integers(1, 12),
)
def test_in_a_piece_no_alias_has_events_of_its_users_before_it(rows: list[tuple[str, str]], most: int) -> None:
    """Rows of a user, and of another id in an alias; nothing gets lost, and each piece is small enough."""
    whole = _whole([0 if old else 1 for _, old in rows], set())
    users = [user for user, old in rows if not old]
    whole = replace(
        whole,
        events=replace(whole.events, users=users),
        aliases=[
            Alias(record.partition, record.offset, user, old)
            for record, (user, old) in zip(whole.records, rows, strict=True)
            if old
        ],
    )
    pieces = list(cut(whole, most))
    assert [record for piece in pieces for record in piece.records] == whole.records
    assert [user for piece in pieces for user in piece.events.users] == users
    assert [alias for piece in pieces for alias in piece.aliases] == whole.aliases
    for piece in pieces:
        assert len(piece.events) + len(piece.aliases) <= max(1, most)
        place = {(record.partition, record.offset): k for k, record in enumerate(piece.records)}
        at = zip(piece.events.partition_B.tolist(), piece.events.offset_B.tolist(), piece.events.users, strict=True)
        events = [(place[partition, offset], partition, user) for partition, offset, user in at]
        for alias in piece.aliases:
            before = [(p, user) for k, p, user in events if k < place[alias.partition, alias.offset]]
            assert (alias.partition, alias.user) not in before
            assert alias.old not in [user for _, user in before]


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [
        ("a b *ac d", ["a b", "*ac d"]),  # a has an event before
        ("c b *ac d", ["c b", "*ac d"]),  # so has the other id
        ("b *ac a c", ["b *ac a c"]),  # nothing is before: no cut
        ("*ac *ac *ba b", ["*ac *ac *ba b"]),  # aliases act in their order
        ("a *ab a *ab", ["a", "*ab a", "*ab"]),
    ],
)
def test_a_poll_is_cut_only_where_an_alias_has_to_be(rows: str, pieces: list[str]) -> None:
    names = rows.split()
    whole = _whole([0 if name[0] == "*" else 1 for name in names], set())
    records = [Record(0, k, 0, None, b"") for k in range(len(names))]
    at = [k for k, name in enumerate(names) if name[0] != "*"]
    events = replace(
        whole.events,
        users=[names[k] for k in at],
        partition_B=np.zeros(len(at), np.int32),
        offset_B=np.array(at, np.int64),
    )
    aliases = [Alias(0, k, name[1], name[2]) for k, name in enumerate(names) if name[0] == "*"]
    found = list(cut(Piece(records, events, [], aliases), 100))
    assert [" ".join(names[record.offset] for record in piece.records) for piece in found] == pieces
