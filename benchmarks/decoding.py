"""Processor time of decoding, by format: JSON, Avro and Protobuf, flat and nested, through the worker's own decoder.

    python -m benchmarks.decoding [--rounds 9] [--batches 20]

Every form takes its turn in each round, in batches of 512 records as a tick has them, and the ratio of a round is its
time an event to flat JSON's in the same round; figures are medians of the rounds. The schema registry is a small server
of this process, which is asked once a form.

To be seen: flat Avro at most 2.5 times flat JSON, flat Protobuf at most 5 times, an item of a JSON record of three at
most 2.5 times a flat event. Ends with 1 where one is not. Leaves benchmarks/results/decoding.json.
"""

from __future__ import annotations

import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread
from typing import Any, NamedTuple

import click
import orjson
from fastavro import parse_schema, schemaless_writer
from google.protobuf.message_factory import GetMessageClass

from benchmarks.record import machine, only_errors, save
from stream_worker.backends.registry import RegistryConfig, open_registry
from stream_worker.backends.registry.protobuf_files import file_of
from stream_worker.config import load_settings
from stream_worker.core.decoder import Decoder, Documents
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import EventsConfig

BATCH = 512
NOW = 1_796_040_000
_BASE = "JSON, flat"
_AVRO, _PROTOBUF, _JSON_SCHEMA = 1, 2, 3

_ITEM = {"type": "record", "name": "Item", "fields": [{"name": "item", "type": "string"}, {"name": "n", "type": "int"}]}
_TEXTS = [{"name": name, "type": "string"} for name in ("user", "item", "type", "request_id")]
_AVRO_SCHEMA = {
    "type": "record",
    "name": "Event",
    "fields": [
        *_TEXTS,
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "value", "type": ["null", "double"]},
        {"name": "items", "type": {"type": "array", "items": _ITEM}},
    ],
}
_PROTOBUF_SCHEMA = """syntax = "proto3";
message Event {
  string user = 1; string item = 2; string type = 3; string request_id = 4; int64 ts = 5; double value = 6;
  message Item { string item = 1; int32 n = 2; } repeated Item items = 7;
}"""
_SCHEMAS = {
    _AVRO: {"schema": json.dumps(_AVRO_SCHEMA)},
    _PROTOBUF: {"schema": _PROTOBUF_SCHEMA, "schemaType": "PROTOBUF"},
    _JSON_SCHEMA: {"schema": "{}", "schemaType": "JSON"},
}
_NESTED = EventsConfig(each="items", item=".item")
_GA4 = load_settings(None, {"STREAM_WORKER__EVENTS__PRESET": "ga4"}).events


class Form(NamedTuple):
    """A form of records.

    value: number of a record -> its bytes
    events: events of one record
    most: the bar, the largest ratio of an event's time to flat JSON's; None: none
    """

    name: str
    value: Callable[[int], bytes]
    config: EventsConfig = EventsConfig()
    events: int = 1
    most: float | None = None


class Measured(NamedTuple):
    """The medians of a form, and the least and largest ratio of a round."""

    name: str
    bytes: int
    events: int
    microseconds: float
    ratio: float
    ratio_min: float
    ratio_max: float
    most: float | None

    @property
    def is_good(self) -> bool:
        return self.most is None or self.ratio <= self.most


def forms() -> list[Form]:
    avro, protobuf = _avro_writer(), _protobuf_writer()
    return [
        Form(_BASE, lambda n: orjson.dumps(flat(n))),
        Form("JSON, three items", lambda n: orjson.dumps(nested(n)), _NESTED, 3, 2.5),
        Form("JSON of GA4, three items", lambda n: orjson.dumps(ga4(n)), _GA4, 3),
        Form("JSON with gzip, flat", lambda n: gzip.compress(orjson.dumps(flat(n)))),
        Form("JSON Schema, flat", lambda n: _frame(_JSON_SCHEMA) + orjson.dumps(flat(n))),
        Form("Avro, flat", lambda n: avro({**flat(n), "items": []}), most=2.5),
        Form("Avro, three items", lambda n: avro({"item": "", **nested(n)}), _NESTED, 3),
        Form("Protobuf, flat", lambda n: protobuf(flat(n)), most=5.0),
        Form("Protobuf, three items", lambda n: protobuf(nested(n)), _NESTED, 3),
    ]


def flat(n: int) -> dict[str, Any]:
    names = {"user": f"user-{n % 97}", "item": f"item-{n % 389}", "type": "click", "request_id": f"r-{n}"}
    return {**names, "ts": (NOW + n) * 1_000, "value": n / 8}


def nested(n: int) -> dict[str, Any]:
    event = flat(n)
    del event["item"]
    return {**event, "items": [{"item": f"item-{(n + at) % 389}", "n": at} for at in range(3)]}


