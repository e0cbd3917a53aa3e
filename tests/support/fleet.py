"""Workers as processes on a real Kafka and Redis, and contract 1 checked from outside with plain confluent-kafka."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.support.services import free_port

_TRANSACTION_SECONDS = 60.0
Place = tuple[int, int]  # (partition, offset)
Event = tuple[str, bytes | None, int | None, bool]  # key, value, timestamp_ms, is valid


@dataclass
class Sent:
    """What was produced: (partition, offset) of every bad record, and of every user's valid events in order.

    A record of several events stands in `valid` once for each; one with bad elements in `bad`, too. `items` has what is
    to be remembered: no event whose id came before. `others`: records that are no events. `logins`: user -> (user,
    partition) of the record that names an id of theirs.
    """

    bad: set[Place] = field(default_factory=set)
    others: set[Place] = field(default_factory=set)
    logins: dict[str, tuple[str, int]] = field(default_factory=dict)
    valid: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    items: dict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    _last_ids: dict[str, str | None] = field(default_factory=dict)

    @property
    def events(self) -> int:
        return sum(map(len, self.valid.values()))

    @property
    def records(self) -> int:
        valid = {(partition, offset) for (_, partition), offsets in self.valid.items() for offset in offsets}
        return len(valid | self.bad | self.others)

    def ends(self) -> dict[int, int]:
        """The offset behind the last valid event of each partition that has any."""
        ends: dict[int, int] = defaultdict(int)
        for (_, partition), offsets in self.valid.items():
            ends[partition] = max([ends[partition], *(offset + 1 for offset in offsets)])
        return ends

    def note(self, key: str, message: Any, value: bytes | None) -> None:
        """A record is where `message` says: one event of contract 1, or a call of Segment."""
        place, document = (message.partition(), message.offset()), json.loads(value or b"")
        of_user = key, message.partition()
        if document.get("type") == "identify":
            self.logins[key] = of_user
        items = _items_of(document)
        good = [str(item) for item in items if item is not None]
        self.valid[of_user] += [message.offset()] * len(good)
        if not good:
            (self.bad if items else self.others).add(place)
        elif len(good) < len(items):
            self.bad.add(place)
        if not self._came_before(key, document.get("messageId")):
            self.items[of_user] += good

    def _came_before(self, key: str, message_id: str | None) -> bool:
        """Whether the id of a call is that of the user's call before; the scenes send nothing again later."""
        before = self._last_ids.get(key)
        self._last_ids[key] = message_id
        return message_id is not None and message_id == before

    def add(self, later: Sent) -> None:
        """What was produced after this."""
        self.bad |= later.bad
        self.others |= later.others
        self.logins |= later.logins
        for key, offsets in later.valid.items():
            self.valid[key] += offsets
            self.items[key] += later.items[key]


def _items_of(document: dict[str, Any]) -> list[Any]:
    """The items of a record, None for one that is missing."""
    if "item" in document:
        return [document["item"]]
    properties = document.get("properties", {})
    return [product.get("product_id") for product in properties.get("products", [properties] if properties else [])]


def produce(bootstrap: str, topic: str, records: Iterable[Event]) -> Sent:
    """Send (key, value, timestamp_ms, is valid) and note where each went."""
    sent, producer = Sent(), Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "enable.idempotence": True})

    def noted(key: str, value: bytes | None, valid: bool) -> Callable[[Any, Any], None]:
        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            if valid:
                sent.note(key, message, value)
            else:
                sent.bad.add((message.partition(), message.offset()))

        return delivered

    for key, value, timestamp_ms, valid in records:
        while True:
            try:
                extra: dict[str, Any] = {} if timestamp_ms is None else {"timestamp": timestamp_ms}
                producer.produce(topic, key=key, value=value, on_delivery=noted(key, value, valid), **extra)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(30) == 0
    return sent


