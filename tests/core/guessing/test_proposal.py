"""Mappings that are guessed read the records that they were guessed from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.core.decoder import Decoder
from stream_worker.core.guessing.proposal import Proposal, propose
from stream_worker.core.sample import Sample, sample
from tests.core.guessing.shops import documents, flat, nested, order, records


def proposed(values: list[Any]) -> Proposal:
    found = propose(values, records(values))
    assert found is not None
    return found


def read(values: list[Any]) -> Sample:
    return sample(Decoder(proposed(values).config()), records(values))


def test_a_flat_log_is_read_by_its_own_names() -> None:
    values = documents(flat)
    found = proposed(values)
    assert found.keys == {"user": "visitorid", "type": "event", "item": "itemid", "ts": "timestamp"}
    assert found.types == {"view": "view", "addtocart": "cart", "transaction": "purchase"}
    assert "seconds" in found.notes["ts"]
    assert "in 100% of the records, 60 different" in found.notes["user"]
    assert read(values).with_events == 300


def test_the_lines_of_an_order_are_its_events() -> None:
    values = documents(order)
    found = proposed(values)
    assert found.keys == {
        "user": "customer.id", "each": "lines", "item": ".sku", "ts": "placed_at", "value": ".price", "id": "order_id",
        "default_type": "purchase",
    }  # fmt: skip
    after = read(values)
    assert len(after.events) == sum(len(value["lines"]) for value in values)
    assert not after.letters


def test_single_items_and_arrays_of_them_are_read_together() -> None:
    values = documents(nested)
    found = proposed(values)
    assert found.keys["user"] == ["actor.userId", "actor.deviceId"]
    assert found.keys["item"] == [".productId", "payload.product.id"]
    assert (found.keys["each"], found.keys["id"]) == ("payload.products", "meta.eventId")
    assert found.meanings == {"page_view": "ignore"}
    assert found.types == {"order.completed": "purchase", "product.add_to_basket": "cart", "product.view": "view"}
    after = read(values)
    assert (after.with_events + after.ignored.total(), list(after.letters)) == (300, [])


def test_spellings_of_a_type_are_one_type() -> None:
    values = documents(flat)
    for value in values[::5]:
        value["event"] = value["event"].upper()
    assert proposed(values).keys["fold_types"] is True
    assert read(values).with_events == 300


def test_without_a_time_the_record_s_own_counts() -> None:
    values = [{name: part for name, part in value.items() if name != "timestamp"} for value in documents(flat)]
    assert proposed(values).keys["ts"] == "record_time"
    assert read(values).with_events == 300


def test_a_time_in_some_records_only_is_followed_by_the_record_s_own() -> None:
    values = documents(flat)
    for value in values[::2]:
        del value["timestamp"]
    assert proposed(values).keys["ts"] == ["timestamp", "record_time"]
    assert read(values).with_events == 300


def test_names_that_say_nothing_are_told_by_their_values() -> None:
    names = {"visitorid": "a", "itemid": "b", "event": "c", "timestamp": "timestamp"}
    values = [{names[name]: part for name, part in value.items()} for value in documents(flat)]
    found = proposed(values)
    assert {found.keys["user"], found.keys["item"]} <= {"a", "b"}
    assert "told by its values only" in found.notes["user"]


@pytest.mark.parametrize("values", [[], [{"temperature": 3.5}], [{"a": {}}, {"b": []}]])
def test_what_is_no_shop_is_no_mapping(values: list[Any]) -> None:
    assert propose(values, records(values)) is None


@pytest.mark.parametrize("name", ["related_products", "recommended", "previousItems"])
def test_other_items_than_the_event_s_own_are_left_alone(name: str) -> None:
    values = [value | {name: [{"product_id": "x"}, {"product_id": "y"}]} for value in documents(flat)]
    assert "each" not in proposed(values).keys
    assert proposed(values).keys["item"] == "itemid"


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "user", "items", "type", "ts", "key", "value", ".", "a.b"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["user", "item", "items", "type", "ts", "id", "x"]), _ANY), max_size=8))
def test_whatever_the_documents_are_a_proposal_is_a_configuration(values: list[Any]) -> None:
    values = [json.loads(json.dumps(value)) for value in values]
    try:
        given_records = records(values)
    except TypeError:
        return  # a number that JSON's writer refuses
    found = propose(values, given_records)
    if found is not None:
        Decoder(found.config()).decode(given_records)
