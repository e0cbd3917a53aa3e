"""Processor time of rules about items: of a million items, 1,000 change under ten conditions.

    python -m benchmarks.item_rules [--items 1000000] [--rounds 9]

Half of the items have a row in the catalogue. In `some lack fields` a third of the items that change has no price and
another third no brand, so that expressions fail on them. The bar: conditions, in one scenario and in three, are brought
up to date for 1,000 changed items in less than 50 ms, evaluation and columns together, by the median of the rounds.
Ends with 1 where they are not. Leaves benchmarks/results/item_rules.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np

from benchmarks.record import machine, only_errors, save
from model.items.catalog import Catalog
from model.items.content import Content
from model.items.content_table import Descriptions
from stream_worker.core.expressions import Expressions, Kind
from stream_worker.core.item_rules import ItemRules, RuleValues

CHANGED = 1_000
BAR_MS = 50.0
_AT_ONCE = 10_000
CONDITIONS = (
    "item.price < 10", 'item.brand == "b3" && item.available', '"t1" in item.tags', 'item.category in ["c1", "c2"]',
    "has(item.stock) && item.stock > 2", 'item.title.startsWith("A")', "item.price >= 5 && item.price < 20",
    'scenario != "mail" || !item.blocked', 'item.tags.exists(tag, tag.startsWith("t"))',
    'item.brand != "b1" || item.price > 3',
)  # fmt: skip


def rules(*scenarios: str) -> ItemRules:
    """Return the ten conditions, spread over sections of scenarios."""
    keys = [f"{scenarios[place % len(scenarios)]}.promotions[{place}].filter" for place in range(len(CONDITIONS))]
    return ItemRules(dict(zip(keys, CONDITIONS, strict=True)), {}, (), dict.fromkeys(keys, True), {"stock": "stock"})


def item(number: int, lacking: bool) -> dict[str, Any]:
    """Return an item as expressions see it. lacking: every third has no price, the next one no brand."""
    whole = {
        "id": f"i{number}", "title": f"A title of some length {number}", "brand": f"b{number % 7}",
        "category": f"c{number % 9}", "price": number % 50 + 0.5, "tags": ["t1", "t2", "x"], "available": True,
        "blocked": False, "stock": number % 5,
    }  # fmt: skip
    lacks = ("price", "brand", "")[number % 3] if lacking else ""
    return {name: value for name, value in whole.items() if name != lacks}


def described(ids: list[str], values: RuleValues | None) -> Descriptions:
    """Return changes that tell nothing but what the rules say; texts cost the same with and without rules."""
    count = len(ids)
    no, nothing = np.zeros(count, np.bool_), [""] * count
    return Descriptions(
        ids, no, nothing, nothing, nothing, np.full(count, np.nan, np.float32), [()] * count, ~no, no, no, [{}] * count,
        values,
    )  # fmt: skip


def content_of(items: int, asked: ItemRules) -> Content:
    """Return the content of so many items, of which each second has a row of the catalogue."""
    catalog = Catalog(items)
    content = Content(catalog, unknown=asked.unknown)
    for begin in range(0, items, _AT_ONCE):
        content.change(described([f"i{k}" for k in range(begin, min(items, begin + _AT_ONCE))], None))
    touched = range(0, items, 2)
    content.begin(catalog.add([f"i{k}" for k in touched], [k + 1 for k in touched], 0))
    return content


def milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def bring_up_to_date(content: Content, asked: ItemRules, changed: list[dict[str, Any]]) -> None:
    """Evaluate the conditions, and change the content of the items and the columns of their rows."""
    content.change(described([one["id"] for one in changed], asked.evaluate(changed)))


@click.command()
@click.option("--items", default=1_000_000, help="Items that something is told of.")
@click.option("--rounds", default=9)
def main(items: int, rounds: int) -> None:
    only_errors()
    measured: dict[str, float] = {}
    for name, scenarios in {"one": ["lists"], "three": ["lists", "scenarios.home", "scenarios.mail"]}.items():
        asked = rules(*scenarios)
        content = content_of(items, asked)
        for lacking in (False, True):
            times = []
            for place in range(rounds):
                chosen = np.random.default_rng(place).choice(items, CHANGED, replace=False).tolist()
                changed = [item(number, lacking) for number in chosen]
                times.append(milliseconds(partial(bring_up_to_date, content, asked, changed)))
            key = f"{name} scenario{'s' if name == 'three' else ''}, {'some lack fields' if lacking else 'whole items'}"
            measured[key] = round(statistics.median(times), 2)
    alone = {text: _alone(text) for text in CONDITIONS}
    for key, found in {**measured, **alone}.items():
        click.echo(f"{key}: {found} {'ms' if key in measured else 'us'}")
    save("item_rules", {**machine(), "items": items, "changed": CHANGED, "ms": measured, "us_an_expression": alone})
    if max(measured.values()) >= BAR_MS:
        raise SystemExit(1)


def _alone(text: str) -> float:
    """Return microseconds of one expression by itself on an item, with the making of its variables."""
    one = Expressions({"lists.filter": text}, {"lists.filter": Kind.CONDITION}, "default", ["stock"])
    items = [item(number, False) for number in range(CHANGED)]
    times = [milliseconds(lambda: [one.evaluate(each) for each in items]) for _ in range(5)]
    return round(statistics.median(times) * 1e3 / CHANGED, 2)


if __name__ == "__main__":
    main()
