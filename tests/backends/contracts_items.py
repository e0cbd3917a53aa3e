"""What every source of items promises, as suites that the twin, the real Kafka and files of items pass.

A suite class gets a fixture `shelf` (see `Shelf`): one place where items are told of.
"""

from __future__ import annotations

import time
from typing import Protocol

import pytest

from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import ItemSource

PATIENCE_SECONDS = 30.0


class Shelf(Protocol):
    def tell(self, *values: bytes) -> None: ...

    def source(self) -> ItemSource: ...

    def other(self) -> ItemSource:
        """A source of the same name, of something else: a topic that was made again, another file."""
        ...


class Topic(Shelf, Protocol):
    """A topic of two partitions, which can be told of while it is read."""

    def delete(self, key: bytes) -> None:
        """Write a null value."""
        ...

    def tell_in(self, partition: int, *values: bytes) -> None: ...

    def open_transaction(self, value: bytes) -> None:
        """Write a record that is not committed, and never will be."""
        ...

    def grow(self, partitions: int) -> None: ...

    def trim(self, partition: int, before: int) -> None:
        """Remove the records before an offset."""
        ...

    def go_away(self, source: ItemSource) -> None: ...

    def make_again(self) -> None: ...


def item(number: int) -> bytes:
    return b'{"item":"p%d"}' % number


def values_of_due(source: ItemSource, at_once: int = 100) -> list[bytes | None]:
    """Poll until nothing is due."""
    found, end = [], time.monotonic() + PATIENCE_SECONDS
    while source.due():
        found += [record.value for record in source.poll(at_once, 0.1)]
        assert time.monotonic() < end, f"{source.due()} records do not come"
    return found


def read(source: ItemSource, state: dict[str, object] | None = None) -> list[bytes | None]:
    """Begin, and read all that is there."""
    source.begin(state or {})
    source.demand()
    return values_of_due(source)


class ItemSourceContract:
    def test_all_is_read_from_the_beginning(self, shelf: Shelf) -> None:
        shelf.tell(*map(item, range(10)))
        source = shelf.source()
        assert sorted(read(source)) == sorted(map(item, range(10)))  # type: ignore[type-var]
        assert source.due() == source.lag() == 0
        assert source.poll(10, 0.0) == []
        assert source.trouble() == ""

    def test_records_are_read_on_from_a_state_and_none_is_read_twice(self, shelf: Shelf) -> None:
        shelf.tell(*map(item, range(10)))
        before = shelf.source()
        before.begin({})
        before.demand()
        first: list[bytes | None] = []
        while len(first) < 4:
            first += [record.value for record in before.poll(2, 0.1)]
        state, after = before.state_dict(), shelf.source()
        rest = read(after, state)
        assert len(first) == 4
        assert sorted(first + rest) == sorted(map(item, range(10)))  # type: ignore[type-var]
        assert after.begun_anew == 0

    def test_beginning_again_reads_again(self, shelf: Shelf) -> None:
        shelf.tell(*map(item, range(3)))
        source = shelf.source()
        assert read(source) == read(source)
        assert source.begun_anew == 0

    def test_the_state_of_another_source_means_nothing(self, shelf: Shelf) -> None:
        shelf.tell(*map(item, range(3)))
        before = shelf.source()
        read(before)
        after = shelf.other()
        found = read(after, before.state_dict())
        assert after.begun_anew == 1
        assert found == [item(7)]

    def test_nothing_told_is_nothing_due(self, shelf: Shelf) -> None:
        assert read(shelf.source()) == []


class ItemTopicContract(ItemSourceContract):
    def test_what_comes_later_is_read_when_it_comes(self, shelf: Topic) -> None:
        source = shelf.source()
        read(source)
        shelf.tell_in(1, item(1), item(2))
        assert source.due() == 0, "nobody waits for it"
        found: list[tuple[bytes | None, int, int]] = []
        end = time.monotonic() + PATIENCE_SECONDS
        while len(found) < 2:
            found += [(record.value, record.partition, record.offset) for record in source.poll(100, 0.05)]
            assert time.monotonic() < end
        assert found == [(item(1), 1, 0), (item(2), 1, 1)]

    def test_what_was_written_before_a_demand_is_due(self, shelf: Topic) -> None:
        source = shelf.source()
        read(source)
        shelf.tell_in(0, item(1))
        source.demand()
        assert source.due() == 1
        assert values_of_due(source) == [item(1)]

    def test_a_null_value_comes_with_its_key(self, shelf: Topic) -> None:
        shelf.delete(b"p1")
        source = shelf.source()
        source.begin({})
        source.demand()
        [record] = source.poll(10, 5.0)
        assert (record.key, record.value) == (b"p1", None)

    def test_what_is_not_committed_keeps_nobody_waiting(self, shelf: Topic) -> None:
        shelf.tell_in(0, item(1))
        source = shelf.source()
        assert read(source) == [item(1)]
        shelf.open_transaction(item(2))
        source.demand()
        assert values_of_due(source) == []
        assert read(shelf.source()) == [item(1)]

    def test_partitions_that_are_added_are_read_from_their_beginning(self, shelf: Topic) -> None:
        shelf.tell_in(0, item(1))
        source = shelf.source()
        read(source)
        shelf.grow(4)
        shelf.tell_in(3, item(2))
        source.demand()
        assert values_of_due(source) == [item(2)]

    def test_a_topic_that_is_made_again_is_read_anew(self, shelf: Topic) -> None:
        shelf.tell_in(0, item(1), item(2))
        source = shelf.source()
        read(source)
        shelf.make_again()
        shelf.tell_in(0, item(3))
        source.demand()
        assert values_of_due(source) == [item(3)]
        assert source.begun_anew == 1
        assert source.state_dict()["offsets"]["0"] == 1

    def test_records_that_retention_removed_are_passed(self, shelf: Topic) -> None:
        shelf.tell_in(0, *map(item, range(4)))
        before = shelf.source()
        before.begin({})
        before.demand()
        while before.state_dict()["offsets"].get("0", 0) < 1:
            before.poll(1, 0.1)
        shelf.trim(0, 3)
        assert read(shelf.source(), before.state_dict()) == [item(3)]

    def test_a_topic_that_is_away_can_not_be_demanded(self, shelf: Topic) -> None:
        shelf.tell_in(0, item(1))
        source = shelf.source()
        read(source)
        shelf.go_away(source)
        with pytest.raises(Unavailable):
            source.demand()
        assert source.poll(10, 0.05) == []
        assert source.trouble()
