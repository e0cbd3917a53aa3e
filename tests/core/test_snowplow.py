"""Enriched events of Snowplow: a line of 131 columns becomes the JSON of the Analytics SDKs, and no line raises."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.snowplow import COLUMNS, schema_key, snowplow_document

ECOMMERCE = "iglu:com.snowplowanalytics.snowplow.ecommerce"
PRODUCT = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"


def line(**cells: str) -> bytes:
    return "\t".join(cells.get(name, "") for name in COLUMNS).encode()


def described(schema: str, data: object) -> dict[str, object]:
    return {"schema": schema, "data": data}


def entities(*inner: object) -> str:
    contexts = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0"
    return orjson.dumps(described(contexts, list(inner))).decode()


def test_entities_become_arrays_by_schema_and_the_event_a_key_of_its_own() -> None:
    product = f"{ECOMMERCE}/product/jsonschema/1-0-0"
    action = described(f"{ECOMMERCE}/snowplow_ecommerce_action/jsonschema/1-0-2", {"type": "transaction"})
    event = described("iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0", action)
    document = snowplow_document(
        line(
            user_id="u1",
            contexts=entities(described(product, {"id": "a"}), described(product, {"id": "b", "price": 2.5})),
            unstruct_event=orjson.dumps(event).decode(),
            derived_contexts=entities(described("iglu:com.acme/deviceClass/jsonschema/2-1-0", {"name": "phone"})),
        )
    )
    assert document == {
        "user_id": "u1",
        PRODUCT: [{"id": "a"}, {"id": "b", "price": 2.5}],
        ACTION: {"type": "transaction"},
        "contexts_com_acme_device_class_2": [{"name": "phone"}],
    }


def test_columns_have_types_and_empty_ones_are_left_out() -> None:
    document = snowplow_document(
        line(
            collector_tstamp="2019-10-23 12:00:00.123",
            domain_sessionidx="3",
            tr_total="19.99",
            br_cookies="1",
            dvce_ismobile="0",
            app_id="1",
        )
        + b"\r\n"
    )
    assert document == {
        "collector_tstamp": "2019-10-23T12:00:00.123Z",
        "domain_sessionidx": 3,
        "tr_total": 19.99,
        "br_cookies": True,
        "dvce_ismobile": False,
        "app_id": "1",
    }


def test_what_is_of_no_use_to_an_event_does_not_kill_it() -> None:
    odd = {"page_urlport": "http", "ti_price": "1,5", "br_cookies": "yes", "txn_id": "9" * 1000}
    assert snowplow_document(line(**odd)) == odd


def test_the_columns_are_those_of_the_page() -> None:
    """Places that the documentation names."""
    places = {12: "user_id", 15: "domain_userid", 52: "contexts", 58: "unstruct_event", 122: "derived_contexts"}
    assert {place: COLUMNS[place] for place in places} == places
    assert (len(COLUMNS), len(set(COLUMNS)), COLUMNS[0], COLUMNS[130]) == (131, 131, "app_id", "true_tstamp")


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        (f"{ECOMMERCE}/product/jsonschema/1-0-0", PRODUCT),
        ("iglu:com.acme-shop/wishList/jsonschema/12-0-1", "contexts_com_acme_shop_wish_list_12"),
        ("iglu:com.Acme/HTTPRequest/avro/1-0-1", "contexts_com_acme_httprequest_1"),
        ("iglu:com.acme/name/jsonschema/1-0", None),
        ("com.acme/name/jsonschema/1-0-0", None),
        ("iglu:com.acme/name/jsonschema/1-*-*", None),
    ],
)
def test_a_schemas_key_is_that_of_the_analytics_sdks(schema: str, key: str | None) -> None:
    assert schema_key("contexts", schema) == key


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "131 columns between tabs, got 1: ''"),
        (b"a\tb", "131 columns between tabs, got 2: 'a'"),
        (line() + b"\t", "131 columns between tabs, got 132"),
        (line(user_id="\u0007") + b"\xff", "text in UTF-8"),
        (line(contexts="{"), "JSON in contexts, got '{'"),
        (line(contexts="[" * 5000), "JSON in contexts"),
        (line(contexts="[]"), "JSON with schema and data in contexts, got an array"),
        (line(derived_contexts='{"data": {}}'), "an array of entities in derived_contexts, got an object"),
        (line(contexts='{"data": [7]}'), "JSON with schema and data in contexts, got 7"),
        (line(contexts=entities({"schema": 1, "data": {}})), "a schema such as iglu:com.acme/name/jsonschema/1-0-0"),
        (line(contexts=entities({"schema": f"{ECOMMERCE}/product/jsonschema/1-0-0"})), "JSON with schema and data"),
        (line(unstruct_event='{"data": null}'), "JSON with schema and data in unstruct_event, got nothing"),
        (line(unstruct_event='{"data": {"schema": "x", "data": {}}}'), "a schema such as"),
    ],
)
def test_a_reason_tells_what_is_wrong_with_a_line(value: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        snowplow_document(value)
    assert caught.value.error == "NotSnowplow"
    assert caught.value.reason.startswith("enriched event of Snowplow: expected " + reason)


@given(
    value=st.one_of(
        st.binary(),
        st.lists(st.text(), min_size=131, max_size=131).map(lambda cells: "\t".join(cells).encode()),
        st.dictionaries(
            st.sampled_from(["contexts", "unstruct_event", "derived_contexts"]),
            st.recursive(
                st.one_of(st.none(), st.integers(-9, 9), st.text()),
                lambda inner: st.one_of(
                    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["schema", "data"]), inner)
                ),
            ).map(lambda tree: orjson.dumps(tree).decode()),
        ).map(lambda cells: line(**cells)),
    )
)
def test_no_line_raises_anything_but_invalid_event(value: bytes) -> None:
    try:
        document = snowplow_document(value)
    except InvalidEvent:
        return
    assert isinstance(document, dict)
