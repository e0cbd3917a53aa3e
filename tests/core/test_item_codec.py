"""What is told of items: every part in its forms, what is left out, what is gone, and what can't be read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest

from stream_worker.core.errors import InvalidEvent, Unavailable
from stream_worker.core.events import Record
from stream_worker.core.item_changes import ItemChanges
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.item_fields import field_value
from stream_worker.core.item_rules import ItemRules
from stream_worker.presets import with_preset

DEBEZIUM = ItemsConfig(**with_preset("items", {"preset": "debezium"}))


def record(value: bytes | None, key: bytes | None = b"k") -> Record:
    return Record(0, 0, 1_700_000_000_000, key, value)


def decode(*documents: Any, config: ItemsConfig | None = None) -> ItemChanges:
    decoder = ItemDecoder(config or ItemsConfig())
    changes, unreadable = decoder.decode([record(orjson.dumps(document)) for document in documents])
    assert unreadable == []
    return changes


def dropped(document: dict[str, Any]) -> list[tuple[str, str]]:
    decoder = ItemDecoder(ItemsConfig())
    changes, unreadable = decoder.decode([record(orjson.dumps({"item": "p1", **document}))])
    assert (changes.ids, unreadable) == (["p1"], [])
    return [(part, reason) for part, reason, _ in decoder.dropped]


def test_an_item_of_contract_1_is_read_as_it_is() -> None:
    changes = decode(
        {
            "item": "p1", "title": "Red shoe", "category": "shoes", "brand": "acme", "price": 12.5, "tags": ["a", "b"],
            "available": False, "blocked": True, "vectors": {"text": [0.5, -1], "image": [1, 2, 3]},
            "ts": "2024-01-02T03:04:05Z",
        }
    )  # fmt: skip
    assert (changes.ids, changes.title, changes.category, changes.brand) == (["p1"], ["Red shoe"], ["shoes"], ["acme"])
    assert changes.price_M.tolist() == [12.5]
    assert changes.tags == [("a", "b")]
    assert (changes.gone_M.tolist(), changes.available_M.tolist(), changes.blocked_M.tolist()) == (
        [False], [False], [True],
    )  # fmt: skip
    assert {kind: vector.tolist() for kind, vector in changes.vectors[0].items()} == {
        "text": [0.5, -1.0],
        "image": [1.0, 2.0, 3.0],
    }
    assert changes.vectors[0]["text"].dtype == np.float32
    assert changes.ts_M.tolist() == [1_704_164_645.0]


def test_what_is_not_told_has_its_default() -> None:
    changes = decode({"item": 7})
    assert (changes.ids, changes.title, changes.brand, changes.category, changes.tags) == (
        ["7"],
        [""],
        [""],
        [""],
        [()],
    )
    assert (changes.available_M.tolist(), changes.blocked_M.tolist(), changes.gone_M.tolist()) == (
        [True], [False], [False],
    )  # fmt: skip
    assert math.isnan(changes.price_M[0])
    assert math.isnan(changes.ts_M[0])
    assert changes.vectors == [{}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (1, True), ("true", True), ("True", True), (False, False), (0, False), ("0", False), ("", True)],
)
def test_available_is_told_in_plain_forms(value: Any, expected: bool) -> None:
    assert decode({"item": "p1", "available": value}).available_M.tolist() == [expected]


@pytest.mark.parametrize("value", [["a", "b"], "a|b", "a, b", '["a","b"]', ["a", "", "b"]])
def test_tags_are_an_array_or_a_text(value: Any) -> None:
    assert decode({"item": "p1", "tags": value}).tags == [("a", "b")]


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("available", "in stock", "available: expected true or false, got 'in stock'"),
        ("available", 2, "available: expected true or false, got 2"),
        ("blocked", [], "blocked: expected true or false, got an array"),
        ("price", -1, "price: expected a number from 0, got -1"),
        ("price", "12 EUR", "price: expected a finite number (32 bits), got '12 EUR'"),
        ("category", {"a": 1}, "category: expected a string or an integer, got an object"),
        ("tags", 5, "tags: expected an array of texts, or a text, got 5"),
        ("vectors", {"text": [1, "x"]}, "vectors.text: expected an array of 1 to 4096 finite numbers (32 bits)"),
        ("vectors", {"text": []}, "vectors.text: expected an array of 1 to 4096 finite numbers"),
        ("vectors", [1e39], "vectors.vector: expected an array of 1 to 4096 finite numbers"),
        ("vectors", [[1, 2], [3, 4]], "vectors.vector: expected an array of 1 to 4096 finite numbers"),
        ("vectors", "abc", "vectors: expected an object with at most 8 arrays of numbers"),
        ("ts", "yesterday", "ts: expected epoch seconds (or ms, us), ISO 8601 or RFC 2822"),
    ],
)
def test_a_part_that_can_not_be_read_is_left_out_with_its_reason(part: str, value: Any, reason: str) -> None:
    [(name, told)] = dropped({part: value})
    assert name == part
    assert told.startswith(reason)


def test_long_titles_and_many_tags_are_cut() -> None:
    changes = decode({"item": "p1", "title": "x" * 5_000, "tags": [str(n) for n in range(100)]})
    assert (len(changes.title[0]), len(changes.tags[0])) == (1_000, 64)


def test_a_null_value_says_that_the_item_in_its_key_is_gone() -> None:
    changes, unreadable = ItemDecoder(ItemsConfig()).decode([record(None, b"p1"), record(None, None)])
    assert (changes.ids, changes.gone_M.tolist()) == (["p1"], [True])
    assert [letter.reason for letter in unreadable] == ["key: expected a string or an integer, got nothing"]


def test_an_item_without_an_id_has_its_key() -> None:
    assert decode({"title": "x"}).ids == ["k"]


def test_a_configured_value_says_that_an_item_is_gone() -> None:
    config = ItemsConfig(gone={"status": ("deleted", "expired"), "live": "false"})
    changes = decode(
        {"item": 0, "status": "deleted"},
        {"item": 1, "live": False},
        {"item": 2, "status": "new"},
        {"item": 3, "live": False, "title": "x", "ts": 1_700_000_000},
        config=config,
    )
    assert changes.gone_M.tolist() == [True, True, False, True]
    assert (changes.title[3], changes.ts_M[3]) == ("", 1_700_000_000.0)


def test_changes_of_debezium_are_read_with_and_without_a_schema() -> None:
    row = {"id": 5, "title": "new", "price": 3.5}
    changes = decode(
        {"op": "u", "before": {"id": 5, "title": "old"}, "after": row},
        {"schema": {}, "payload": {"op": "c", "before": None, "after": row}},
        {"op": "d", "before": row, "after": None},
        {**row, "__deleted": "false"},
        {**row, "__deleted": "true"},
        config=DEBEZIUM,
    )
    assert changes.ids == ["5"] * 5
    assert changes.title == ["new", "new", "", "new", ""]
    assert changes.gone_M.tolist() == [False, False, True, False, True]
    keys = [b'{"id":5}', b'{"schema":{},"payload":{"id":6}}', b"7"]
    changes, unreadable = ItemDecoder(DEBEZIUM).decode([record(None, key) for key in keys])
    assert (changes.ids, unreadable) == (["5", "6", "7"], [])


def test_an_array_of_items_is_one_record() -> None:
    decoder = ItemDecoder(ItemsConfig())
    changes, unreadable = decoder.decode([record(b'[{"item":"a"},{"item":[]},{"item":"b"}]')])
    assert changes.ids == ["a", "b"]
    assert [letter.reason for letter in unreadable] == [
        "element 1: item or key: expected a string or an integer, got an array"
    ]


def test_a_record_of_several_items_keeps_the_good_ones() -> None:
    decoder = ItemDecoder(ItemsConfig(each="products", item=".sku", title=".name", category="shop", price=".price"))
    value = {"shop": "shoes", "products": [{"sku": "a", "name": "A", "price": 1}, {"name": "B"}, {"sku": "c"}]}
    changes, unreadable = decoder.decode([record(orjson.dumps(value))])
    assert (changes.ids, changes.title, changes.category) == (["a", "c"], ["A", ""], ["shoes", "shoes"])
    assert [letter.reason for letter in unreadable] == ["element 1: .sku: expected a string or an integer, got nothing"]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", "Empty"),
        (b"nonsense", "NotJson"),
        (b"[1]", "NotAnObject"),
        (b'{"item":{}}', "WrongType"),
        (b"\0\0\0\0\1", "NotJson"),
    ],
)
def test_a_record_that_can_not_be_read_says_why(value: bytes, error: str) -> None:
    changes, unreadable = ItemDecoder(ItemsConfig()).decode([record(value), record(b'{"item":"p1"}')])
    assert changes.ids == ["p1"]
    assert [letter.error for letter in unreadable] == [error]


def test_what_a_schema_registry_frames_is_read_through_it() -> None:
    def documents(value: bytes) -> Any:
        if value == b"\0away":
            raise Unavailable("the registry is away")
        return {"item": value[1:].decode()}

    decoder = ItemDecoder(ItemsConfig(), documents)
    assert decoder.decode([record(b"\0p1"), record(b'{"item":"p2"}')])[0].ids == ["p1", "p2"]
    with pytest.raises(Unavailable, match="the registry is away"):
        decoder.decode([record(b"\0away")])


def test_the_time_of_a_record_is_the_earliest_of_its_items() -> None:
    decoder = ItemDecoder(ItemsConfig(each="all", item=".id", ts=(".ts", "ts")).times_alone())
    value = orjson.dumps(
        {"ts": 1_700_000_009, "all": [{"id": 1, "ts": 1_700_000_005}, {"id": 2}, {"ts": 1_600_000_000}]}
    )
    assert decoder.seconds(record(value)) == 1_700_000_005.0
    assert math.isnan(decoder.seconds(record(b"x")))
    assert math.isnan(decoder.seconds(record(b'{"all":[{"id":1}]}')))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"item": ""}, "items.item: must be a path"),
        ({"title": ".title"}, "items.title: must begin with a dot only where items.each is set"),
        ({"each": ".a"}, "items.each: must begin with a dot only where"),
        ({"price": "a..b"}, "items.price: must be names joined by dots"),
        ({"gone": {"status": ""}}, "items.gone.status: must be a value that means gone"),
        ({"gone": {"a[": "x"}}, "items.gone: must be names"),
    ],
)
def test_paths_that_can_not_be_followed_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        ItemsConfig(**given)


@pytest.mark.parametrize("value", [b'[{"item":"a"},3]', b"[1]", b'"a"', b"3"])
def test_what_is_no_object_is_told_and_ends_nothing(value: bytes) -> None:
    decoded = ItemDecoder(ItemsConfig()).decode([Record(0, 0, 1_700_000_000_000, b"a", value)])
    assert [letter.error for letter in decoded[1]] == ["NotAnObject"]


def test_more_fields_are_read_for_rules_alone() -> None:
    """Any value of JSON, a text cut to its first characters; what can't be read is left out and counted."""
    config = ItemsConfig(fields={"stock": "inventory.stock", "note": ("note", "remark"), "sizes": "sizes"})
    conditions = {"lists.filter": 'item.stock > 2 && size(item.note) == 1000 && item.sizes.s == [1, 2.5, null, "a"]'}
    rules = ItemRules(conditions, {}, ["stock"], {"lists.filter": False}, config.fields)
    decoder = ItemDecoder(config, rules=rules)
    told = {
        "item": "p1", "inventory": {"stock": 3}, "remark": "x" * 2_000, "sizes": {"s": [1, 2.5, None, "a"]},
    }  # fmt: skip
    documents = [told, {**told, "sizes": ["x" * 5_000]}, {"item": "p2"}]
    changes, _ = decoder.decode([record(orjson.dumps(one)) for one in documents])
    assert changes.rules is not None
    holds_MW, _, group_MF = changes.rules
    assert holds_MW.tolist() == [[1], [0], [0]]
    assert (group_MF > 0).tolist() == [[True], [True], [False]]
    assert [part for part, _, _ in decoder.dropped] == ["fields.sizes"]
    assert "at most 4096 bytes" in decoder.dropped[0].reason
    assert rules.failures == {"lists.filter": 2}


