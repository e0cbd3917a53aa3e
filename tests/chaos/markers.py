"""Scenario 5, offsets that hold no record: retention empties a topic that ends with the ends of transactions.

A shop writes in transactions and aborts every other one, the last among them. So the log begins behind all that the
group has committed, and yet nothing was lost: who was killed and who was stopped before start again, although
`kafka.on_lost_offset` is `fail`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import Any

from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.exit_codes import ExitCode
from tests.chaos.scenario import NotShown, Scenario, Seen, Stage
from tests.chaos.under_load import Play, playing
from tests.chaos.witness import Published
from tests.support.fleet import Sent

PARTITIONS = 4
_EVENTS, _TIMEOUT_SECONDS = 200, 30.0
_LOGGER = logging.getLogger("tests.kafka")


class Shop:
    """Sends events in transactions; what it aborts is not among what was sent."""

    def __init__(self, play: Play) -> None:
        self._play, self._scene = play, play.scene
        settings = {"bootstrap.servers": play.scene.bootstrap, "transactional.id": f"{play.scene.group}.shop"}
        self._producer = Producer(settings, logger=_LOGGER)
        self._producer.init_transactions(_TIMEOUT_SECONDS)
        self._published = Published(play.scene)

    def trade(self, transactions: int) -> None:
        """Every other one is aborted; wait until the rest is published."""
        for number in range(transactions):
            sent = self._send()
            if number % 2:
                self._producer.abort_transaction(_TIMEOUT_SECONDS)
            else:
                self._producer.commit_transaction(_TIMEOUT_SECONDS)
                self._scene.sent.add(sent)
        self._play.timed(self._all_published, "all of it")

    def _send(self) -> Sent:
        sent = Sent()
        self._producer.begin_transaction()
        for key, value, timestamp_ms, _ in islice(self._play.events, _EVENTS):
            noted = _noted(sent, key, value)
            self._producer.produce(self._scene.topic, value, key, timestamp=timestamp_ms or 0, on_delivery=noted)
        assert self._producer.flush(_TIMEOUT_SECONDS) == 0
        return sent

    def _all_published(self) -> bool:
        """Offsets without a record count for none."""
        published = self._published()
        return all(published[partition] >= end for partition, end in self._scene.sent.ends().items())


def _noted(sent: Sent, key: str, value: bytes | None) -> Callable[[Any, Any], None]:
    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        sent.note(key, message, value)

    return delivered


def emptied_by_retention(stage: Stage) -> Seen:
    with playing(stage, partitions=PARTITIONS) as play:
        shop = Shop(play)
        shop.trade(round(play.seconds(6, 30)))
        play.timed(lambda: _stood(play) == _ends(play), "that it is kept where the readers stood")
        published = Published(play.scene)()
        play.fleet.kill("a")
        assert play.fleet.stop("b") == ExitCode.DONE
        begins = _empty(play)
        if not all(begins[partition] > at for partition, at in published.items()):
            raise NotShown(f"the topic begins at {begins}, published is {published}")
        play.start("a", "b")
        shop.trade(round(play.seconds(2, 10)))
        for slot in ("a", "b"):
            assert play.fleet.stop(slot) == ExitCode.DONE
        without = sum(begins.values()) - sum(published.values())
        return play.verdict(**{"offsets without a record at the end": without})


def _ends(play: Play) -> dict[int, int]:
    """Behind the last offset of each partition, whatever it holds."""
    admin = AdminClient({"bootstrap.servers": play.scene.bootstrap}, logger=_LOGGER)
    asked = {TopicPartition(play.scene.topic, partition): OffsetSpec.latest() for partition in range(PARTITIONS)}
    return {at.partition: found.result(30).offset for at, found in admin.list_offsets(asked).items()}


def _stood(play: Play) -> dict[int, int]:
    """Up to where readers have found no further record, by the store's word."""
    scene = play.scene
    store = RedisMemoryStore(MemoryConfig(redis_url=scene.redis_url), f"{scene.group}:{scene.topic}")
    kept = store.kept(range(PARTITIONS))
    store.close()
    return {partition: at.stood for partition, at in kept.items()}


def _empty(play: Play) -> dict[int, int]:
    """Delete all records, as retention would; returns where each partition begins now."""
    admin = AdminClient({"bootstrap.servers": play.scene.bootstrap}, logger=_LOGGER)
    places = [TopicPartition(play.scene.topic, partition, OFFSET_END) for partition in range(PARTITIONS)]
    return {at.partition: gone.result(30).low_watermark for at, gone in admin.delete_records(places).items()}


EMPTIED = Scenario(5, "only ends of transactions left", emptied_by_retention)
