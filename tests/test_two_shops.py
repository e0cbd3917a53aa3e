"""Two shops in one folder, on a real Kafka and Redis: one `checkpoint.path` and slot, other topics and groups. Neither
learns from, lists or deletes what is the other's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_worker.backends.checkpoint.reading import MANIFEST, source_of
from tests.support.fleet import Event, read_all
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]

SLOT, KEEP = "0", 1
PORTION, PORTIONS = 60, KEEP + 1  # a checkpoint after each, so that the one before must go


class Shop:
    """`goods`: what the names of its items begin with. Both have the same customers."""

    def __init__(self, scene: Scene, folder: Path, goods: str) -> None:
        self.scene, self.fleet, self._folder, self.goods = scene, scene.fleet, folder, goods

    def open(self) -> None:
        self.fleet.start(SLOT)

    def close(self) -> None:
        assert self.fleet.stop(SLOT) == 0

    def produce(self) -> None:
        first = self.scene.sent.records
        self.scene.produce([self._click(number) for number in range(first, first + PORTION)])

    def wait(self, before: set[str]) -> None:
        """Until all is listed, and in another checkpoint than those of `before`."""
        self.fleet.wait_for(self.scene.done, "all of it")
        self.fleet.wait_for(lambda: bool(self.checkpoints() - before), "a checkpoint")

    def _click(self, number: int) -> Event:
        user, item = f"u{number % 7}", f"{self.goods}{number % 11}"
        value = {"user": user, "item": item, "type": "view", "ts": 1_700_000_000 + number}
        return user, json.dumps(value).encode(), None, True

    def checkpoints(self) -> set[str]:
        """Those that say that they are of this shop's topic, wherever they are below the folder."""
        folders = [Path(folder) for folder, _, files in os.walk(self._folder) if MANIFEST in files]
        sources = {str(folder): source_of(folder) for folder in folders}
        return {folder for folder, source in sources.items() if source and source.name == self.scene.topic}

    def check(self, starts: int) -> None:
        """Contract 1; every list of its own goods, by one line; each start but the first loaded all that was learned
        before it, and nobody had to warn of what it found."""
        self.scene.check()
        made = [json.loads(message.value()) for message in read_all(self.scene.bootstrap, self.scene.output)]
        assert {entry["item"].rstrip("0123456789") for value in made for entry in value["items"]} == {self.goods}
        [line] = {value["model"]["line"] for value in made}
        entries = self.fleet.entries(SLOT)
        loaded = [(e["line"], e["events"], e["same_source"]) for e in entries if e["event"] == "checkpoint loaded"]
        assert loaded == [(line, PORTION * PORTIONS * day, True) for day in range(1, starts)]
        warnings = [entry["event"] for entry in entries if entry["level"] != "info"]
        assert not [event for event in warnings if re.search("topic|checkpoint|memor", event)]
        assert len(self.checkpoints()) == KEEP


@pytest.fixture(params=["redis", "twin"])
def shops(
    request: pytest.FixtureRequest, kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> Iterator[tuple[Shop, Shop]]:
    bakery, smithy = (_shop(request, kafka_bootstrap, redis_url, tmp_path, goods) for goods in ("bread", "hammer"))
    with bakery.fleet, smithy.fleet:
        yield bakery, smithy


def _shop(request: pytest.FixtureRequest, bootstrap: str, redis_url: str, folder: Path, goods: str) -> Shop:
    """`twin`: memories are in the checkpoints, too. Only its log has a folder of its own."""
    logs, checkpoints = folder / goods, folder / "checkpoints"
    logs.mkdir()
    url = redis_url if request.param == "redis" else ""
    settings = {"CHECKPOINT__PATH": str(checkpoints), "CHECKPOINT__KEEP": str(KEEP)}
    scene = Scene(bootstrap, url, logs, partitions=2, environment=settings)
    return Shop(scene, checkpoints, goods)


def sell(*shops: Shop) -> None:
    for shop in shops:
        shop.open()
    for _ in range(PORTIONS):
        before = [shop.checkpoints() for shop in shops]
        for shop in shops:
            shop.produce()
        for shop, those in zip(shops, before, strict=True):
            shop.wait(those)
    for shop in shops:
        shop.close()


def check(*shops: Shop, starts: int) -> None:
    for shop in shops:
        shop.check(starts)
        if shop.scene.redis_url:
            shop.scene.check_memories()


def test_one_after_the_other_each_goes_on_from_its_own(shops: tuple[Shop, Shop]) -> None:
    """While one is open, not one checkpoint of the other comes or goes."""
    for shop, other in (shops, shops[::-1]) * 2:
        others = other.checkpoints()
        sell(shop)
        assert other.checkpoints() == others
    check(*shops, starts=2)


def test_together_each_goes_on_from_its_own(shops: tuple[Shop, Shop]) -> None:
    for _ in range(2):
        sell(*shops)
    check(*shops, starts=2)
