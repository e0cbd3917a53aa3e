"""What is told of items is taken in before lists are made: at a start, at a takeover, and tick by tick."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from stream_worker.assembly import make_line
from stream_worker.backends.in_memory import InMemoryTopic
from stream_worker.core.errors import Unavailable
from stream_worker.core.item_changes import ItemChanges
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.item_rules import ItemRules
from stream_worker.loop.line import Line
from tests.support.worker_world import SETTINGS, Run, World


class DescribedLine(Line):
    """A line that notes what it is told of items, and what it knew when it made a list.

    `told` is the price of each item that is not gone, a part of its snapshots.
    """

    told: dict[str, float]
    known_at_lists: list[dict[str, float]]

    def change_items(self, changes: ItemChanges) -> None:
        for item, gone, price in zip(changes.ids, changes.gone_M.tolist(), changes.price_M.tolist(), strict=True):
            self.told.pop(item, None)
            if not gone:
                self.told[item] = price

    def forget_items(self) -> None:
        self.told.clear()

    def recommend(self, *given: Any) -> Any:
        self.known_at_lists.append(dict(self.told))
        return super().recommend(*given)

    def _measures(self) -> dict[str, Any]:
        return super()._measures() | {"told": _Part(self.told)}


class _Part:
    def __init__(self, told: dict[str, float]) -> None:
        self.told = told

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"ids": np.array(list(self.told), dtype="S8"), "price": np.array(list(self.told.values()))}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        self.told.clear()
        self.told |= {item.decode(): float(price) for item, price in zip(state["ids"], state["price"], strict=True)}


@pytest.fixture
def world() -> World:
    world = World()
    world.items = InMemoryTopic(2, "items")
    return world


def tell(world: World, item: str, price: float | None = 1.0) -> None:
    assert world.items is not None
    value = None if price is None else b'{"item":"%s","price":%f}' % (item.encode(), price)
    world.items.append(item.encode(), value, 1)


def asking(text: str, if_failed: bool = False) -> ItemDecoder:
    """Return a decoder whose rules ask this of each item."""
    return ItemDecoder(ItemsConfig(), rules=ItemRules({"lists.filter": text}, {}, (), {"lists.filter": if_failed}))


def start(world: World, **more: Any) -> tuple[Run, DescribedLine]:
    line = DescribedLine(**vars(make_line(SETTINGS, world.name_of_start("0"))))
    line.told, line.known_at_lists = {}, []
    return world.worker(line=line, **more), line


def test_all_items_are_known_before_the_first_list(world: World) -> None:
    for n in range(2_500):
        tell(world, f"i{n}", n)
    world.send_many(8)
    run, line = start(world)
    run.tick()
    assert len(line.known_at_lists[0]) == 2_500
    assert run.worker.status.items.changes == run.worker.status.items.records == 2_500
    assert run.worker.status.items.lag == 0
    run.to_the_end()
    world.check_contract_1()


def test_a_change_is_in_force_in_the_tick_that_reads_it(world: World) -> None:
    run, line = start(world)
    run.tick()
    tell(world, "i1", 5.0)
    world.send_many(2)
    run.tick()
    assert line.known_at_lists == [{"i1": 5.0}]
    tell(world, "i1", None)
    world.send_many(2)
    run.tick()
    assert line.known_at_lists[-1] == {}


def test_changes_are_taken_when_no_events_come(world: World) -> None:
    run, line = start(world)
    run.tick()
    tell(world, "i1")
    run.tick()
    assert line.told == {"i1": 1.0}


def test_events_are_served_while_more_is_told_than_a_tick_has_time_for(world: World) -> None:
    run, line = start(world)
    run.tick()
    for n in range(10_000):
        tell(world, f"i{n}")
    world.clock.monotonic = map(float, count()).__next__  # type: ignore[method-assign]  # every look takes a second
    world.send_many(8)
    run.tick()
    assert len(line.known_at_lists) == 1
    assert 0 < len(line.told) < 10_000
    assert run.worker.status.items.lag == 10_000 - len(line.told)
    for _ in range(12):
        run.tick()
    assert len(line.told) == 10_000


def test_a_takeover_reads_to_the_end_before_it_makes_lists(world: World) -> None:
    """Partitions that come later, while more is told than a tick has time for."""
    run, line = start(world)
    run.tick()
    for n in range(10_000):
        tell(world, f"i{n}")
    world.clock.monotonic = map(float, count()).__next__  # type: ignore[method-assign]
    world.topic.grow(3)
    world.send("u1", "i1", partition=2)
    run.tick()
    assert [len(known) for known in line.known_at_lists] == [10_000]


def test_a_restart_goes_on_where_the_checkpoint_ends(world: World) -> None:
    tell(world, "i1", 1.0)
    tell(world, "i2", 2.0)
    world.send_many(4)
    first, _ = start(world)
    first.tick(2)
    first.finish()
    tell(world, "i1", 3.0)
    again, line = start(world)
    assert line.told == {"i1": 3.0, "i2": 2.0}
    assert again.worker.status.items.records == 1, "only what is new is read"


def test_what_is_told_is_written_even_if_no_event_comes(world: World) -> None:
    first, _ = start(world)
    first.tick(2)
    tell(world, "i1")
    first.tick(2)
    first.close()  # without an end: as if it was killed
    again, line = start(world)
    assert line.told == {"i1": 1.0}
    assert again.worker.status.items.records == 0


def test_a_topic_that_is_made_again_replaces_all_that_was_told(world: World) -> None:
    assert world.items is not None
    tell(world, "i1")
    world.send_many(2)
    first, line = start(world)
    first.tick()
    world.items.make_again(2)
    tell(world, "i2")
    first.tick()
    assert line.told == {"i2": 1.0}
    first.finish()
    world.items.make_again(2)
    tell(world, "i3")
    _, line = start(world)
    assert line.told == {"i3": 1.0}


def test_a_start_waits_for_its_items(world: World) -> None:
    """`run` starts the worker again until the topic answers."""
    tell(world, "i1")
    world.send_many(2)
    first, _ = start(world)
    first.tick(2)
    first.finish()
    tell(world, "i2")
    run, line = start(world)
    assert run.items is not None
    run.items.away = "there is no topic of items"
    tell(world, "i3")
    with pytest.raises(Unavailable, match="there is no topic of items"):
        run.worker.start(run.checkpoints.load_newest())
    run.items.away = ""
    run.worker.start(run.checkpoints.load_newest())
    assert list(line.told) == ["i1", "i2", "i3"]


def test_a_request_to_leave_ends_the_reading_and_makes_no_list(world: World) -> None:
    run, line = start(world)
    run.tick()
    for n in range(5_000):
        tell(world, f"i{n}")
    world.send_many(4)
    world.topic.grow(3)
    run.worker.request_stop()
    run.tick()
    assert line.known_at_lists == []
    run.finish()
    again, _ = start(world)
    again.to_the_end()
    world.check_contract_1()


def test_what_can_not_be_read_is_counted_and_told_once_a_kind(world: World) -> None:
    assert world.items is not None
    for value in (b"nonsense", b"rubbish", b'{"item":"i1","price":"dear"}', b'{"item":"i2"}'):
        world.items.append(b"k", value, 1, 0)
    with capture_logs() as logs:
        run, line = start(world)
    assert list(line.told) == ["i1", "i2"]
    reading = run.worker.status.items
    assert (reading.records, reading.changes) == (4, 2)
    assert reading.unreadable.by_name() == {"NotJson": 2}
    assert reading.fields_dropped.by_name() == {"price": 1}
    said = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert said.count("what is told of an item can't be read") == 1
    assert said.count("an optional part of an item is left out") == 1


def test_a_registry_that_is_away_is_waited_for(world: World) -> None:
    """Nothing of the batch that could not be read is lost."""
    pauses: list[float] = []

    def documents(value: bytes) -> Any:
        if not pauses:
            raise Unavailable("the registry is away")
        return {"item": value[1:].decode(), "price": 1}

    decoder = ItemDecoder(ItemsConfig(), documents)
    run, line = start(world, item_decoder=decoder, pause=pauses.append)
    assert world.items is not None
    world.items.append(b"k", b"\0i1", 1, 0)
    world.send_many(2)
    run.tick()
    assert line.known_at_lists == [{"i1": 1.0}]


def test_without_an_items_topic_nothing_is_noted_in_a_checkpoint() -> None:
    world = World()
    world.send_many(2)
    run = world.worker()
    run.tick(2)
    snapshot = run.checkpoints.load_newest()
    assert snapshot is not None
    assert "items" not in snapshot.meta


def restarted(world: World, *decoders: ItemDecoder | None) -> tuple[list[int], list[str]]:
    """Return how many records each start reads that goes on from the one before, and what all say."""
    read = []
    with capture_logs() as logs:
        for decoder in decoders:
            run, line = start(world, item_decoder=decoder)
            assert line.told == {"i1": 1.0, "i2": 2.0}
            read.append(run.worker.status.items.records)
            world.send_many(2)
            run.tick(2)
            run.finish()
    return read, [entry["event"] for entry in logs if "rules about items" in entry["event"]]


def test_new_rules_are_asked_about_all_items_once(world: World) -> None:
    """Also after a checkpoint of a worker without rules, as every older one is; without rules nothing is read again."""
    tell(world, "i1", 1.0)
    tell(world, "i2", 2.0)
    cheap, dear = "item.price < 2", "item.price >= 2"
    read, said = restarted(
        world, None, asking(cheap), asking(cheap), asking(dear), asking(dear, if_failed=True), None, None
    )
    assert read == [2, 2, 0, 2, 2, 0, 0]
    assert said == ["the rules about items are new: what is told of items is read again from its beginning"] * 3


def test_what_rules_say_is_the_same_after_a_restart_and_after_all_was_read_again(world: World) -> None:
    for n in range(20):
        tell(world, f"i{n}", n % 4)
    tell(world, "i7", None)
    world.send_many(40)
    decoder = asking("item.price < 2")
    seen = []
    for rules in (decoder, decoder, asking("item.price >= 2")):
        line = make_line(SETTINGS, world.name_of_start("0"), described=True, rules=rules.rules)
        run = world.worker(line=line, item_decoder=rules)
        run.tick(3)
        content, catalog = line.learner.content, line.learner.catalog
        assert content is not None
        rows = catalog.live_rows()
        assert len(rows)
        seen.append(dict(zip(catalog.ids_of_rows(rows), content.holds_N[rows].tolist(), strict=True)))
        run.finish()
    expected = {item: int(item[1:]) % 4 < 2 and item != "i7" for item in seen[0] if int(item[1:]) < 20}
    assert expected.items() <= seen[0].items()
    assert seen[1] == seen[0]
    assert {item: not holds and item != "i7" for item, holds in expected.items()}.items() <= seen[2].items()
    assert sum(expected.values()) not in (0, len(expected))


def test_expressions_that_fail_are_counted_by_key_and_told_once(world: World) -> None:
    for n in range(3):
        tell(world, f"i{n}")
    with capture_logs() as logs:
        run, _ = start(world, item_decoder=asking('item.brand == "a"'))
    assert run.worker.status.items.rules_failed == {"lists.filter": 3}
    assert [
        (entry["key"], entry["reason"]) for entry in logs if entry["event"] == "an expression fails on an item"
    ] == [("lists.filter", 'Key not found in map : "brand"')]
