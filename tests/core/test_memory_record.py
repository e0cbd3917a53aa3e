"""Memory records: what goes in comes out, n stands where stores look for it, other sizes are converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.memory_record import (
    VERSION,
    VERSION_OF_GENERATIONS,
    VERSION_WITH_MORE,
    MemoryFormat,
    fault_of,
    generation_of,
    generations_of,
    header_of,
    in_generations,
    ring_of,
    without_generation,
)

_FORMAT = MemoryFormat(ring_size=6, hidden=4)
_COLUMNS = ("next_offset", "line", "events", "ts", "number", "type", "gap", "h", "c")


def _records(count: int, layout: MemoryFormat = _FORMAT, filled: int | None = None, seed: int = 0) -> Any:
    """Random records whose rings hold `filled` items at their right end."""
    rng = np.random.default_rng(seed)
    records = layout.empty(count)
    records["next_offset"] = rng.integers(0, 2**48, count)
    records["line"] = rng.integers(1, 2**64, count, dtype=np.uint64)
    records["events"], records["ts"] = rng.integers(0, 2**32, count), rng.uniform(0, 2e9, count)
    for name in ("h", "c"):
        records[name] = rng.normal(size=(count, layout.hidden))
    filled = layout.ring_size if filled is None else filled
    for name, top in (("number", 2**32), ("type", 256), ("gap", 32)):
        records[name][:, layout.ring_size - filled :] = rng.integers(1, top, (count, filled))
    return records


def _blobs(records: Any) -> list[bytes]:
    return [record.tobytes() for record in records]


@given(st.integers(0, 20), st.integers(0, 6), st.integers(0, 99))
def test_what_is_encoded_is_decoded(count: int, filled: int, seed: int) -> None:
    """All columns, to the bit, of any number of records."""
    records = _records(count, filled=filled, seed=seed)
    assert _FORMAT.decode(_blobs(records)).tobytes() == records.tobytes()


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**15 - 1))
def test_a_record_of_a_later_topic_is_ahead_of_all_of_earlier_ones(next_offset: int, generation: int) -> None:
    """Its generation stands above n, and in the version: a program that knows none refuses it."""
    columns = {name: _records(1)[name] for name in _COLUMNS}
    columns["next_offset"] = in_generations(np.array([next_offset]), np.array([generation]))
    [blob] = _FORMAT.encode(columns)
    assert (header_of(blob)["next_offset"], generation_of(blob)) == (next_offset, generation)
    assert blob[0] == (VERSION if generation == 0 else VERSION_OF_GENERATIONS)
    assert int.from_bytes(blob[1:9], "big") == generation * 2**48 + next_offset
    decoded = _FORMAT.decode([blob])
    assert generations_of(decoded).tolist() == [generation]
    without_generation(decoded)
    assert decoded["next_offset"].tolist() == [next_offset]


def test_decoded_records_may_be_written_to() -> None:
    """They are copies, not views of the store's bytes."""
    decoded = _FORMAT.decode(_blobs(_records(2)))
    decoded["events"] = 7
    assert decoded["events"].tolist() == [7, 7]


@given(st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=2))
def test_bytes_one_to_eight_order_records_by_n(offsets: list[int]) -> None:
    """Stores compare n as bytes: big-endian, right behind the version."""
    records = _FORMAT.empty(2)
    records["next_offset"] = offsets
    first, second = _blobs(records)
    assert first[0] == second[0] == VERSION
    assert int.from_bytes(first[1:9], "big") == offsets[0]
    assert (first[1:9] < second[1:9]) == (offsets[0] < offsets[1])


def test_the_usual_record_takes_588_bytes() -> None:
    """A ring of 50 and 64 units."""
    assert len(_blobs(MemoryFormat(50, 64).empty(1))[0]) == 588


@pytest.mark.parametrize(("theirs", "ours"), [(6, 4), (4, 6), (6, 1), (1, 6), (255, 6)])
@pytest.mark.parametrize("filled", [0, 1, 3])
def test_another_ring_size_keeps_the_newest_items(theirs: int, ours: int, filled: int) -> None:
    """Right-aligned as before, with type and gap; counters, n, line and state are untouched."""
    filled = min(filled, theirs)
    old = _records(3, MemoryFormat(theirs, 4), filled)
    new = MemoryFormat(ours, 4).decode(_blobs(old))
    kept = min(filled, ours)
    for name in ("number", "type", "gap"):
        assert np.array_equal(new[name][:, ours - kept :], old[name][:, theirs - kept :])
        assert not new[name][:, : ours - kept].any()
    for name in ("next_offset", "line", "events", "ts", "h", "c"):
        assert np.array_equal(new[name], old[name])


