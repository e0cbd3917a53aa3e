"""One run of the demo in three threads: the worker's loop, the shop, and a reader of the lists.

The worker's thread first does all that takes time (kernels, Kafka, joining the group), then starts the other two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from stream_worker.assembly import make_checkpoints, make_line, make_worker, new_nonce
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.backends.kafka import KafkaConfig, KafkaSink, KafkaSource, create_topics
from stream_worker.backends.kafka.config import reader_settings, writer_settings
from stream_worker.backends.kafka.faults import connect
from stream_worker.config import Settings
from stream_worker.core.codec import decode_recommendation, encode_event
from stream_worker.demo.embedded import EmbeddedKafka
from stream_worker.demo.scene import Scene
from stream_worker.demo.shop import Shop, ShopConfig
from stream_worker.loop.outside import Outside
from stream_worker.loop.worker import Worker
from stream_worker.warm_up import warm_up

# None of these is tuned.
_PARTITIONS = 4  # of each topic
_POLL_SECONDS = 0.1  # the longest wait for something that can end the thread
_DRAIN_SECONDS = 5.0  # the longest time, after the shop has closed, until its last lists are read
_PATIENCE_SECONDS = 30.0  # the longest wait for a thread to end
_START_UP_SECONDS = 4.0  # the longest wait for a start-up that is to be left


def demo_settings(settings: Settings, folder: Path) -> Settings:
    """Return the settings with memories in the twin, no metrics server, and a monitor whose windows suit one minute."""
    return replace(
        settings,
        memory=replace(settings.memory, redis_url=""),
        metrics=replace(settings.metrics, port=0),
        checkpoint=replace(settings.checkpoint, path=str(folder)),
        monitor=replace(settings.monitor, window=1_000, drift_block=8),
    )


class Session:
    """A run of the demo: call `start`, then `running` until it is False, then `stop`.

    `shop`: the shop's configuration.
    `seconds`: how long the shop is open.
    `scene`: takes all that there is to see.

    `fault`: the exception that ended a thread before its time.
    """

    def __init__(self, settings: Settings, shop: ShopConfig, seconds: float, scene: Scene) -> None:
        self.settings, self.scene = settings, scene
        self.fault: Exception | None = None
        self.worker: Worker | None = None
        self.sold = 0
        self._shop = Shop(shop)
        self._seconds = seconds
        self._stopping, self._sold_out, self._worker_left = Event(), Event(), Event()
        self._drained_by = float("inf")
        self._threads = [Thread(target=self._guarded, args=(self._work,), name="worker", daemon=True)]

    def start(self) -> None:
        self._threads[0].start()

    def running(self) -> bool:
        """Return True while the shop is open or lists of its last events have not been read."""
        if self.fault is not None or self._stopping.is_set():
            return False
        if not self._sold_out.is_set():
            return True
        picture = self.scene.picture()
        owed = picture.events < self.sold or picture.lists_read < picture.lists
        return owed and time.monotonic() < self._drained_by

    def stop(self) -> bool:
        """End all threads in good order; return False if one still runs (the start-up can't be interrupted)."""
        self._stopping.set()
        if self.worker is None:
            self._threads[0].join(_START_UP_SECONDS)
            return not self._threads[0].is_alive()
        self.worker.request_stop()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)
        return not any(thread.is_alive() for thread in self._threads)

    # -- the threads -------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except Exception as fault:
            if self.fault is None:
                self.fault = fault

    def _work(self) -> None:
        self.scene.say("warming up (the first time, kernels are compiled: one to three minutes)")
        warm_up(self.settings)
        if self._stopping.is_set():
            return
        self.scene.say("starting an embedded Kafka and joining it (3 s)")
        cluster = EmbeddedKafka()
        kafka = replace(self.settings.kafka, bootstrap_servers=cluster.bootstrap_servers)
        create_topics(kafka, kafka.topics, _PARTITIONS)
        worker = self._make_worker(replace(self.settings, kafka=kafka))
        worker.start()
        self.worker = worker
        if self._stopping.is_set():
            worker.request_stop()
        self._also(self._read, kafka)
        self._also(self._sell, kafka)
        try:
            worker.run()
        finally:
            self._worker_left.set()
            self._stopping.set()
            for thread in self._threads[1:]:
                thread.join(_PATIENCE_SECONDS)

    def _also(self, work: Callable[[KafkaConfig], None], kafka: KafkaConfig) -> None:
        thread = Thread(target=self._guarded, args=(work, kafka), name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _make_worker(self, settings: Settings) -> Worker:
        store = InMemoryMemoryStore(settings.memory)
        nonce, slot = new_nonce(), settings.worker.named_slot
        source = KafkaSource(settings.kafka, slot)
        checkpoints = make_checkpoints(settings, Path(settings.checkpoint.path), source.identity(), nonce, store)
        outside = Outside(source, KafkaSink(settings.kafka, slot), store, checkpoints, SystemClock())
        return make_worker(settings, outside, make_line(settings, f"{slot}-{nonce}"), observer=self.scene)

    def _sell(self, kafka: KafkaConfig) -> None:
        """Open the shop when the worker has its partitions, for the configured seconds."""
        producer = connect(Producer, writer_settings(kafka))
        while not self.scene.open.wait(_POLL_SECONDS):
            if self._stopping.is_set():
                return
        self.scene.say("open")
        self.scene.begin()
        self._serve_customers(producer, kafka.input_topic)
        producer.flush(_DRAIN_SECONDS)
        self.scene.say("closing")
        self._drained_by = time.monotonic() + _DRAIN_SECONDS
        self._sold_out.set()

    def _serve_customers(self, producer: Producer, topic: str) -> None:
        opened, changed = time.monotonic(), False
        self.scene.liked(str(self._shop.tastes[self.scene.customer]))
        for action in self._shop.actions():
            if action.seconds >= self._seconds or self._stopping.wait(opened + action.seconds - time.monotonic()):
                return
            if self._shop.changed and not changed:
                changed = True
                self.scene.changed()
                self.scene.liked(str(self._shop.tastes[self.scene.customer]))
            self.scene.acted(action)
            event = encode_event(action.user, action.item, action.type, time.time(), session=action.session)
            producer.produce(topic, event, action.user.encode())
            producer.poll(0)
            self.sold += 1

    def _read(self, kafka: KafkaConfig) -> None:
        """Read the lists as any consumer would; the latency of a list ends when it is read here."""
        consumer = connect(Consumer, {**reader_settings(kafka), "group.id": "demo-reader"})
        topic = kafka.output_topic
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(_PARTITIONS)])
        try:
            while True:
                left = self._worker_left.is_set()
                messages = consumer.consume(1, _POLL_SECONDS) + consumer.consume(1_000, 0)
                now = time.time()
                for message in messages:
                    if message.error() is None:
                        recommendation = decode_recommendation(message.value() or b"")
                        self.scene.listed(recommendation, now - recommendation.ts)
                if left and not messages:
                    return
        finally:
            consumer.close()
