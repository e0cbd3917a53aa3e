"""Events that come again, by their ids: they count in lists, and change nothing else, whatever dies where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pytest
from structlog.testing import capture_logs

from model.recent_ids import KEPT_IDS
from stream_worker.assembly import memory_layout
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import TransactionAborted, Unavailable
from stream_worker.core.interfaces import MemoryStore
from stream_worker.core.mapping.config import EventsConfig
from tests.support.worker_world import BATCH, MODEL, SETTINGS, Durable, Redis, Run, Traps, Twin, World, run_into

WITH_IDS = replace(SETTINGS, events=EventsConfig(id="id"))
STEPS = ("transaction", "Y", "L", "records", "M")


def make_world(kind: str = "durable", redis_url: str = "", partitions: int = 2) -> World:
    kinds = {"twin": Twin, "durable": Durable, "redis": Redis}
    return World(kinds[kind], partitions, redis_url, uuid4().hex, WITH_IDS)


@dataclass
class Expected:
    """What the memories should be: one event after another, with a list of ids a user."""

    rings: dict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    ids: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    next_offset: dict[tuple[str, int], int] = field(default_factory=dict)
    fresh: int = 0
    duplicates: int = 0

    @staticmethod
    def of(world: World) -> Expected:
        expected, decoder = Expected(), Decoder(world.settings.events)
        for records in world.topic.partitions:
            events, _ = decoder.decode(records)
            for place, user in enumerate(events.users):
                key = (user, int(events.partition_B[place]))
                expected._take(key, events.items[place], int(events.id_B[place]), int(events.offset_B[place]))
        return expected

    def _take(self, key: tuple[str, int], item: str, code: int, offset: int) -> None:
        if code and code in self.ids[key]:
            self.duplicates += 1
            return
        self.fresh += 1
        self.rings[key].append(item)
        self.ids[key] = [*self.ids[key], *([code] if code else [])][-KEPT_IDS:]
        self.next_offset[key] = offset + 1

    def check(self, store: MemoryStore) -> None:
        found = {}
        for partition, user, blob in store.scan():
            record = memory_layout(WITH_IDS).decode([blob])[0]
            ring = store.item_ids([int(number) for number in record["number"] if number])
            ids = [int(code) for code in record["ids"] if code]
            found[user, partition] = (int(record["events"]), int(record["next_offset"]), ring, ids)
        assert found == {
            key: (len(items), self.next_offset[key], items[-MODEL.ring_size :], self.ids[key])
            for key, items in self.rings.items()
        }


def send(world: World, user: str, item: str, code: str | None, partition: int = 0, second: int | None = None) -> None:
    world.send(user, item, partition, id=code)
    if second is not None:
        record = world.topic.partitions[partition][-1]
        value = orjson.loads(record.value or b"") | {"ts": 1_700_000_000 + second}
        world.topic.partitions[partition][-1] = replace(record, value=orjson.dumps(value))


def send_many(world: World, events: int, seed: int = 0) -> None:
    """Of a few users, each event as it is, without an id, or again: soon, after a while, or after more than 64."""
    rng, sent = np.random.default_rng(seed), list[tuple[str, str, str, int]]()
    for k in range(events):
        if sent and rng.random() < 0.4:
            user, item, code, partition = sent[-1 - int(rng.integers(0, len(sent))) % int(rng.choice([2, 20, 500]))]
            send(world, user, item, code, partition)
            continue
        user, item, partition = f"u{rng.integers(0, 3)}", f"i{rng.integers(0, 13)}", int(rng.integers(0, 2))
        known = bool(rng.random() < 0.9)
        send(world, user, item, f"e{k}" if known else None, partition)
        if known:
            sent.append((user, item, f"e{k}", partition))
        if k % 17 == 4:
            world.send_bad(k % 2)


def state(run: Run) -> dict[str, Any]:
    """All that a line has learned and measured, and every user's memory but for n."""
    line = run.worker.line
    arrays = {f"learner.{name}": array for name, array in line.learner.state_dict()[0].items()}
    for name, part in line._measures().items():
        arrays |= {f"{name}.{key}": array for key, array in part.state_dict().items()}
    slots = line.learner.users.occupied()
    memories = line.learner.users.get(slots)
    keys = line.learner.users.keys_of(slots)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return arrays | {f"memory.{name}": column[order] for name, column in memories.items() if name != "next_offset"}