def test_a_state_of_another_size_is_dropped_and_belongs_to_no_line() -> None:
    """So that whoever reads it rebuilds it from the ring, which is kept."""
    old = _records(2, MemoryFormat(6, 8))
    new = _FORMAT.decode(_blobs(old))
    assert not new["h"].any()
    assert not new["c"].any()
    assert new["line"].tolist() == [0, 0]
    for name in ("next_offset", "events", "ts", "number", "type", "gap"):
        assert np.array_equal(new[name], old[name])


def test_records_of_several_sizes_may_come_together() -> None:
    """One batch reads what several versions of a configuration wrote, in order."""
    mixed = [_records(1, MemoryFormat(ring, hidden), 1, seed=ring) for ring, hidden in ((6, 4), (9, 4), (2, 8))]
    decoded = _FORMAT.decode([blob for records in mixed for blob in _blobs(records)])
    assert decoded["events"].tolist() == [int(records["events"][0]) for records in mixed]
    assert decoded["number"][:, -1].tolist() == [int(records["number"][0, -1]) for records in mixed]


def test_a_record_of_other_sizes_and_the_same_length_is_converted_too() -> None:
    """Two more places in the ring weigh as much as three fewer units: the header decides, not the length."""
    other = MemoryFormat(ring_size=8, hidden=1)
    old = _records(1, other)
    assert len(_blobs(old)[0]) == _FORMAT.dtype.itemsize
    new = _FORMAT.decode(_blobs(old))
    assert new["number"].tolist() == old["number"][:, 2:].tolist()
    assert new["ring_size"].tolist() == [6]
    assert new["line"].tolist() == [0]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("version", [0, VERSION_WITH_MORE + 1, 255])
def test_an_unknown_version_is_refused(version: int, place: int) -> None:
    """Alone or among good ones; the message says what was expected and what came."""
    blobs = _blobs(_records(2))
    blobs[place] = bytes([version]) + blobs[place][1:]
    with pytest.raises(ValueError, match=f"expected version {VERSION}"):
        _FORMAT.decode(blobs)


@pytest.mark.parametrize("cut", [0, 1, 20, 31, 32, 60])
def test_a_torn_record_is_refused(cut: int) -> None:
    """Too short for its header, or for what its header says."""
    blob = _blobs(_records(1))[0]
    for torn in (blob[:cut], blob + b"\0"):
        with pytest.raises(ValueError, match="memory record"):
            header_of(torn)
        with pytest.raises(ValueError, match="memory record"):
            _FORMAT.decode([torn])


def test_a_header_is_read_without_knowing_the_sizes() -> None:
    """Plain numbers by name."""
    record = _records(1, MemoryFormat(3, 2))
    header = header_of(_blobs(record)[0])
    assert header == {
        "version": VERSION, "ring_size": 3, "hidden": 2,
        "next_offset": int(record["next_offset"][0]), "line": int(record["line"][0]),
        "events": int(record["events"][0]), "ts": float(record["ts"][0]),
    }  # fmt: skip


@pytest.mark.parametrize("filled", range(5))
def test_a_ring_is_read_oldest_first_without_its_empty_places(filled: int) -> None:
    """Item numbers only, of any ring size."""
    record = _records(1, MemoryFormat(4, 2), filled)
    assert ring_of(_blobs(record)[0]) == record["number"][0, 4 - filled :].tolist()


@pytest.mark.parametrize("ring", [1, 7, 8, 50, 200, 255])
def test_a_blob_keeps_all_of_its_record_and_no_more_places_than_a_size_needs(ring: int) -> None:
    """Records of every filling in one batch come back to the bit; the blob of an emptier ring is never longer."""
    layout = MemoryFormat(ring, 4)
    records = layout.empty(ring + 1)
    for filled in range(ring + 1):
        records[filled] = _records(1, layout, filled, seed=filled)[0]
    blobs = layout.encode(records)
    assert layout.decode(blobs).tobytes() == records.tobytes()
    lengths = [len(blob) for blob in blobs]
    assert lengths == sorted(lengths)
    assert lengths[-1] == layout.dtype.itemsize
    assert [len(ring_of(blob)) for blob in blobs] == list(range(ring + 1))


def test_a_user_of_few_events_takes_little() -> None:
    """Whatever the ring could hold: 64 units and 16 events."""
    layout = MemoryFormat(255, 64)
    assert len(layout.encode(_records(1, layout, 16))[0]) == 384


