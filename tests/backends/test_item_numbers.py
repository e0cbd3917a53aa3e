"""The dictionary of item numbers in a real Redis: its generations, its end, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import redis

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.backends.redis.trial import Trial
from stream_worker.core.errors import ConfigurationError, Unavailable
from stream_worker.core.item_dictionary import LAST_NUMBER, numbers_kept_seconds
from tests.support.services import RedisService

pytestmark = pytest.mark.redis
_GROUPS = count()


class Shelf:
    """A dictionary of its own: `clients` are workers' stores, `pass_time` moves the time at which it turned."""

    def __init__(self, url: str, **config: Any) -> None:
        self.config = MemoryConfig(redis_url=url, **config)
        self.group = f"shelf-{next(_GROUPS)}:topic"
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self.kept = numbers_kept_seconds(self.config.expire_seconds)

    def client(self) -> RedisMemoryStore:
        return RedisMemoryStore(self.config, self.group)

    def key(self, name: str) -> str:
        return f"stream-worker:{{{self.group}:items}}:{name}"

    def pass_time(self, seconds: float) -> None:
        self.redis.decrby(self.key("turned"), math.ceil(seconds))

    def keys(self) -> set[str]:
        return {
            name for name in ("ids", "names", "ids:old", "names:old", "turned") if self.redis.exists(self.key(name))
        }


@pytest.fixture
def shelf(redis_url: str) -> Shelf:
    return Shelf(redis_url, expire_seconds=100.0, max_item_ids=1_500)


@pytest.fixture(scope="module")
def own_redis(redis_url: str) -> Iterator[RedisService]:
    """A server that may be filled; `redis_url` skips where there is no Redis."""
    with RedisService() as service:
        yield service


def test_an_id_that_nobody_asks_for_is_forgotten_and_comes_again_under_a_new_number(shelf: Shelf) -> None:
    one, other = shelf.client(), shelf.client()
    assert one.number_items(["a", "b", "c"]) == [1, 2, 3]
    shelf.pass_time(shelf.kept + 1)
    assert other.number_items(["a"]) == [1]
    assert other.item_ids([1, 2, 3]) == ["a", "b", "c"], "the old generation is still there"
    assert one.number_items(["c"]) == [3]
    shelf.pass_time(shelf.kept + 1)
    assert one.number_items(["a"]) == [1]
    assert one.item_ids([1, 2, 3]) == ["a", None, "c"]
    assert other.number_items(["b", "c", "a"]) == [4, 3, 1]
    assert one.item_ids([1, 2, 3, 4]) == ["a", None, "c", "b"]
    assert shelf.keys() == {"ids", "names", "turned"}, "the old generation was asked for whole"


def test_before_its_time_nothing_is_forgotten(shelf: Shelf) -> None:
    """Twice by a clock that is an hour from it; and by one that was put back."""
    store = shelf.client()
    store.number_items(["a"])
    for _ in range(3):
        shelf.pass_time((shelf.kept - 3_600) / 3)
        store.number_items(["b"])
    shelf.redis.incrby(shelf.key("turned"), 10**9)
    store.number_items(["b"])
    assert store.item_ids([1, 2]) == ["a", "b"]
    assert shelf.keys() == {"ids", "names", "turned"}


def test_a_step_of_the_servers_clock_costs_one_generation_at_most(shelf: Shelf) -> None:
    store = shelf.client()
    store.number_items(["a"])
    shelf.pass_time(1e9)
    assert store.number_items(["b"]) == [2]
    assert store.number_items(["c"]) == [3]
    assert store.item_ids([1]) == ["a"]


def test_without_an_expiry_nothing_is_forgotten(redis_url: str) -> None:
    shelf = Shelf(redis_url)
    store = shelf.client()
    store.number_items(["a"])
    assert shelf.keys() == {"ids", "names"}
    shelf.pass_time(1e9)
    assert store.number_items(["b", "a"]) == [2, 1]


def test_what_is_forgotten_makes_room(shelf: Shelf) -> None:
    store = shelf.client()
    ids = [f"i{k}" for k in range(2_500)]
    assert store.number_items(ids) == [*range(1, 1_501), *[0] * 1_000]
    shelf.pass_time(shelf.kept + 1)
    assert store.number_items(ids[:10] + ids[-10:]) == [*range(1, 11), *[0] * 10]
    shelf.pass_time(shelf.kept + 1)
    assert store.number_items(ids[:10] + ids[-10:]) == [*range(1, 11), *range(1_501, 1_511)]
    assert store.item_ids_used() == 20 / 1_500


