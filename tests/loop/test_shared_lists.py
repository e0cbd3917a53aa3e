"""What goes with an item, and what is popular: when a list goes out again, who publishes it, and what never stands in
one."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import orjson
import pytest

from stream_worker.assembly import make_line
from stream_worker.backends.in_memory import InMemoryTopic
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.core.codec import encode_event
from stream_worker.core.events import Outputs, SharedList
from stream_worker.core.mapping.config import EventsConfig
from tests.support.worker_world import SETTINGS, Run, World

_KAFKA = KafkaConfig(similar_topic="similar", popular_topic="popular")
_SETTINGS = replace(SETTINGS, kafka=_KAFKA, events=EventsConfig(category="category"))
_PARTITIONS = 2


def _world(partitions: int = 1) -> World:
    return World(partitions=partitions, settings=_SETTINGS)


def _shop(world: World, events: int, *, step: float = 30.0, first: int = 0) -> None:
    """Five users who look at items of three kinds, every `step` seconds of event time."""
    for k in range(first, first + events):
        user, kind = f"u{k % 5}", k % 3
        item = f"i{kind}{(k * 2_654_435_761 >> 9) % 4}"
        value = encode_event(user, item, "view", 1_700_000_000 + k * step, category=f"kind {kind}")
        world.topic.append(user.encode(), value, 1_700_000_000_000, k % len(world.topic.partitions))


def _all(outputs: Outputs) -> list[SharedList]:
    return outputs.similar + outputs.popular


def _by_key(lists: Iterable[SharedList]) -> dict[str, list[SharedList]]:
    found: dict[str, list[SharedList]] = defaultdict(list)
    for one in lists:
        found[one.key].append(one)
    return found


def _through(world: World, **more: object) -> Run:
    run = world.worker(**more)  # type: ignore[arg-type]
    run.to_the_end()
    return run


def test_they_are_made_from_what_happened_together() -> None:
    world = _world()
    _shop(world, 600)
    _through(world)
    similar, popular = _by_key(world.topic.outputs.similar), _by_key(world.topic.outputs.popular)
    assert similar.keys() == {f"i{kind}{n}" for kind in range(3) for n in range(4)}
    assert popular.keys() == {"", "kind 0", "kind 1", "kind 2"}
    for key, lists in similar.items():
        assert key not in lists[-1].items
        assert list(lists[-1].scores) == sorted(lists[-1].scores, reverse=True)
    for kind in range(3):
        assert set(popular[f"kind {kind}"][-1].items) == {f"i{kind}{n}" for n in range(4)}
    assert len(popular[""][-1].items) == 12


def test_without_their_topics_none_are_made() -> None:
    world = World(settings=replace(_SETTINGS, kafka=KafkaConfig()))
    _shop(world, 100)
    _through(world)
    assert not _all(world.topic.outputs)


def test_each_stands_beside_the_users_list_that_it_names() -> None:
    """In the same transaction: the list of the newest event that it knows, of the same line and step."""
    world = _world()
    _shop(world, 400)
    run = _through(world)
    made = 0
    for outputs in run.sink.transactions:
        beside = {(r.partition, r.next_offset, r.line, r.step) for r in outputs.recommendations}
        for one in _all(outputs):
            assert (one.partition, one.next_offset, one.line, one.step) in beside
            made += 1
    assert made > 20


def test_they_are_at_most_a_tenth_of_what_is_published() -> None:
    """Of each tick, or one where a tenth is less than one; and of all of them."""
    world = _world()
    _shop(world, 500)
    run = _through(world)
    events = 0
    for outputs in run.sink.transactions:
        own = sum(r.events for r in outputs.recommendations)
        events += own
        assert len(_all(outputs)) <= max(1, own // 10)
    assert 0 < len(_all(world.topic.outputs)) <= events / 10


def test_a_list_goes_out_again_only_with_other_items_and_after_a_minute() -> None:
    world = _world()
    _shop(world, 900, step=7.0)
    _through(world)
    for by_topic in (world.topic.outputs.similar, world.topic.outputs.popular):
        again = 0
        for lists in _by_key(by_topic).values():
            for before, after in pairwise(lists):
                assert after.items[:10] != before.items[:10]
                assert after.ts - before.ts >= 60.0
                again += 1
        assert again > 3


def test_one_worker_alone_publishes_a_list() -> None:
    """The owner of the partition that the key's checksum names, as long as it owns it; each of two has some."""
    world = _world(_PARTITIONS)
    runs = [world.worker("a"), world.worker("b")]
    _shop(world, 900)
    for _ in range(200):
        for run in runs:
            run.tick()
    owned = [set(run.worker._offsets.owned()) for run in runs]
    assert owned[0] | owned[1] == {0, 1}
    for run, own in zip(runs, owned, strict=True):
        late = [one for outputs in run.sink.transactions[3:] for one in _all(outputs)]
        assert late
        assert {one.home for one in late} <= own
        assert all(one.home == zlib.crc32(one.key.encode()) % _PARTITIONS for one in late)
    for run in runs:
        run.finish()


