"""Records of several events: they take effect together, whatever dies, and however many do not fit into one piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from model.batch import NO_GAP, SESSION_ENDS
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import StaleToken, Unavailable
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.loop.pieces import cut
from tests.support.worker_world import (
    BATCH,
    MODEL,
    SETTINGS,
    Durable,
    Killed,
    Redis,
    Run,
    Traps,
    Twin,
    World,
    remembered,
)

# Orders: each line has an item, and may name another user.
_ORDERS = EventsConfig(user=(".user", "user"), item=".item", each="lines", most_each=64)


class Shop(World):
    """A world whose records are orders; some name several users."""

    def order(self, partition: int, pairs: Sequence[tuple[str, str]]) -> None:
        ts = 1_700_000_000 + sum(map(len, self.topic.partitions))
        lines = [{"user": user, "item": item} for user, item in pairs]
        value = orjson.dumps({"type": "view", "ts": ts, "lines": lines})
        self.topic.append(pairs[0][0].encode(), value, 1_700_000_000_000, partition)

    def send_orders(self, count: int, longest: int = 5) -> int:
        """Return the number of events."""
        sent = 0
        for k in range(count):
            size = 1 + k * 3 % longest
            self.order(k % 2, [(f"u{(k + (j % 3 == 2)) % 4}", f"i{(k * 5 + j) % 17}") for j in range(size)])
            sent += size
            if k % 9 == 4:
                self.send_bad(k % 2)
        return sent

    def worker(self, slot: str = "0", **more: Any) -> Run:
        return super().worker(slot, decoder=Decoder(_ORDERS), **more)

    def _events(self) -> dict[tuple[str, int], list[tuple[int, str]]]:
        found: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
        for partition, records in enumerate(self.topic.partitions):
            events, _ = Decoder(_ORDERS).decode(records)
            for offset, user, item in zip(events.offset_B.tolist(), events.users, events.items, strict=True):
                found[user, partition].append((offset, item))
        return found

    def valid(self) -> dict[tuple[str, int], list[int]]:
        return {key: [offset for offset, _ in events] for key, events in self._events().items()}

    def check_memories(self, store: Any) -> None:
        """Every record counts each of its user's events once, in order, and n is behind the last one."""
        assert remembered(store) == {
            key: (len(events), events[-1][0] + 1, [item for _, item in events][-MODEL.ring_size :])
            for key, events in self._events().items()
        }


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def world() -> World:
    return World()


def _checked(shop: Shop, last: Run, sent: int) -> None:
    shop.check_contract_1()
    shop.check_memories(last.store)
    assert (last.learned, last.worker.status.takeovers.unlearned) == (sent, 0)


def test_all_events_of_a_record_take_effect_together_in_one_list_a_user(shop: Shop) -> None:
    shop.order(0, [("u", "a"), ("u", "b"), ("v", "a"), ("u", "b")])
    run = shop.worker()
    run.tick()
    made = {made.user: (made.events, made.next_offset) for made in shop.topic.outputs.recommendations}
    assert made == {"u": (3, 1), "v": (1, 1)}
    assert run.worker.status.consuming.events == 4
    _checked(shop, run, 4)
    run.close()


def test_more_events_than_fit_are_worked_on_in_pieces_with_one_commit(shop: Shop) -> None:
    """One tick of eight records and forty events; the device holds no more than sixteen users."""
    for k in range(BATCH):
        shop.order(k % 2, [(f"u{k}-{j}", f"i{j}") for j in range(5)])
    run = shop.worker()
    run.tick()
    assert run.worker.status.consuming.batch_events == 40
    assert len(run.sink.transactions) == 1
    assert len(run.sink.transactions[0].recommendations) == 40
    assert run.worker.status.memory.users_spilled > 0
    _checked(shop, run, 40)
    run.close()


@pytest.mark.parametrize(("killed_at", "committed"), [("", [160, 160]), ("transaction", [160]), ("Y", [])])
def test_a_commit_is_bounded_by_events_though_a_poll_is_by_records(killed_at: str, committed: list[int]) -> None:
    """A poll of eight records and 320 events: a commit has those of sixteen batches (128), to the end of a record."""
    roomy = replace(SETTINGS, memory=MemoryConfig(device_users=128), model=replace(MODEL, max_items=128))
    shop = Shop(settings=roomy)
    for k in range(BATCH):
        shop.order(k % 2, [(f"u{j}", f"i{j}") for j in range(40)])
    if killed_at:
        with pytest.raises(Killed):
            shop.worker(traps=Traps({killed_at: 2})).tick()
    last = shop.worker()
    last.tick()
    sums = [sum(made.events for made in one.recommendations) for one in last.sink.transactions]
    assert list(filter(None, sums)) == committed
    _checked(shop, last, 320)
    last.close()


@pytest.mark.parametrize("config", [EventsConfig(), EventsConfig(each="lines")])
def test_a_record_of_more_events_than_the_tables_have_room_for_is_a_dead_letter(config: EventsConfig) -> None:
    """An array needs no `each`, and no key bounds its length below the default of `most_each`."""
    world = World(partitions=1)
    for count in (BATCH, BATCH + 1):
        views = [{"type": "view", "user": f"u{k}", "item": f"i{k}", "ts": 1_700_000_000} for k in range(count)]
        world.topic.append(b"u", orjson.dumps(views), 1_700_000_000_000, 0)
    run = world.worker(decoder=Decoder(config))
    run.to_the_end()
    assert len(remembered(run.store)) == run.worker.status.consuming.events == BATCH
    [letter] = world.topic.outputs.dead_letters
    assert letter.reason == f"expected at most {BATCH} elements, got {BATCH + 1}"