class TestOneTick:
    """Both ticks are of one batch, so that only the duplicates differ."""

    def run_of(self, rows: Sequence[tuple[str, str, str | None, int]]) -> tuple[World, Run]:
        world = make_world(partitions=1)
        for user, item, code, second in rows:
            send(world, user, item, code, second=second)
        run = world.worker()
        run.tick()
        return world, run

    def test_a_duplicate_changes_nothing_but_the_count_of_its_list(self) -> None:
        """Not the ring, the LSTM, counts, the catalogue's times, baselines or monitor; though it comes later, and with
        an item that nobody has."""
        fresh = [("a", "x", "1", 0), ("b", "y", "2", 1), ("a", "z", "3", 2), ("a", "y", None, 4)]
        again = [*fresh[:3], ("a", "x", "1", 900), ("a", "unheard of", "3", 901), ("a", "y", None, 4)]
        (_, first), (world, second) = self.run_of(fresh), self.run_of(again)
        expected, found = state(first), state(second)
        assert expected.keys() == found.keys()
        assert [name for name in found if not np.array_equal(expected[name], found[name], equal_nan=True)] == []
        lists = {made.user: made for made in world.topic.outputs.recommendations}
        assert {user: made.events for user, made in lists.items()} == {"a": 5, "b": 1}
        assert (lists["a"].next_offset, lists["a"].ts) == (6, 1_700_000_004)
        assert second.worker.status.consuming.duplicates == 2
        assert second.worker.status.consuming.events == 6
        first.close()
        second.close()

    def test_a_tick_of_duplicates_alone_makes_lists_and_nothing_to_write(self) -> None:
        world, run = self.run_of([("a", "x", "1", 0)])
        before = state(run)
        send(world, "a", "x", "1", second=50)
        send(world, "a", "x", "1", second=51)
        run.tick()
        assert [made.events for made in world.topic.outputs.recommendations] == [1, 2]
        assert all(np.array_equal(before[name], array, equal_nan=True) for name, array in state(run).items())
        assert world.topic.committed == {0: 3}
        world.check_contract_1()
        run.close()

    def test_the_first_one_is_said_and_all_are_counted(self) -> None:
        with capture_logs() as logs:
            _, run = self.run_of([("a", "x", "1", 0), ("a", "x", "1", 1), ("a", "y", "2", 2), ("a", "y", "2", 3)])
        said = [entry for entry in logs if "came before" in entry["event"]]
        assert [(entry["user"], entry["item"], entry["place"]) for entry in said] == [
            ("a", "x", "partition 0, offset 1")
        ]
        assert run.worker.status.consuming.duplicates == 2
        run.close()

    def test_what_waits_for_the_store_is_not_a_duplicate_of_itself(self) -> None:
        world = make_world()
        send_many(world, 40)
        failures: dict[str, list[Exception]] = {
            "load": [Unavailable("down")], "number_items": [Unavailable("down")] * 3, "Y": [TransactionAborted("no")],
        }  # fmt: skip
        run = world.worker(traps=Traps(failures=failures))
        run.to_the_end()
        world.check_contract_1()
        Expected.of(world).check(run.store)
        assert run.learned == Expected.of(world).fresh


