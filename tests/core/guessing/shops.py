"""Made-up records of shops that nobody has a preset for."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson

from stream_worker.core.events import Record

START_SECONDS = 1_772_445_803


def flat(draw: random.Random, number: int) -> dict[str, Any]:
    """The README's own."""
    return {
        "visitorid": f"customer-{draw.randrange(60):03}",
        "itemid": f"green cup #{draw.randrange(90)}",
        "event": draw.choice(["view"] * 8 + ["addtocart", "transaction"]),
        "timestamp": START_SECONDS + number,
    }


def order(draw: random.Random, number: int) -> dict[str, Any]:
    """An order with its lines; nothing says what kind of event it is."""
    lines = [{"sku": f"s{draw.randrange(50)}", "qty": 1, "price": "3.50"} for _ in range(draw.randrange(1, 4))]
    return {
        "order_id": f"o{number}",
        "placed_at": f"2026-03-02T10:{number % 60:02}:00Z",
        "customer": {"id": draw.randrange(50), "name": "Ann", "email": "ann@example.org"},
        "lines": lines,
        "shipping": {"city": "Bonn"},
    }


def nested(draw: random.Random, number: int) -> dict[str, Any]:
    """Views of one product, orders of two, and pages; a third of the users are unknown."""
    kind = draw.choice(["page_view", "product.view", "product.add_to_basket", "order.completed"])
    meta = {"eventName": kind, "occurredAt": (START_SECONDS + number) * 1000, "eventId": f"e-{number}"}
    user = f"u{draw.randrange(40)}" if number % 3 else None
    record: dict[str, Any] = {"meta": meta, "actor": {"userId": user, "deviceId": f"d{draw.randrange(40)}"}}
    if kind == "order.completed":
        record["payload"] = {"products": [{"productId": f"p{draw.randrange(80)}", "price": 2.0} for _ in range(2)]}
    elif kind != "page_view":
        record["payload"] = {"product": {"id": f"p{draw.randrange(80)}", "category": "pots"}}
    return record


def documents(make: Callable[[random.Random, int], dict[str, Any]], count: int = 300) -> list[dict[str, Any]]:
    draw = random.Random(1)
    return [make(draw, number) for number in range(count)]


def records(values: list[Any], key: bytes | None = None) -> list[Record]:
    return [Record(0, number, 2_000_000_000_000, key, orjson.dumps(value)) for number, value in enumerate(values)]