def test_after_a_kill_a_list_that_is_looked_at_goes_out_again() -> None:
    """Nothing is kept of what was published: a repeated list mends one that got lost."""
    world = _world()
    _shop(world, 600)
    _through(world)
    before = len(world.topic.outputs.similar)
    world.topic.ended = False
    _shop(world, 400, first=600)
    _through(world)
    later = {one.key for one in world.topic.outputs.similar[before:]}
    assert later == {f"i{kind}{n}" for kind in range(3) for n in range(4)}


def _hide(world: World, item: str) -> None:
    assert world.items is not None
    world.items.append(item.encode(), orjson.dumps({"item": item, "available": False}), 1_700_000_000_000)


@pytest.fixture
def described() -> World:
    world = _world()
    world.items = InMemoryTopic(name="items")
    return world


def test_what_becomes_hidden_leaves_the_popular_lists_at_once(described: World) -> None:
    """In the first transaction after the change was read, though a minute has not passed; the lists of its neighbours
    within a few, though nobody touches them; and it comes into none again."""
    world = described
    _shop(world, 600)
    run = world.worker(line=make_line(_SETTINGS, "line", described=True))
    run.tick(80)
    assert any("i00" in one.items for one in world.topic.outputs.popular)
    newest = {key: lists[-1] for key, lists in _by_key(world.topic.outputs.similar).items()}
    assert sum("i00" in one.items for one in newest.values()) > 3
    _hide(world, "i00")
    run.tick()  # which reads the change, and has no event
    before = len(run.sink.transactions)
    for k in range(40):  # of an item whose list never held the hidden one
        value = encode_event("u9", "alone", "view", 1_700_018_000 + k, category="kind 1")
        world.topic.append(b"u9", value, 1_700_000_000_000, 0)
    run.tick(10)
    first, *_ = run.sink.transactions[before:]
    assert {one.key for one in first.popular} >= {"", "kind 0"}
    after = [one for outputs in run.sink.transactions[before:] for one in _all(outputs)]
    assert not any("i00" in one.items for one in after)
    newest |= {one.key: one for outputs in run.sink.transactions[before:] for one in outputs.similar}
    left = [key for key, one in newest.items() if "i00" in one.items]
    assert len(left) <= 8, left
    world.topic.ended = True
    run.to_the_end()


def test_names_of_categories_outlive_a_restart(described: World) -> None:
    """Those that only items tell: they are read no more, since the checkpoint knows their items."""
    world = described
    for n in range(4):
        value = orjson.dumps({"item": f"i0{n}", "category": "told"})
        assert world.items is not None
        world.items.append(f"i0{n}".encode(), value, 1_700_000_000_000)
    world.settings = replace(_SETTINGS, events=EventsConfig())
    _shop(world, 200)
    line = make_line(world.settings, "first", described=True)
    _through(world, line=line)
    assert {one.key for one in world.topic.outputs.popular} == {"", "told"}
    before = len(world.topic.outputs.popular)
    world.topic.ended = False
    _shop(world, 200, first=200)
    _through(world, line=make_line(world.settings, "second", described=True))
    assert {one.key for one in world.topic.outputs.popular[before:]} == {"", "told"}
