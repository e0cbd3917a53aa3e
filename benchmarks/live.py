"""A worker on a real Kafka and Redis, exactly once: throughput, latency, and a burst.

    python -m benchmarks.live [--users N] [--backlog N] [--steady-seconds S] [--burst-seconds S]

1. Catching up with a backlog, at full effort and with the effort that follows the lag: events a second.
2. Ten times the former rate for a while: events a second meanwhile (the throughput), events lost (none), the lag until
   it is zero again, the age of the freshest list.
3. Half of the rate at full effort, and half of the throughput: the latency from the produce call of an event until a
   reader has its user's list.
Broker, store, producer, reader and worker share the machine. Writes benchmarks/results/live.json.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import click
import numpy as np
from confluent_kafka import Consumer, Producer

from benchmarks.record import machine, save
from stream_worker.backends.kafka import create_topics
from stream_worker.config import load_settings
from stream_worker.core.codec import encode_event
from tests.support.fleet import Fleet
from tests.support.services import KAFKA_VERSION, KafkaCluster, RedisService

_PARTITIONS = 8  # of each topic
_SLOT = "0"
_ITEMS = 10_000  # that users walk among
_MOST_MS = {50: 100.0, 99: 300.0}  # the bar: percentile -> latency in milliseconds
_SLICE_SECONDS = 0.01  # pause between two portions of events
_PATIENCE_SECONDS = 900.0  # longest wait for the worker


@dataclass
class Seen:
    """Lists as their reader sees them. `latencies`: when an event's list came, and its age in seconds by then."""

    produced: int = 0
    covered: int = 0
    newest: float = float("-inf")  # the produce time of the newest event that stands in a list
    too_many: int = 0
    waiting: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    latencies: list[tuple[float, float]] = field(default_factory=list)

    def list_of(self, user: str, events: int) -> None:
        """Note a list that is the first with `events` more events of the user: the oldest that no list had yet."""
        now, waiting = time.time(), self.waiting[user]
        self.too_many += max(0, events - len(waiting))
        for _ in range(min(events, len(waiting))):
            at = waiting.popleft()
            self.newest = max(self.newest, at)
            self.latencies.append((now, now - at))
            self.covered += 1

    @property
    def unread(self) -> int:
        return self.produced - self.covered

    def percentiles(self, since: float) -> dict[int, float]:
        """Return percentiles of the latency, in milliseconds, of the events whose lists came after `since`."""
        latencies = [seconds for at, seconds in self.latencies if at >= since]
        return {p: 1000 * float(np.percentile(latencies, p)) for p in (50, 90, 99, 100)}