def ga4(n: int) -> dict[str, Any]:
    """An event as GA4 exports it, of 1.2 KB."""
    parameters = [
        {"key": "page_location", "value": {"string_value": f"https://shop.example/item/{n}"}},
        {"key": "ga_session_id", "value": {"int_value": 1_700_000_000 + n}},
        {"key": "engagement_time_msec", "value": {"int_value": 100 + n % 900}},
        {"key": "page_title", "value": {"string_value": "Teapots, kettles and cups of the shop"}},
        {"key": "page_referrer", "value": {"string_value": "https://search.example/?q=teapot+blue"}},
        {"key": "currency", "value": {"string_value": "EUR"}},
    ]
    item = {
        "item_name": "Teapot, blue",
        "item_brand": "Brand",
        "item_category": "Kitchen",
        "price": 12.5,
        "quantity": 1,
    }
    return {
        "event_date": "20261130", "event_timestamp": (NOW + n) * 1_000_000, "event_name": "view_item",
        "event_params": parameters, "user_pseudo_id": f"{n % 97}.1700000000", "platform": "WEB",
        "device": {"category": "mobile", "operating_system": "Android", "language": "de-de"},
        "geo": {"continent": "Europe", "country": "Germany", "city": "Hamburg"},
        "traffic_source": {"medium": "organic", "source": "search", "name": "(direct)"},
        "items": [{"item_id": f"item-{(n + at) % 389}", **item} for at in range(3)],
    }  # fmt: skip


def _frame(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big")


def _avro_writer() -> Callable[[Any], bytes]:
    schema = parse_schema(_AVRO_SCHEMA)

    def write(event: Any) -> bytes:
        stream = BytesIO(_frame(_AVRO))
        stream.seek(0, 2)
        schemaless_writer(stream, schema, event)
        return stream.getvalue()

    return write


def _protobuf_writer() -> Callable[[Any], bytes]:
    kind: Any = GetMessageClass(file_of("event.proto", _PROTOBUF_SCHEMA, []).message_types_by_name["Event"])
    return lambda event: _frame(_PROTOBUF) + b"\0" + kind(**event).SerializeToString()


class _Schemas(BaseHTTPRequestHandler):
    """Answers with the schema of an id, as a registry does."""

    def do_GET(self) -> None:
        body = json.dumps(_SCHEMAS[int(self.path.rsplit("/", 1)[1])]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def registry() -> Iterator[Documents]:
    """Yield what reads framed records by the schemas of this module."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Schemas)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield open_registry(RegistryConfig(url=f"http://127.0.0.1:{server.server_port}")).document
    finally:
        server.shutdown()
        server.server_close()


def records_of(form: Form) -> list[Record]:
    return [Record(0, n, (NOW + n) * 1_000, f"user-{n % 97}".encode(), form.value(n)) for n in range(BATCH)]


def seconds_an_event(decoder: Decoder, records: list[Record], batches: int) -> float:
    """Return the processor time of an event. Raise RuntimeError if a record is none: its time would mean nothing."""
    began, events = time.process_time(), 0
    for _ in range(batches):
        found, dead = decoder.decode(records)
        events += len(found)
        if dead:
            raise RuntimeError(f"{dead[0].error}: {dead[0].reason}")
    return (time.process_time() - began) / events


def measured(documents: Documents, rounds: int, batches: int) -> list[Measured]:
    given = forms()
    decoders = [(Decoder(form.config, documents=documents), records_of(form)) for form in given]
    for decoder, records in decoders:
        seconds_an_event(decoder, records, 1)  # asks for the schema, and fills caches
    times = [[seconds_an_event(decoder, records, batches) for decoder, records in decoders] for _ in range(rounds)]
    base = [form.name for form in given].index(_BASE)
    return [_compared(form, *zip(*((of[at], of[base]) for of in times), strict=True)) for at, form in enumerate(given)]


def _compared(form: Form, times: Sequence[float], bases: Sequence[float]) -> Measured:
    """Compare the times of a form, by round, to flat JSON's."""
    ratios = [one / base for one, base in zip(times, bases, strict=True)]
    microseconds, ratio = statistics.median(times) * 1e6, statistics.median(ratios)
    size = len(form.value(0))
    return Measured(form.name, size, form.events, microseconds, ratio, min(ratios), max(ratios), form.most)


@click.command()
@click.option("--rounds", default=9, show_default=True)
@click.option("--batches", default=20, show_default=True, help=f"Of {BATCH} records, by form and round.")
def main(rounds: int, batches: int) -> None:
    """Print the table and write JSON; exit code 1 where a bar is not reached."""
    only_errors()
    with registry() as documents:
        found = measured(documents, rounds, batches)
    for one in found:
        bar = "" if one.most is None else f", at most {one.most}"
        print(f"{one.name}: {one.microseconds:.2f} us an event, {one.ratio:.2f} times flat JSON{bar}")
    save("decoding", {**machine(), "rounds": rounds, "forms": [one._asdict() for one in found]})
    raise SystemExit(not all(one.is_good for one in found))


if __name__ == "__main__":
    main()
