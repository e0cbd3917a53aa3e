"""What stands in a store is read for ever: recorded memory records, and the layout of each version, written down.

`tests/data/memory_records/` has a record of each version in hexadecimal, and for each the fields of its bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_worker.core import memory_record
from stream_worker.core.memory_record import (
    VERSION,
    VERSION_OF_GENERATIONS,
    VERSION_WITH_MORE,
    MemoryFormat,
    fault_of,
    generation_of,
    header_of,
    in_generations,
    ring_of,
)

DATA = Path(__file__).parents[1] / "data" / "memory_records"
FORMAT = MemoryFormat(ring_size=3, hidden=2)
FORMATS = {
    VERSION: FORMAT,
    VERSION_OF_GENERATIONS: FORMAT,
    VERSION_WITH_MORE: MemoryFormat(3, 2, ids=2, joins=1, sets=1),
}
# Generation of the topic by version. Each number below is a different one, so that no two fields can be exchanged.
GENERATIONS = {VERSION: 0, VERSION_OF_GENERATIONS: 5, VERSION_WITH_MORE: 6}
VALUES: dict[str, Any] = {
    "ring_size": 3,
    "hidden": 2,
    "line": 0x1122334455667788,
    "events": 0x01020304,
    "ts": 1_716_400_000.25,
    "number": [0, 70_000, 9],
    "type": [0, 2, 1],
    "gap": [0, 31, 17],
    "h": [0.5, -1.25],
    "c": [3.0, -0.125],
}
MORE: dict[str, Any] = {"ids": [0, 0xA1B2C3D4], "joined": [[0x0BADCAFE, 77]], "session": 0x5E551011, "in_set": 6}
NEXT_OFFSET = 0x060708090A


def recorded(version: int) -> bytes:
    return bytes.fromhex((DATA / f"version-{version}.hex").read_text())


def values(version: int) -> dict[str, Any]:
    return VALUES | MORE if version == VERSION_WITH_MORE else VALUES


def columns(version: int) -> dict[str, Any]:
    """What the recorded record holds, as whoever writes one hands it over."""
    record = FORMATS[version].empty(1)
    for name, value in values(version).items():
        record[name] = [value]
    columns = {name: record[name] for name in record.dtype.names or ()}
    columns["next_offset"] = in_generations(np.array([NEXT_OFFSET]), np.array([GENERATIONS[version]]))
    return columns


@pytest.mark.parametrize("version", GENERATIONS)
def test_a_recorded_record_is_read(version: int) -> None:
    """Every field, and the headers, of bytes that a store has had for long."""
    blob = recorded(version)
    assert fault_of(blob) == ""
    [record] = FORMATS[version].decode([blob])
    for name, value in values(version).items():
        assert record[name].tolist() == value, name
    assert record["next_offset"] == (GENERATIONS[version] << 48) + NEXT_OFFSET
    header = {name: VALUES[name] for name in ("ring_size", "hidden", "line", "events", "ts")}
    assert header_of(blob) == {"version": version, "next_offset": NEXT_OFFSET} | header
    assert (generation_of(blob), ring_of(blob)) == (GENERATIONS[version], [70_000, 9])


@pytest.mark.parametrize("version", GENERATIONS)
def test_the_same_record_is_written_as_the_same_bytes(version: int) -> None:
    """An older program, and the stores' scripts, read what is written now."""
    assert FORMATS[version].encode(columns(version)) == [recorded(version)], _WHAT_TO_DO


@pytest.mark.parametrize("version", GENERATIONS)
def test_the_layout_does_not_change_without_another_version(version: int) -> None:
    """Name, type, place and shape of every field, here with 3 places in the ring, 2 units, 2 ids and a join."""
    written_down = (DATA / f"version-{version}.txt").read_text().splitlines()
    assert layout(version) == written_down, _WHAT_TO_DO


def test_every_version_that_is_written_is_written_down() -> None:
    versions = {value for name, value in vars(memory_record).items() if name.startswith("VERSION")}
    assert versions == GENERATIONS.keys()
    assert {path.name for path in DATA.iterdir()} == {f"version-{v}.{end}" for v in versions for end in ("txt", "hex")}


def layout(version: int) -> list[str]:
    """A field of no places takes no bytes, so it is none."""
    kind = FORMATS[version].dtype
    assert kind.fields is not None
    lines = [f"{name} {_of(field[0])} at {field[1]}" for name, field in kind.fields.items() if 0 not in field[0].shape]
    return [*lines, f"in all {kind.itemsize} bytes"]


def _of(kind: np.dtype[Any]) -> str:
    return kind.base.str + "".join(f" x {size}" for size in kind.shape)


_WHAT_TO_DO = (
    "another layout is another version: keep reading this one, give the new one the next number, and put its layout "
    "and a record of it beside this one's"
)
