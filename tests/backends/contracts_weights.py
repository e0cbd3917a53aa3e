"""What every topic of weights promises, as a suite that the twin and the real Kafka pass.

A suite class gets a fixture `place`: one topic, which several slots write and read.
"""

from __future__ import annotations

import time
from typing import Protocol

import pytest

from stream_worker.core.interfaces import WeightsTopic
from stream_worker.core.weights_codec import MOST_BYTES

PATIENCE_SECONDS = 30.0


class Place(Protocol):
    def of(self, slot: str) -> WeightsTopic: ...


def heard(reader: WeightsTopic, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """Poll until so many records have come."""
    found: list[tuple[bytes | None, bytes | None]] = []
    end = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count and time.monotonic() < end:
        found += [(record.key, record.value) for record in reader.poll(10)]
        time.sleep(0.02)
    return found


def _ready(place: Place, *slots: str) -> list[WeightsTopic]:
    """Begun readers, each of which has heard something: only then has it surely found the end of the topic."""
    topics = [place.of(slot) for slot in slots]
    for topic in topics:
        topic.begin()
    end = time.monotonic() + PATIENCE_SECONDS
    for topic in topics:
        while not topic.poll(100):
            topics[0].write([b"ready?"])
            time.sleep(0.1)
            assert time.monotonic() < end, topic.trouble()
    time.sleep(0.5)
    for topic in topics:
        while topic.poll(100):
            time.sleep(0.05)
    return topics


class WeightsTopicContract:
    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    def test_what_one_slot_writes_all_read_in_its_order_under_its_name(self, place: Place) -> None:
        one, other = _ready(place, "one", "two")
        values = [b"%d" % number for number in range(25)]
        assert one.write(values)
        assert heard(other, 25) == [(b"one", value) for value in values]
        assert heard(one, 25) == [(b"one", value) for value in values]

    def test_records_as_large_as_a_part_are_taken(self, place: Place) -> None:
        one, other = _ready(place, "one", "two")
        assert other.write([b"x" * MOST_BYTES, b"y" * MOST_BYTES])
        assert [value[:1] for _, value in heard(one, 2) if value] == [b"x", b"y"]

    def test_a_reader_begins_at_the_end(self, place: Place) -> None:
        (one,) = _ready(place, "one")
        assert one.write([b"before"])
        assert heard(one, 1) == [(b"one", b"before")]
        (late,) = _ready(place, "late")
        assert one.write([b"after"])
        assert heard(late, 1) == [(b"one", b"after")]
        assert not late.trouble()

    def test_a_poll_never_waits(self, place: Place) -> None:
        (one,) = _ready(place, "one")
        start = time.monotonic()
        for _ in range(10):
            assert one.poll(10) == []
        assert time.monotonic() - start < 5.0
