"""Reads an enriched event of Snowplow, a line of 131 columns between tabs, as the JSON document of its Analytics SDKs.

Snowplow's topics hold such lines. Three of the columns hold self-describing JSON (a `schema` and `data`): these become
keys of their own, named after the schema:
`contexts_com_snowplowanalytics_snowplow_ecommerce_product_1` for
`iglu:com.snowplowanalytics.snowplow.ecommerce/product/jsonschema/1-0-0`.

Sources: docs.snowplow.io, "Understanding the enriched TSV format" (the columns), and the repository
snowplow/snowplow-python-analytics-sdk (their types, the names of keys).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import orjson

from stream_worker.core.amounts import amount
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.number_text import number_of
from stream_worker.core.reasons import shorten, shown

_COLUMN_NAMES = """
app_id platform etl_tstamp collector_tstamp dvce_created_tstamp event event_id txn_id name_tracker v_tracker
v_collector v_etl user_id user_ipaddress user_fingerprint domain_userid domain_sessionidx network_userid
geo_country geo_region geo_city geo_zipcode geo_latitude geo_longitude geo_region_name ip_isp ip_organization
ip_domain ip_netspeed page_url page_title page_referrer page_urlscheme page_urlhost page_urlport page_urlpath
page_urlquery page_urlfragment refr_urlscheme refr_urlhost refr_urlport refr_urlpath refr_urlquery
refr_urlfragment refr_medium refr_source refr_term mkt_medium mkt_source mkt_term mkt_content mkt_campaign
contexts se_category se_action se_label se_property se_value unstruct_event tr_orderid tr_affiliation tr_total
tr_tax tr_shipping tr_city tr_state tr_country ti_orderid ti_sku ti_name ti_category ti_price ti_quantity
pp_xoffset_min pp_xoffset_max pp_yoffset_min pp_yoffset_max useragent br_name br_family br_version br_type
br_renderengine br_lang br_features_pdf br_features_flash br_features_java br_features_director
br_features_quicktime br_features_realplayer br_features_windowsmedia br_features_gears br_features_silverlight
br_cookies br_colordepth br_viewwidth br_viewheight os_name os_family os_manufacturer os_timezone dvce_type
dvce_ismobile dvce_screenwidth dvce_screenheight doc_charset doc_width doc_height tr_currency tr_total_base
tr_tax_base tr_shipping_base ti_currency ti_price_base base_currency geo_timezone mkt_clickid mkt_network etl_tags
dvce_sent_tstamp refr_domain_userid refr_device_tstamp derived_contexts domain_sessionid derived_tstamp
event_vendor event_name event_format event_version event_fingerprint true_tstamp
"""
_WHOLE = """
txn_id domain_sessionidx page_urlport refr_urlport ti_quantity pp_xoffset_min pp_xoffset_max pp_yoffset_min
pp_yoffset_max br_viewwidth br_viewheight dvce_screenwidth dvce_screenheight doc_width doc_height
"""
_FRACTIONS = """
geo_latitude geo_longitude se_value tr_total tr_tax tr_shipping ti_price tr_total_base tr_tax_base tr_shipping_base
ti_price_base
"""
COLUMNS = tuple(_COLUMN_NAMES.split())
_WHOLE_NUMBERS, _NUMBERS = frozenset(_WHOLE.split()), frozenset(_FRACTIONS.split())
_CONTEXTS, _UNSTRUCT = "contexts", "unstruct_event"
_JSON_COLUMNS = {"contexts": _CONTEXTS, "derived_contexts": _CONTEXTS, "unstruct_event": _UNSTRUCT}
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_SCHEMA = re.compile(r"iglu:([\w.-]+)/([\w.-]+)/[\w-]+/(\d+)-\d+-\d+", re.ASCII)
_HUMP = re.compile(r"([^A-Z_])([A-Z])")
_JSON_BEGINS = (b"{", b"[", b"\xef\xbb\xbf", b"\x1f\x8b")  # an object, an array, a byte order mark, gzip


def is_enriched(value: bytes) -> bool:
    """Return True for bytes that are no JSON, as an Analytics SDK writes it, but may be an enriched event."""
    return not value.startswith(_JSON_BEGINS)


def snowplow_document(value: bytes) -> dict[str, Any]:
    """Return the JSON document of an enriched event. Empty columns are left out.

    A number, a time or a yes or no that can't be read stays the text that it is. Raises InvalidEvent for a line of
    another number of columns, for bytes that are no UTF-8, and for JSON that does not describe itself.
    """
    try:
        cells = value.decode().rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        _refuse(f"text in UTF-8, got {value[:40]!r}")
    if len(cells) != len(COLUMNS):
        _refuse(f"{amount(len(COLUMNS), 'column')} between tabs, got {len(cells)}: {shown(cells[0])}")
    document: dict[str, Any] = {}
    for name, read, text in zip(COLUMNS, _READERS, cells, strict=True):
        if text:
            document[name] = text if read is None else read(text)
    for name, prefix in _JSON_COLUMNS.items():
        if name in document:
            _add_described(document, name, prefix)
    return document


def schema_key(prefix: str, schema: str) -> str | None:
    """Return the key that the Analytics SDKs give to a schema, None for a text that names none.

    >>> schema_key("contexts", "iglu:com.acme-shop/wishList/jsonschema/2-0-1")
    'contexts_com_acme_shop_wish_list_2'
    """
    if not (parts := _SCHEMA.fullmatch(schema)):
        return None
    vendor, name, model = parts.groups()
    return "_".join((prefix, _snake(vendor), _snake(_HUMP.sub(r"\1_\2", name)), model))


def _add_described(document: dict[str, Any], column: str, prefix: str) -> None:
    """Replace a column of self-describing JSON by a key for each schema: entities as arrays, an event as it is."""
    data = _member(_parsed(column, document.pop(column)), "data", column)
    if prefix == _UNSTRUCT:
        document.update([_described(data, column, prefix)])
        return
    for entity in _entities(data, column):
        key, inner = _described(entity, column, prefix)
        document.setdefault(key, []).append(inner)


def _entities(data: Any, column: str) -> Iterator[Any]:
    if type(data) is not list:
        _refuse(f"an array of entities in {column}, got {shown(data)}")
    yield from data


def _described(value: Any, column: str, prefix: str) -> tuple[str, Any]:
    schema = _member(value, "schema", column)
    key = schema_key(prefix, schema) if type(schema) is str else None
    if key is None:
        _refuse(f"a schema such as iglu:com.acme/name/jsonschema/1-0-0 in {column}, got {shown(schema)}")
    return key, _member(value, "data", column)


def _member(value: Any, name: str, column: str) -> Any:
    if type(value) is not dict or name not in value:
        _refuse(f"JSON with schema and data in {column}, got {shown(value)}")
    return value[name]


def _parsed(column: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        _refuse(f"JSON in {column}, got {shown(text)}")


def _refuse(expected: str) -> NoReturn:
    raise InvalidEvent("NotSnowplow", shorten(f"enriched event of Snowplow: expected {expected}"))


def _snake(text: str) -> str:
    return text.replace(".", "_").replace("-", "_").lower()


def _whole_number(text: str) -> int | str:
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text


def _number(text: str) -> float | str:
    number = number_of(text)
    return text if number is None else number


def _yes_or_no(text: str) -> bool | str:
    return text == "1" if text in ("0", "1") else text


def _time(text: str) -> str:
    return text.replace(" ", "T") + "Z"


def _reader(name: str) -> Callable[[str], Any] | None:
    if name in _WHOLE_NUMBERS:
        return _whole_number
    if name in _NUMBERS:
        return _number
    if name.startswith("br_features_") or name in ("br_cookies", "dvce_ismobile"):
        return _yes_or_no
    return _time if name.endswith("_tstamp") else None


_READERS = tuple(map(_reader, COLUMNS))