class Traffic:
    """Events of users who walk among items, produced at a given rate, and the lists that come back."""

    def __init__(self, bootstrap: str, topic: str, lists: str, group: str, users: int) -> None:
        self.seen, self._users = Seen(), users
        self._topic, self._lock, self._rng = topic, threading.Lock(), np.random.default_rng(0)
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "enable.idempotence": True})
        reader = {"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_committed"}
        self._reader = Consumer(reader | {"auto.offset.reset": "earliest"})
        self._reader.subscribe([lists])
        self._failed = 0

    def produce(self, count: int) -> None:
        users = self._rng.integers(0, self._users, size=count).tolist()
        items = (self._rng.zipf(1.2, size=count) % _ITEMS).tolist()
        for user, item in zip(users, items, strict=True):
            name, now = f"u{user}", time.time()
            value = encode_event(name, f"i{item}", "view", now)
            with self._lock:
                self.seen.waiting[name].append(now)
                self.seen.produced += 1
            while True:
                try:
                    self._producer.produce(self._topic, value, key=name, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        self._producer.poll(0)

    def _delivered(self, error: Any, _: Any) -> None:
        self._failed += error is not None

    def flush(self) -> None:
        assert self._producer.flush(60) == 0
        assert not self._failed

    def read(self, seconds: float) -> None:
        for message in self._reader.consume(1_000, seconds):
            if message.error() is None:
                published = message.value()
                assert published is not None
                value = json.loads(published)
                with self._lock:
                    self.seen.list_of(value["user"], value["events"])

    def flow(self, rate: float, seconds: float, each_second: Callable[[], None] = lambda: None) -> None:
        """Produce `rate` events a second for `seconds`, and read lists meanwhile."""
        thread = threading.Thread(target=self._pace, args=(rate, seconds))
        thread.start()
        self.read_while(thread.is_alive, each_second)
        self.flush()

    def read_while(self, going: Callable[[], bool], each_second: Callable[[], None] = lambda: None) -> None:
        told = time.monotonic()
        while going():
            self.read(0.02)
            if time.monotonic() - told >= 1:
                told += 1
                each_second()

    def drain(self, each_second: Callable[[], None] = lambda: None) -> None:
        """Read until a list has come for every event."""
        end = time.monotonic() + _PATIENCE_SECONDS
        self.read_while(lambda: self.seen.unread > 0 and time.monotonic() < end, each_second)
        if self.seen.unread:
            raise click.ClickException(f"{self.seen.unread:,} events stand in no list after {_PATIENCE_SECONDS:.0f} s")

    def _pace(self, rate: float, seconds: float) -> None:
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            due = int(rate * passed) - sent
            self.produce(due)
            sent += due
            time.sleep(_SLICE_SECONDS)

    def close(self) -> None:
        self._reader.close()


@dataclass(frozen=True)
class Live:
    """One worker, its traffic and its metrics."""

    fleet: Fleet
    traffic: Traffic

    @property
    def effort(self) -> float:
        return self.fleet.metrics(_SLOT).get("stream_worker_effort", float("nan"))

    def stages(self) -> Counter[str]:
        """Return the seconds of all ticks by stage, and the number of ticks."""
        metrics = self.fleet.metrics(_SLOT)
        found = {name: re.fullmatch(r'stream_worker_tick_seconds_sum\{stage="(\w+)"\}', name) for name in metrics}
        seconds = {match[1]: metrics[name] for name, match in found.items() if match}
        return Counter(seconds | {"ticks": metrics['stream_worker_tick_seconds_count{stage="poll"}']})


@contextmanager
def live(
    kafka: KafkaCluster, redis: RedisService, folder: Path, users: int, backlog: int, **settings: str
) -> Iterator[Live]:
    """Yield a worker that starts with a backlog."""
    name = f"live-{token_hex(3)}"
    environment = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__INPUT_TOPIC": name,
        "KAFKA__OUTPUT_TOPIC": f"{name}.lists",
        "KAFKA__DEAD_LETTER_TOPIC": f"{name}.dead",
        "KAFKA__GROUP_ID": name,
        "MEMORY__REDIS_URL": redis.url,
        "CHECKPOINT__PATH": str(folder / name),
    } | settings
    config = load_settings(None, {f"STREAM_WORKER__{key}": value for key, value in environment.items()}).kafka
    create_topics(config, [config.input_topic, config.output_topic, config.dead_letter_topic], _PARTITIONS)
    traffic = Traffic(kafka.bootstrap, config.input_topic, config.output_topic, f"{name}.reader", users)
    traffic.produce(backlog)
    traffic.flush()
    fleet = Fleet(folder, **environment)
    fleet.start(_SLOT)
    try:
        yield Live(fleet, traffic)
        if code := fleet.stop(_SLOT):
            raise click.ClickException(f"the worker ended with {code}:\n{fleet.log(_SLOT)[-3000:]}")
    finally:
        for process in fleet.processes.values():
            process.kill()
        traffic.close()


def catch_up(run: Live) -> float:
    """Return the events a second of the second half, which leaves out the start, first steps and short histories."""
    seen = run.traffic.seen
    run.traffic.read_while(lambda: seen.covered < seen.produced / 2)
    began, before = time.monotonic(), seen.covered
    run.traffic.drain()
    return (seen.covered - before) / (time.monotonic() - began)


