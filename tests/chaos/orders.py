"""Scenario 12: a shop's topic as Segment writes it, with kill -9 while it flows: orders of several items, duplicates,
bad products, pages to ignore, and visitors who log in.

First known users look around, then visitors without a name, and all workers stop. Then each visitor logs in, as one of
those users or as a new one, and goes on under that name. A user's memory has to hold all of it, each event once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.chaos.kills import Form, Kills
from tests.chaos.logs import START_TS
from tests.chaos.scenario import NotShown, Scenario, Seen, Stage
from tests.chaos.states import FIXED
from tests.support.fleet import Event, Sent
from tests.support.scene import RING, Memories, Scene

_SHORT, _FULL = Form(3_000, 2, 8.0), Form(30_000, 8, 12.0)
_SETTINGS = {"MEMORY__DEVICE_USERS": "1000", "EVENTS__PRESET": "segment"}
_VISITORS = 300
_KNOWN = 200  # of the visitors were users before


class Shop:
    """Makes records in Segment's shapes, one after the other in time."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._number = 0

    def of_users(self, count: int, users: int) -> Iterator[Event]:
        for _ in range(count):
            user = f"user-{self._rng.randrange(users)}"
            yield from self._act(user, {"userId": user, "anonymousId": f"device-{user}"})

    def of_visitors(self, count: int) -> Iterator[Event]:
        for _ in range(count):
            visitor = f"visitor-{self._rng.randrange(_VISITORS)}"
            yield from self._act(visitor, {"userId": None, "anonymousId": visitor})

    def logins(self, numbers: list[int]) -> Iterator[Event]:
        for number in numbers:
            user = f"user-{number}"
            yield self._record(user, {"type": "identify", "userId": user, "anonymousId": f"visitor-{number}"})

    def _act(self, key: str, who: dict[str, Any]) -> Iterator[Event]:
        drawn = self._rng.random()
        if drawn < 0.1:
            yield self._record(key, who | {"type": "page", "name": "home"})
        elif drawn < 0.4:
            products = [self._product() for _ in range(self._rng.randint(2, 5))]
            made = self._record(key, who | self._track("Order Completed", {"products": products}))
            yield made
            if self._rng.random() < 0.2:  # the tracker sends it once more
                yield made
        else:
            yield self._record(key, who | self._track("Product Viewed", {"product_id": self._item()}))

    def _product(self) -> dict[str, Any]:
        return {"name": "without an id"} if self._rng.random() < 0.03 else {"product_id": self._item(), "price": 2}

    def _item(self) -> str:
        return f"item-{self._rng.randrange(400)}"

    @staticmethod
    def _track(name: str, properties: dict[str, Any]) -> dict[str, Any]:
        return {"type": "track", "event": name, "properties": properties}

    def _record(self, key: str, call: dict[str, Any]) -> Event:
        self._number += 1
        ts = START_TS + self._number
        value = {**call, "messageId": f"m-{self._number}", "timestamp": ts}
        return key, json.dumps(value).encode(), ts * 1000, True


def orders_and_logins(stage: Stage) -> Seen:
    form, shop = _SHORT if stage.short else _FULL, Shop(stage.seed)
    looks = [*shop.of_users(form.events // 2, _KNOWN), *shop.of_visitors(form.events // 2)]
    logged_in = list(range(_VISITORS))
    after = [*shop.logins(logged_in), *shop.of_users(form.events // 2, _VISITORS)]
    with stage.scene("orders", _SETTINGS | (FIXED if stage.short else {})) as scene:
        first = _killed_over(scene, form, looks, stage.seed)
        before = Sent()
        before.add(scene.sent)
        second = _killed_over(scene, form, after, stage.seed + 1)
        several = scene.sent.events - len({(p, o) for (_, p), offsets in scene.sent.valid.items() for o in offsets})
        if not several or not scene.sent.bad:
            raise NotShown("no record had several events, or none was broken")
        return {
            "records": scene.sent.records,
            "events": scene.sent.events,
            "kills": first.kills + second.kills,
            "takeovers": first.takeovers + second.takeovers,
            "logins": len(logged_in),
            "lists": scene.check(),
            "dead letters": len(scene.sent.bad),
            "memories": scene.check_memories(_expected(scene, before, logged_in)),
        }


def _killed_over(scene: Scene, form: Form, events: list[Event], seed: int) -> Kills:
    kills = Kills(scene, form, Random(seed))
    kills.run(events)
    return kills


def _expected(scene: Scene, before: Sent, logged_in: list[int]) -> Memories:
    """What has to be remembered: the visitor's past follows the user's own, in the partition where the login stands."""
    items = {key: list(of_user) for key, of_user in scene.sent.items.items()}
    for number in logged_in:
        [past] = [before.items[key] for key in before.items if key[0] == f"visitor-{number}"] or [[]]
        key = scene.sent.logins[f"user-{number}"]
        own = before.items.get(key, [])
        items[key] = own + past + items.get(key, [])[len(own) :]
    return {key: (len(of_user), of_user[-RING:]) for key, of_user in items.items() if of_user}


SCENARIO = Scenario(12, "orders and logins", orders_and_logins)