@pytest.mark.parametrize("kind", [Twin, Durable])
@pytest.mark.parametrize("step", ["transaction", "Y", "L", "records", "M", "load", "number_items"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_killed_at_any_step_every_event_of_every_record_counts_once(kind: type[Any], step: str, count: int) -> None:
    shop = Shop(kind)
    sent = shop.send_orders(40)
    with pytest.raises(Killed):
        shop.worker(traps=Traps({step: count})).to_the_end()
    last = shop.worker()
    last.to_the_end()
    _checked(shop, last, sent)


@pytest.mark.redis
@pytest.mark.parametrize("step", ["Y", "records"])
def test_with_a_real_redis_too(redis_url: str, step: str) -> None:
    shop = Shop(Redis, url=redis_url, group=uuid4().hex)
    sent = shop.send_orders(40)
    with pytest.raises(Killed):
        shop.worker(traps=Traps({step: 2})).to_the_end()
    last = shop.worker()
    last.to_the_end()
    _checked(shop, last, sent)
    shop.shared.close()


def test_what_is_ignored_or_keyed_by_another_is_counted_once_though_it_is_decoded_again(shop: Shop) -> None:
    """A decoder that asks a service may have to begin a batch again."""
    shop.order(0, [("u", "a")])
    shop.topic.append(b"someone else", b'{"lines": []}', 1_700_000_000_000, 0)
    shop.topic.append(b"someone else", b'{"user": "v", "type": "view", "ts": 1.7e9, "item": "a"}', 1_700_000_000_000, 0)
    run = shop.worker()
    decode, calls = run.worker._decoding.decoder.decode, []

    def again(*args: Any) -> Any:
        calls.append(decode(*args))
        if len(calls) == 1:
            raise Unavailable("the registry is away")
        return calls[-1]

    run.worker._decoding.decoder.decode = again  # type: ignore[assignment, method-assign]
    run.tick()
    assert len(calls) == 2
    assert sum(run.worker._decoding.decoder.ignored.values()) == 1
    run.close()


@pytest.mark.parametrize("before", range(1, 5))
def test_a_store_that_is_away_between_two_pieces_is_waited_for(shop: Shop, before: int) -> None:
    """What the pieces before did is done, and not done again."""
    sent = shop.send_orders(40)
    run = shop.worker()
    recall, calls = run.store.load, []

    def load(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == before:
            raise Unavailable("down")
        return recall(*args)

    run.store.load = load
    run.to_the_end()
    assert len(calls) > before
    _checked(shop, run, sent)


def test_a_stop_while_the_store_is_away_between_two_pieces_keeps_what_was_done(shop: Shop) -> None:
    """The pieces before are published; the next start goes on behind them."""
    sent = shop.send_orders(40)
    run = shop.worker()
    recall, calls = run.store.load, []

    def load(*args: Any) -> Any:
        calls.append(args)
        if len(calls) > 1:
            run.worker.request_stop()
            raise Unavailable("down")
        return recall(*args)

    run.store.load = load
    run.tick()
    run.store.load = recall
    run.finish()
    done = sum(made.events for made in shop.topic.outputs.recommendations)
    assert 0 < done < sent
    last = shop.worker()
    last.to_the_end()
    _checked(shop, last, sent)


def test_a_partition_that_is_lost_between_two_pieces_takes_its_outputs_along(shop: Shop) -> None:
    """Another worker owns it by then; of the other partition everything is done."""
    shop.send_orders(40)
    run = shop.worker()
    recall, calls = run.store.load, []

    def load(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise StaleToken(0, 1, 2)
        return recall(*args)

    run.store.load = load
    run.to_the_end()
    shop.check_contract_1()
    shop.check_memories(run.store)


def test_another_session_begins_where_the_time_between_two_events_would_not(world: World) -> None:
    """Of flat events, by `[events] session`. It is in the memory record: a restart in between changes nothing."""
    for session in ("s1", "s1"):
        world.send("u", "a", 0, session=session)
    run = world.worker()
    run.tick()
    run.finish()
    for later in ({"session": "s1"}, {"session": "s2"}, {}, {"session": "s2"}):
        world.send("u", "b", 0, **later)
    last = world.worker()
    last.to_the_end()
    [(_, _, blob)] = last.store.scan()
    gaps = MemoryFormat(MODEL.ring_size, MODEL.dim).decode([blob])["gap"][0]
    assert gaps[-6:].tolist() == [NO_GAP, 1, 1, SESSION_ENDS, 1, 1]


def test_flat_records_are_one_piece(world: World) -> None:
    """As many as a tick can take: the worker's path is the one that it always had."""
    world.send_many(300)
    run = world.worker()
    run.tick()
    whole, rest = run.worker._decode(world.topic.partitions[0][:BATCH])
    assert not rest
    assert len(whole.events) > 0
    assert next(iter(cut(whole, run.worker._most_events))) is whole
    run.close()
