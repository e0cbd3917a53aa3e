"""Files of items: every format, the order of times, and batches of a replay that end where a change takes effect."""

from __future__ import annotations

import gzip
import math
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_worker.backends.files import FieldNames, FileItems, FileSource
from stream_worker.backends.files import Mapping as LogMapping
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.events import Record
from stream_worker.core.item_changes import ItemChanges
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.recorded import encode_record
from tests.backends.test_file_replay import Owner

T = 1_400_000_000
CONFIG = ItemsConfig(item="id", title="name")
CSV = f"id,name,price,available,tags,ts\n1,Shoe,12.5,true,a|b,\n2,,,0,,{T}\n"
JSON = '{"id":1,"name":"Shoe","price":12.5,"available":true,"tags":["a","b"]}\n{"id":2,"available":0,"ts":1400000000}\n'


def write(path: Path, content: str | bytes) -> Path:
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def all_of(*paths: Path, config: ItemsConfig = CONFIG) -> tuple[ItemChanges, list[tuple[str, str]]]:
    """All changes of the files, and place and reason of what can't be read."""
    source = FileItems(paths, config)
    source.begin({})
    source.reach(math.inf)
    changes, unreadable = ItemDecoder(config).decode(source.poll(1_000, 0.0))
    return changes, [(letter.record.place, letter.reason) for letter in unreadable]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.csv", CSV),
        ("items.csv.gz", CSV),
        ("items.tsv", CSV.replace(",", "\t")),
        ("items.jsonl", JSON),
    ],
)
def test_every_format_tells_the_same(tmp_path: Path, name: str, content: str) -> None:
    changes, unreadable = all_of(write(tmp_path / name, content))
    assert unreadable == []
    assert (changes.ids, changes.title, changes.tags) == (["1", "2"], ["Shoe", ""], [("a", "b"), ()])
    assert changes.price_M[0] == 12.5
    assert changes.available_M.tolist() == [True, False]
    assert changes.ts_M[1] == T


def test_columns_of_parquet_hold_lists_vectors_and_decimals(tmp_path: Path) -> None:
    columns = {
        "id": [1, None],
        "name": ["Shoe", "Hat"],
        "tags": [["a", "b"], None],
        "vectors": [[0.5, 1.0], None],
        "price": [Decimal("1.25"), None],
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    changes, unreadable = all_of(tmp_path / "items.parquet")
    assert (changes.ids, changes.tags, changes.price_M.tolist()) == (["1"], [("a", "b")], [1.25])
    assert changes.vectors[0]["vector"].tolist() == [0.5, 1.0]
    assert unreadable == [("row 2 of items.parquet", "id: expected a string or an integer, got nothing")]


def test_what_was_recorded_from_a_topic_is_told_again(tmp_path: Path) -> None:
    """With the records' own times, and with those that say that an item is gone."""
    records = [
        Record(1, 5, (T + 9) * 1000, b"1", None),
        Record(0, 7, (T + 1) * 1000, b"1", b'{"id":1,"name":"Shoe"}'),
        Record(0, 8, (T + 2) * 1000, b"2", b"nonsense"),
    ]
    path = write(tmp_path / "recorded.jsonl", b"".join(map(encode_record, records)))
    changes, unreadable = all_of(path, config=ItemsConfig(item="id", title="name", ts="record_time"))
    assert (changes.ids, changes.gone_M.tolist(), changes.title) == (["1", "1"], [False, True], ["Shoe", ""])
    assert [place for place, _ in unreadable] == ["line 3 of recorded.jsonl"]


def test_rows_that_can_not_be_read_name_their_line(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", "id,name\n1,Shoe\n2,Hat,too much\n")
    second = write(tmp_path / "b.jsonl", '{"id":3}\n\nnonsense\n')
    changes, unreadable = all_of(first, second)
    assert changes.ids == ["1", "3"]
    assert [place for place, _ in unreadable] == ["line 3 of a.csv", "line 3 of b.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("items.csv", "sku,name\n1,Shoe\n", r"has no column 'id'"),
        ("items.txt", "x", "unknown extension of items.txt"),
        ("none.csv", None, "No such file"),
    ],
)
def test_files_that_can_not_be_read_are_refused(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = tmp_path / name if content is None else write(tmp_path / name, content)
    with pytest.raises(ConfigurationError, match=message):
        FileItems([path], CONFIG)


def told(path: Path, *times: float | None) -> Path:
    rows = [{"id": str(n)} | ({} if ts is None else {"ts": ts}) for n, ts in enumerate(times)]
    return write(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))


def ids(source: FileItems) -> list[str]:
    return ItemDecoder(CONFIG).decode(source.poll(100, 0.0))[0].ids


def test_what_has_no_time_is_due_at_once_and_the_rest_in_its_order(tmp_path: Path) -> None:
    source = FileItems([told(tmp_path / "items.jsonl", T + 5, None, T + 3, T + 5, None)], CONFIG)
    assert source.due() == 0
    source.begin({})
    assert (source.due(), ids(source)) == (2, ["1", "4"])
    assert source.reach((T + 2) * 1000) == (T + 3) * 1000
    assert source.due() == 0
    assert source.reach((T + 3) * 1000) == (T + 5) * 1000
    assert ids(source) == ["2"]
    assert source.reach((T + 9) * 1000) == math.inf
    assert ids(source) == ["0", "3"]
    assert source.lag() == 0


def test_a_state_goes_on_where_it_was_taken(tmp_path: Path) -> None:
    path = told(tmp_path / "items.jsonl", None, T + 3, T + 5)
    before = FileItems([path], CONFIG)
    before.begin({})
    before.reach((T + 3) * 1000)
    assert ids(before) == ["0", "1"]
    after = FileItems([path], CONFIG)
    after.begin(before.state_dict())
    assert after.due() == 0
    after.reach((T + 5) * 1000)
    assert ids(after) == ["2"]


def test_batches_end_before_the_row_at_which_a_change_takes_effect(tmp_path: Path) -> None:
    """Also where the log's times go back: the first row at or after the change's time is meant."""
    times = [0, 1, 1, 9, 2, 3, 10, 11, 12, 13]
    log = write(tmp_path / "log.csv", "u,i,t\n" + "".join(f"u,i{n},{T + at}\n" for n, at in enumerate(times)))
    items = FileItems([told(tmp_path / "items.jsonl", T + 1, T + 8, T + 8.5, T + 12, T + 99)], CONFIG)
    items.begin({})
    mapping = LogMapping(FieldNames(user="u", item="i", ts="t"))
    source = FileSource([log], mapping, reach=items.reach)
    source.subscribe(Owner())
    seen: list[tuple[list[str], list[int]]] = []
    while not source.exhausted():
        records = source.poll(4, 0.0)
        seen.append((ids(items), [record.offset for record in records]))
    assert seen == [([], [0]), (["0"], [1, 2]), (["1", "2"], [3]), ([], [4, 5, 6, 7]), (["3"], [8, 9])]


def test_a_log_without_items_has_the_batches_that_it_always_had(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "u,i,t\n" + "".join(f"u,i{n},{T + n}\n" for n in range(10)))
    source = FileSource([log], LogMapping(FieldNames(user="u", item="i", ts="t")))
    source.subscribe(Owner())
    batches = []
    while not source.exhausted():
        batches.append([record.offset for record in source.poll(4, 0.0)])
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