@pytest.mark.parametrize("value", [math.nan, math.inf, b"bytes", 2**70, [{1, 2}]])
def test_a_field_that_json_has_no_word_for_is_refused(value: Any) -> None:
    """A schema registry's documents may hold such values."""
    with pytest.raises(InvalidEvent, match="stock: expected"):
        field_value("stock", value)


def test_a_rule_sees_what_an_item_has_and_nothing_of_one_that_is_gone() -> None:
    conditions = {
        "lists.filter": 'item.id == "p1" && item.title == "Red" && item.price == 0.1 && item.tags == ["a"]',
        "scenarios.mail.filter": "!has(item.title) && !has(item.price) && !has(item.brand) && !has(item.category)",
        "scenarios.shop.filter": "item.available && !item.blocked",
    }
    rules = ItemRules(conditions, {}, (), dict.fromkeys(conditions, False))
    config = ItemsConfig(gone={"status": "deleted"})
    decoder = ItemDecoder(config, rules=rules)
    documents = [
        {"item": "p1", "title": "Red", "price": 0.1, "tags": ["a"]},
        {"item": "p2", "blocked": True},
        {"item": "p3", "title": "Red", "status": "deleted"},
    ]
    changes, _ = decoder.decode([*(record(orjson.dumps(one)) for one in documents), record(None, b"p4")])
    assert changes.rules is not None
    assert changes.rules[0][:, 0].tolist() == [0b101, 0b010, 0b110, 0b110]


def test_without_rules_changes_hold_none_and_more_fields_are_not_read() -> None:
    decoder = ItemDecoder(ItemsConfig(fields={"stock": "stock"}))
    changes, _ = decoder.decode([record(orjson.dumps({"item": "p1", "stock": ["x" * 5_000]}))])
    assert changes.rules is None
    assert decoder.dropped == []


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"price": "price"}, r"items\.fields\.price: must be a name of letters, digits and _ that is not taken"),
        ({"in": "x"}, r"items\.fields\.in: must be a name"),
        ({"a-b": "x"}, r"items\.fields\.a-b: must be a name"),
        ({"stock": ""}, r"items\.fields\.stock: must be a path or a list of paths, got ''"),
        ({"stock": ".stock"}, r"items\.fields\.stock: must begin with a dot only where items\.each is set"),
        ({f"f{k}": "x" for k in range(33)}, r"items\.fields: must be at most 32, got 33"),
    ],
)
def test_fields_have_names_that_expressions_can_say(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        ItemsConfig(fields=fields)