class TestWithoutIds:
    def test_without_the_key_ids_are_not_read_and_records_are_as_they_were(self) -> None:
        world = World()
        for _ in range(3):
            world.send("a", "x", 0, id="1")
        run = world.worker()
        run.to_the_end()
        assert run.worker.status.consuming.duplicates == 0
        [(_, _, blob)] = run.store.scan()
        assert blob[0] == 1
        world.check_memories(run.store)

    def test_events_without_an_id_are_no_duplicates_and_make_the_same_records(self) -> None:
        blobs = []
        for world in (make_world(), World(group=uuid4().hex)):
            world.send_many(60)
            run = world.worker()
            run.to_the_end()
            assert run.worker.status.consuming.duplicates == 0
            blobs.append(sorted(run.store.scan()))
        assert blobs[0] == blobs[1]


class TestKilled:
    @pytest.mark.parametrize("kind", ["twin", "durable", pytest.param("redis", marks=pytest.mark.redis)])
    @pytest.mark.parametrize("step", ["load", "number_items", *STEPS])
    @pytest.mark.parametrize("count", [1, 2])
    def test_redone_every_event_is_judged_as_before(
        self, request: pytest.FixtureRequest, kind: str, step: str, count: int
    ) -> None:
        url = request.getfixturevalue("redis_url") if kind == "redis" else ""
        world = make_world(kind, url)
        send_many(world, 90, seed=count)
        assert run_into(world.worker(traps=Traps({step: count})))
        last = world.worker()
        last.to_the_end()
        expected = Expected.of(world)
        assert expected.duplicates > 10
        world.check_contract_1()
        expected.check(last.store)
        assert (last.learned, last.worker.status.takeovers.unlearned) == (expected.fresh, 0)
        if kind == "redis":
            world.shared.close()

    @pytest.mark.parametrize("kind", ["twin", "durable"])
    @pytest.mark.parametrize("seed", range(4))
    def test_again_and_again_it_comes_to_the_end(self, kind: str, seed: int) -> None:
        """With L ahead of n, n ahead of M, and lists of duplicates unpublished."""
        world, deaths = make_world(kind), 0
        send_many(world, 250, seed)
        while run_into(world.worker(traps=Traps({STEPS[deaths % len(STEPS)]: 2 + deaths % 3}))):
            deaths += 1
        assert deaths > 10
        expected = Expected.of(world)
        world.check_contract_1()
        last = world.worker()
        expected.check(last.store)
        assert last.learned == expected.fresh
        last.close()

    def test_a_new_owner_goes_on_with_the_ids_of_the_former_one(self) -> None:
        world = make_world()
        send_many(world, 60)
        one, other = world.worker("one"), world.worker("other")
        for run in (one, other, one, other):
            run.tick()
        world.topic.lose(one.source, other.source)
        one.close()
        other.to_the_end()
        world.check_contract_1()
        Expected.of(world).check(other.store)

    def test_a_store_that_was_wiped_is_filled_again_with_the_ids(self) -> None:
        world = make_world()
        send_many(world, 60)
        world.worker().to_the_end()
        world.shared = Durable(WITH_IDS.memory)
        send_many(world, 20, seed=1)
        last = world.worker()
        last.to_the_end()
        world.check_contract_1()
        Expected.of(world).check(last.store)

    def test_users_beyond_the_device_come_back_with_their_ids(self) -> None:
        world = make_world()
        for turn in range(2):
            for k in range(4 * BATCH * 2):
                send(world, f"u{k}", f"i{k % 7}", f"e{k}", k % 2, second=turn)
        run = world.worker()
        run.to_the_end()
        assert run.worker.status.memory.users_spilled > 0
        assert run.worker.status.consuming.duplicates == 4 * BATCH * 2
        Expected.of(world).check(run.store)


def test_a_program_without_the_key_reads_records_with_ids_and_the_other_way_round() -> None:
    world = make_world()
    send_many(world, 40)
    world.worker().to_the_end()
    for settings in (SETTINGS, WITH_IDS):
        world.settings, world.topic.ended = settings, False
        world.send("u0", "i1", 0, id="new")
        run = world.worker()
        run.to_the_end()
        assert run.worker.status.memory.unreadable_records == 0
        assert run.worker.status.consuming.duplicates == 0
    world.check_contract_1()