def test_a_dictionary_of_an_earlier_version_goes_on(shelf: Shelf) -> None:
    """It has ids, names, counter and epoch, and neither generations nor a time."""
    shelf.redis.mset({shelf.key("epoch"): "e", shelf.key("counter"): 2})
    shelf.redis.hset(shelf.key("ids"), mapping={"a": 1, "b": 2})
    shelf.redis.hset(shelf.key("names"), mapping={1: "a", 2: "b"})
    store = shelf.client()
    assert store.item_ids([1, 2]) == ["a", "b"]
    assert store.number_items(["b", "c"]) == [2, 3]
    assert shelf.keys() == {"ids", "names", "turned"}
    assert shelf.redis.get(shelf.key("epoch")) == "e"


def test_numbers_end_where_a_place_in_a_ring_does(shelf: Shelf) -> None:
    store = shelf.client()
    store.number_items(["a"])
    shelf.redis.set(shelf.key("counter"), LAST_NUMBER - 1)
    assert store.number_items(["b", "c", "a"]) == [LAST_NUMBER, 0, 1]
    assert store.item_ids([LAST_NUMBER]) == ["b"]
    assert shelf.redis.get(shelf.key("counter")) == str(LAST_NUMBER)


def test_a_server_whose_memory_is_full_forgets_nothing(own_redis: RedisService) -> None:
    """Some commands are refused then and others are not: of those that a step needs a refused one must come first."""
    shelf = Shelf(own_redis.url, expire_seconds=100.0)
    store = shelf.client()
    store.number_items(["a"])
    shelf.pass_time(shelf.kept + 1)
    store.number_items(["b"])
    shelf.pass_time(shelf.kept + 1)
    shelf.redis.config_set("maxmemory", 1)
    try:
        for _ in range(3):
            with pytest.raises(Unavailable):
                store.number_items(["a", "c"])
        assert store.item_ids([1, 2, 3]) == ["a", "b", None]
    finally:
        shelf.redis.config_set("maxmemory", 0)
    shelf.redis.incrby(shelf.key("turned"), 3_600)  # an id of the old generation, with no turn due
    shelf.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable):
            store.number_items(["a"])
    finally:
        shelf.redis.config_set("maxmemory", 0)
    assert store.number_items(["a", "b", "c"]) == [1, 2, 3]


def test_check_tries_the_rights_that_forgetting_takes(own_redis: RedisService) -> None:
    """Else a worker would find out days later; who forgets nothing needs none of them."""
    admin: Any = redis.Redis.from_url(own_redis.url)
    admin.execute_command("ACL", "SETUSER", "worker", "on", ">pw", "~*", "&*", "+@all", "-unlink")
    url = own_redis.url.replace("redis://", "redis://worker:pw@")
    Trial(MemoryConfig(redis_url=url), "tried:topic").run()
    with pytest.raises(ConfigurationError, match=r"memory\.redis_url"):
        Trial(MemoryConfig(redis_url=url, expire_seconds=10.0), "tried:topic").run()
    Trial(MemoryConfig(redis_url=own_redis.url, expire_seconds=10.0), "tried:topic").run()


@pytest.mark.parametrize("length", [7, 36, 256])
def test_an_id_takes_no_more_bytes_than_are_stated(own_redis: RedisService, length: int) -> None:
    """docs/adr/0016: 135, 197 and 742 with this version; some room for others. The ages of ids cost nothing more."""
    stated = {7: 135, 36: 197, 256: 742}[length]
    shelf = Shelf(own_redis.url, expire_seconds=100.0, max_item_ids=20_000)
    shelf.redis.flushall()
    store = shelf.client()
    before = shelf.redis.info("memory")["used_memory"]
    for start in range(0, 60_000, 5_000):
        store.number_items([f"{k:0{length}d}" for k in range(start, start + 5_000)])
        if start == 15_000:
            full = shelf.redis.info("memory")["used_memory"]
    assert (full - before) / 20_000 < 1.15 * stated
    assert shelf.redis.info("memory")["used_memory"] - full < 1_000_000, "40,000 more ids take nothing"