def read_all(bootstrap: str, topic: str) -> Iterator[Any]:
    """Every committed message of a topic, as they come: there may be millions."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "auditor",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    _wait_for_transactions(bootstrap, topic, partitions, consumer)
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    ended: set[int] = set()
    try:
        while len(ended) < len(partitions):
            for message in consumer.consume(1000, 1.0):
                if message.error():
                    ended.add(cast(int, message.partition()))
                else:
                    yield message
    finally:
        consumer.close()


def _wait_for_transactions(bootstrap: str, topic: str, partitions: Iterable[int], committed_only: Consumer) -> None:
    """Until no transaction is open in the topic: what stands behind one of a killed process cannot be read until the
    coordinator has ended it, though the group may have gone on."""
    end = time.monotonic() + _TRANSACTION_SECONDS
    everything = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "auditor", "isolation.level": "read_uncommitted"}
    )
    try:
        for partition in partitions:
            place = TopicPartition(topic, partition)
            while True:
                stable, high = (_end_of(place, c, end) for c in (committed_only, everything))
                if stable >= high:
                    break
                assert time.monotonic() < end, f"{topic}/{partition}: a transaction stays open at {stable} of {high}"
                time.sleep(0.2)
    finally:
        everything.close()


def _end_of(place: TopicPartition, consumer: Consumer, deadline: float) -> int:
    """The offset after the last record. A topic that was just made may have no leader yet."""
    while True:
        try:
            return int(consumer.get_watermark_offsets(place, timeout=10)[1])
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def check_contract(bootstrap: str, output_topic: str, dead_letter_topic: str, sent: Sent) -> int:
    """The lists, as `check_lists` does. Dead letters: exactly the bad records, once. Returns the number of lists."""
    lists = check_lists(bootstrap, output_topic, sent.valid)
    dead: Counter[Place] = Counter()
    for message in read_all(bootstrap, dead_letter_topic):
        headers = {name: value.decode() for name, value in message.headers()}
        assert headers["error"]
        assert headers["reason"]
        dead[int(headers["partition"]), int(headers["offset"])] += 1
    assert dead == Counter(sent.bad)
    return lists


def check_lists(
    bootstrap: str, output_topic: str, valid: Mapping[tuple[str, int], Sequence[int]], topic_id: str = ""
) -> int:
    """Contract 1 at every list: per user and input partition `as_of` only grows, and the sum of `events` equals the
    number of the user's valid events up to it; at the end, all of them. Returns the number of lists. `topic_id`: of
    lists made of this topic alone."""
    counted: Counter[tuple[str, int]] = Counter()
    newest: dict[tuple[str, int], int] = {}
    # Reports of a broker that was away may come late.
    in_order = {user: sorted(offsets) for user, offsets in valid.items()}
    lists = 0
    for message in read_all(bootstrap, output_topic):
        value = json.loads(message.value())
        if topic_id and value["as_of"]["topic_id"] != topic_id:
            continue
        lists += 1
        user, place = (value["user"], value["as_of"]["partition"]), value["as_of"]["offset"]
        assert message.key().decode() == value["user"]
        assert place > newest.get(user, -1), (
            f"{user}: as_of went from {newest[user]} to {place}, {value['events']} events, at {_place_of(message)}"
        )
        newest[user] = place
        counted[user] += value["events"]
        upto = bisect_right(in_order.get(user, []), place)
        assert counted[user] == upto, f"{user}: {counted[user]} events in lists, {upto} in the log up to {place}"
        names = [entry["item"] for entry in value["items"]]
        assert len(set(names)) == len(names)
    expected = {user: len(offsets) for user, offsets in valid.items() if offsets}
    wrong = [user for user in expected.keys() | counted.keys() if expected.get(user) != counted.get(user)]
    assert not wrong, f"{len(wrong)} users, {wrong[0]}: expected {expected.get(wrong[0])}, got {counted[wrong[0]]}"
    return lists


def check_shared_lists(bootstrap: str, output_topic: str, shared: Mapping[str, str]) -> int:
    """No transaction is seen in half: beside every shared list stands a list of a user, for the same newest event, of
    the same line and step; and none comes twice. Returns the number of shared lists. `shared`: by topic, what the key
    is."""
    made = 0
    beside = {_made_at(json.loads(message.value())) for message in read_all(bootstrap, output_topic)}
    for topic, by in shared.items():
        seen: set[tuple[Any, ...]] = set()
        for message in read_all(bootstrap, topic):
            value, made = json.loads(message.value()), made + 1
            key, at = message.key().decode(), _made_at(value)
            assert value[by] == key
            assert at in beside, f"{topic} {key!r}: no list of a user stands beside it, made at {at}"
            assert (key, at) not in seen, f"{topic} {key!r}: it came twice, made at {at}"
            seen.add((key, at))
            names = [entry["item"] for entry in value["items"]]
            assert len({*names, *([key] if by == "item" else [])}) == len(names) + (by == "item")
    return made


def _made_at(value: dict[str, Any]) -> tuple[Any, ...]:
    """The newest event that a list knows, and the line and step that made it."""
    as_of, model = value["as_of"], value["model"]
    return as_of["partition"], as_of["offset"], as_of.get("topic_id"), model["line"], model["step"]


def _place_of(message: Any) -> str:
    return f"{message.partition()}/{message.offset()}, {message.timestamp()[1]}"


def committed(bootstrap: str, group: str, topic: str, partitions: int) -> int:
    """The sum of the group's committed offsets; -1 where there is none yet counts as 0, and so does a young broker
    that has no coordinator for the group yet."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        places = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=10)
    except KafkaException:
        return 0
    finally:
        consumer.close()
    return sum(max(0, place.offset) for place in places)