@pytest.mark.parametrize(
    "blob", [b"", b"\1", b"\1" * 11, b"\7" + _blobs(_records(1))[0][1:], _blobs(_records(1))[0][:-1], b"\1" * 400]
)
def test_what_is_no_record_has_a_fault(blob: bytes) -> None:
    assert fault_of(blob).startswith("memory record: expected ")


def test_a_record_has_no_fault() -> None:
    assert [fault_of(blob) for blob in _blobs(_records(3))] == ["", "", ""]


_WITH_MORE = MemoryFormat(ring_size=6, hidden=4, ids=64, joins=8, sets=1)


def _with_more(ids: int, joins: int, generation: int = 0, session: int = 0, in_set: int = 0) -> Any:
    """A record with this many ids and joins."""
    [record] = records = _WITH_MORE.empty(1)
    for name in _COLUMNS:
        records[name] = _records(1, seed=ids)[name]
    record["next_offset"] = in_generations(np.array([7]), np.array([generation]))[0]
    record["ids"][64 - ids :] = np.arange(1, ids + 1)
    record["joined"][8 - joins :] = np.arange(1, 2 * joins + 1).reshape(-1, 2)
    record["session"], record["in_set"] = session, in_set
    return records


@pytest.mark.parametrize("generation", [0, 3])
@pytest.mark.parametrize("ids", [0, 1, 8, 9, 33, 64])
@pytest.mark.parametrize("joins", [0, 1, 2, 3, 8])
@pytest.mark.parametrize(("session", "in_set"), [(0, 0), (2**32 - 1, 0), (0, 2**62 - 1)])
def test_what_a_record_ends_with_comes_back_and_takes_no_more_than_it_needs(
    ids: int, joins: int, session: int, in_set: int, generation: int
) -> None:
    """Of any generation, with n where stores look for it; without any the bytes are those of the versions before."""
    records = _with_more(ids, joins, generation, session, in_set)
    [blob] = _WITH_MORE.encode(records)
    assert fault_of(blob) == ""
    assert _WITH_MORE.decode([blob]).tobytes() == records.tobytes()
    assert (int.from_bytes(blob[1:9], "big"), generation_of(blob)) == ((generation << 48) + 7, generation)
    assert header_of(blob)["next_offset"] == 7
    [without] = _FORMAT.encode({name: records[name] for name in _COLUMNS})
    sizes = min(size for size in (0, 8, 16, 32, 64) if size >= ids), min(j for j in (0, 2, 8) if j >= joins)
    sets = int(session + in_set > 0)
    if (*sizes, sets) == (0, 0, 0):
        assert blob == without
    else:
        assert (blob[0], tuple(blob[32:35])) == (VERSION_WITH_MORE, (*sizes, sets))
        assert len(blob) == len(without) + 3 + 4 * sizes[0] + 8 * sizes[1] + 12 * sets
        assert blob[1:32] == without[1:32]
    assert ring_of(blob) == ring_of(without)


def test_records_of_all_versions_come_together() -> None:
    """A program that reads ids goes on with records of one that did not, and the other way round without the ids."""
    records = _with_more(40, 1), _with_more(0, 0, 2), _with_more(0, 0, 0, 5)
    blobs = [*_FORMAT.encode(_records(2)), *(blob for record in records for blob in _WITH_MORE.encode(record))]
    assert [blob[0] for blob in blobs] == [1, 1, 3, 2, 3]
    decoded = _WITH_MORE.decode(blobs)
    assert [int((ids > 0).sum()) for ids in decoded["ids"]] == [0, 0, 40, 0, 0]
    assert [int((joined[:, 0] > 0).sum()) for joined in decoded["joined"]] == [0, 0, 1, 0, 0]
    assert decoded["session"].tolist() == [0, 0, 0, 0, 5]
    older = _FORMAT.decode(blobs)
    for name in _COLUMNS:
        assert np.array_equal(older[name], decoded[name]), name
    assert MemoryFormat(6, 4, ids=8).decode(blobs)["ids"][2].tolist() == list(range(33, 41))
    assert _WITH_MORE.encode(_WITH_MORE.empty(0)) == []


@pytest.mark.parametrize("cut", [33, 34, 35, 60, -1])
def test_a_torn_record_with_ids_is_refused(cut: int) -> None:
    [blob] = _WITH_MORE.encode(_with_more(9, 1))
    for torn in (blob[:cut], blob + b"\0", blob[:32] + b"\xff\xff" + blob[34:]):
        assert fault_of(torn).startswith("memory record: expected ")
        with pytest.raises(ValueError, match="memory record"):
            _WITH_MORE.decode([torn])