def steady(run: Live, rate: float, seconds: float) -> dict[str, Any]:
    """Produce at a steady rate and return figures of the second half, by when the effort has settled."""
    run.traffic.flow(rate, seconds / 2)
    began, before = time.time(), run.stages()
    run.traffic.flow(rate, seconds / 2)
    effort, stages = run.effort, run.stages()
    stages.subtract(before)
    run.traffic.drain()
    milliseconds, ticks = run.traffic.seen.percentiles(began), stages.pop("ticks")
    return {
        "events_per_second": round(rate),
        "effort": effort,
        **{f"p{p}_ms": round(value, 1) for p, value in milliseconds.items()},
        "tick_ms": {stage: round(1000 * seconds / ticks, 1) for stage, seconds in stages.items()},
    }


def burst(run: Live, rate: float, seconds: float) -> dict[str, Any]:
    """Produce a burst and return the lag, the age of the freshest list and the effort of each second."""
    began, seen = time.monotonic(), run.traffic.seen
    track: list[dict[str, float]] = []

    def note() -> None:
        track.append(
            {
                "second": round(time.monotonic() - began),
                "unread": seen.unread,
                "freshest_age": round(time.time() - seen.newest, 2),
                "effort": run.effort,
            }
        )
        if len(track) % 5 == 1:
            print(" ".join(f"{name} {value:,}" for name, value in track[-1].items()), flush=True)

    before, before_covered = seen.produced, seen.covered
    run.traffic.flow(rate, seconds, note)
    produced, covered = seen.produced - before, seen.covered - before_covered
    run.traffic.drain(note)
    lasted = time.monotonic() - began
    run.traffic.read_while(lambda: time.monotonic() - began < lasted + 2)  # for lists that should not come
    return {
        "events_per_second": round(produced / seconds),
        "seconds": seconds,
        "events": produced,
        "throughput": round(covered / seconds),
        "lag_zero_after_seconds": round(lasted, 1),
        "counted_twice": seen.too_many,
        "most_freshest_age": max(point["freshest_age"] for point in track),
        "track": track,
    }


@click.command()
@click.option("--users", default=100_000, show_default=True, help="Of each event one of so many, drawn at random.")
@click.option("--backlog", default=90_000, show_default=True, help="Events to catch up with.")
@click.option("--steady-seconds", default=30.0, show_default=True)
@click.option("--burst-seconds", default=60.0, show_default=True)
def main(users: int, backlog: int, steady_seconds: float, burst_seconds: float) -> None:
    """Print the figures. End with 1 below a bar."""
    with KafkaCluster() as kafka, RedisService() as redis, tempfile.TemporaryDirectory() as folder:
        with live(kafka, redis, Path(folder), users, backlog // 4, EFFORT__MOST_THINNING="1") as run:
            full = catch_up(run)
            print(f"catching up at full effort: {full:,.0f} events/s", flush=True)
            calm = steady(run, full / 2, steady_seconds)
            print(f"half of that: {calm}", flush=True)
        with live(kafka, redis, Path(folder), users, backlog, EFFORT__LEARN_BACKLOG="0") as run:
            most = catch_up(run)
            print(f"catching up, with the effort that follows the lag: {most:,.0f} events/s", flush=True)
            flood = burst(run, 10 * full, burst_seconds)
            print({name: value for name, value in flood.items() if name != "track"}, flush=True)
            half = steady(run, flood["throughput"] / 2, steady_seconds)
            print(f"half of that throughput: {half}", flush=True)
    result = {
        **machine(),
        "kafka": KAFKA_VERSION,
        "users": users,
        "full_effort_events_per_second": round(full),
        "catching_up_events_per_second": round(most),
        "half_of_full_effort": calm,
        "burst": flood,
        "half_of_throughput": half,
    }
    save("live", result)
    slow = [f"p{p} {half[f'p{p}_ms']} ms, at most {ms:g}" for p, ms in _MOST_MS.items() if half[f"p{p}_ms"] > ms]
    wrong = [f"{flood['counted_twice']} events counted twice"] if flood["counted_twice"] else []
    print("\n".join(slow + wrong) or "all as it must be")
    raise SystemExit(bool(slow + wrong))


if __name__ == "__main__":
    main()