class Fleet:
    """Worker processes of one consumer group."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.program = [sys.executable, "-m", "stream_worker"]
        self._ports: dict[str, int] = {}
        self.environment = {f"STREAM_WORKER__{key}": value for key, value in environment.items()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, slot: str, **environment: str) -> None:
        """Start a worker, its metrics on a free port; `environment`: settings of this start alone."""
        settings = self._settings(slot, environment)
        with self.log_path(slot).open("ab") as log:
            self.processes[slot] = subprocess.Popen(
                [*self.program, "run"], env=os.environ | settings, cwd=self.folder, stdout=log, stderr=log
            )

    def _settings(self, slot: str, environment: Mapping[str, str]) -> dict[str, str]:
        """All that a start of the slot is told, its metrics' port among it."""
        own = {"WORKER__SLOT": slot, "METRICS__PORT": str(free_port()), **environment}
        self._ports[slot] = int(own["METRICS__PORT"])
        return self.environment | {f"STREAM_WORKER__{key}": value for key, value in own.items()}

    def signal(self, slot: str, how: signal.Signals) -> None:
        self.processes[slot].send_signal(how)

    def stands_still(self, slot: str) -> bool:
        """Whether it has been stopped (SIGSTOP), by the word of proc(5): `pid (name) state ...`."""
        status = Path(f"/proc/{self.processes[slot].pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"

    def kill(self, slot: str) -> None:
        self.signal(slot, signal.SIGKILL)
        self.processes.pop(slot).wait()

    def ended(self, slot: str, timeout: float = 60.0) -> int:
        """The exit code of a worker that ends by itself."""
        code = self.processes[slot].wait(timeout)
        del self.processes[slot]
        return code

    def metrics(self, slot: str) -> dict[str, float]:
        """What the worker's /metrics says now, by name with labels; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[slot]}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def stop(self, slot: str, timeout: float = 40.0) -> int:
        """SIGTERM; returns the exit code, and prints what the worker said last where it is not 0."""
        process = self.processes.pop(slot)
        process.send_signal(signal.SIGTERM)
        if code := process.wait(timeout):
            print(self.last_words(slot))
        return code

    def log(self, slot: str) -> str:
        """All that the worker's starts have logged, one JSON object a line."""
        path = self.log_path(slot)
        return path.read_text() if path.exists() else ""  # a forked worker opens it itself, a moment later

    def last_words(self, *slots: str) -> str:
        return "".join(f"--- {slot}\n{self.log(slot)[-2000:]}" for slot in slots)

    def log_path(self, slot: str) -> Path:
        return self.folder / f"worker-{slot}.log"

    def entries(self, slot: str) -> list[dict[str, Any]]:
        """The log lines of all starts of a worker, but for one that is being written; none before its first start."""
        lines = self.log(slot).splitlines() if self.log_path(slot).exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def command(self, *arguments: str) -> str:
        """The output of another command under the same settings."""
        environment = os.environ | self.environment
        result = subprocess.run(
            [*self.program, *arguments], env=environment, cwd=self.folder, capture_output=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout.decode()

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 120.0) -> None:
        """Raises TimeoutError, and AssertionError where a worker ends meanwhile."""
        deadline = time.monotonic() + timeout
        while not condition():
            for slot, process in self.processes.items():
                assert process.poll() is None, (
                    f"worker {slot} ended with {process.returncode}:\n{self.log(slot)[-3000:]}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout} s\n{self.last_words(*self.processes)}")
            time.sleep(0.2)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
