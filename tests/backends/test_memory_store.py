"""Memory stores keep their contract: the twin and a real Redis; and what each promises beside it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import count
from typing import Any
from unittest import mock

import numpy as np
import pytest
import redis

from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.core.errors import ConfigurationError, MemoriesLost, StaleToken, Unavailable
from stream_worker.core.interfaces import Claim
from tests.backends.memory_store_contract import MakeStore, MemoryStoreContract, record, store, token_of
from tests.support.services import RedisService, free_port

__all__ = ["store"]  # the contract's fixture

_GROUPS = count()


def redis_store(url: str, group: str | None = None, **more: Any) -> RedisMemoryStore:
    """A client of the group; without one, of a group that no other test has."""
    return RedisMemoryStore(MemoryConfig(redis_url=url, **more), group or f"group-{next(_GROUPS)}:topic")


class TestTwin(MemoryStoreContract):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda item_ids=9_000: InMemoryMemoryStore(MemoryConfig(twin_items=item_ids))


@pytest.mark.redis
class TestRedis(MemoryStoreContract):
    examples = 20

    @pytest.fixture
    def make_store(self, redis_url: str) -> MakeStore:
        return lambda item_ids=9_000: redis_store(redis_url, max_item_ids=item_ids)


@pytest.fixture(scope="module")
def english_redis(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server started under en_US.UTF-8, which is made here; `redis_url` skips where there is no Redis."""
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "en_US", "-f", "UTF-8", str(folder / "en_US.UTF-8")]
    if not os.path.exists("/usr/share/i18n/locales/en_US") or subprocess.run(command, check=False).returncode:
        pytest.skip("the locale en_US can't be made here (package locales)")
    with mock.patch.dict(os.environ, {"LOCPATH": str(folder), "LC_ALL": "en_US.UTF-8"}), RedisService() as service:
        yield service.url


@pytest.mark.redis
class TestRedisUnderAnEnglishLocale(MemoryStoreContract):
    """Redis takes over the collation of its environment, and Lua compares strings by it: next offsets must not be."""

    examples = 10

    @pytest.fixture
    def make_store(self, english_redis: str) -> MakeStore:
        return lambda item_ids=9_000: redis_store(english_redis, max_item_ids=item_ids)

    def test_the_servers_strings_are_ordered_by_the_locale(self, english_redis: str) -> None:
        """Otherwise this class would prove nothing."""
        assert redis.Redis.from_url(english_redis).eval("return (ARGV[1] < ARGV[2]) and 1 or 0", 0, "a", "B") == 1


class TestTwinAlone:
    def test_of_too_many_users_those_whose_last_event_is_longest_ago_leave(self) -> None:
        store = InMemoryMemoryStore(MemoryConfig(twin_users=3))
        token = token_of(store)
        store.save(0, token, [(user, record(5)) for user in "cab"])
        store.save(0, token, [("a", record(6)), ("b", record(4))])
        store.save(0, token, [("d", record(7))])
        assert {user for _, user, _ in store.scan()} == {"a", "c", "d"}, "of a tie the first by name"

    def test_the_state_does_not_depend_on_when_or_in_which_order_it_was_written(self) -> None:
        """Checkpoints come by the clock; a replay that was killed must not differ by them."""
        seldom, often = InMemoryMemoryStore(), InMemoryMemoryStore()
        users = {f"u{n}": record(n) for n in range(20)}
        seldom.save(0, token_of(seldom), list(users.items()))
        token = token_of(often)
        for user, blob in reversed(users.items()):
            often.save(0, token, [(user, blob)])
        often.save(0, token, [("u7", users["u7"])])
        seldom.number_items(["x", "y", "z"])
        often.number_items(["x", "y", "z"])
        often.number_items(["x"])
        assert _same_arrays(seldom.state_dict(), often.state_dict())

    def test_ten_times_more_users_and_items_than_the_bounds_leave_only_the_bounds(self) -> None:
        store = InMemoryMemoryStore(MemoryConfig(twin_users=100, twin_items=50))
        token = token_of(store)
        for start in range(0, 1_000, 10):
            store.save(0, token, [(f"u{n}", record(n)) for n in range(start, start + 10)])
            store.number_items([f"i{n}" for n in range(start, start + 10)])
        state = store.state_dict()
        assert len(list(store.scan())) == len(state["blob_lengths"]) == 100
        assert len(state["numbers"]) == len([i for i in store.item_ids(range(1, 1_001)) if i]) == 50

    def test_a_restored_store_has_the_room_and_the_counter_of_the_one_that_was_saved(self) -> None:
        store = InMemoryMemoryStore(MemoryConfig(twin_items=2))
        assert store.number_items(["x", "y", "z"]) == [1, 2, 0]
        tight, roomy = (InMemoryMemoryStore(MemoryConfig(twin_items=most)) for most in (1, 3))
        tight.load_state_dict(store.state_dict())
        roomy.load_state_dict(store.state_dict())
        assert tight.number_items(["new", "x", "y"]) == [0, 1, 2]
        assert roomy.number_items(["new", "x", "y", "z"]) == [3, 1, 2, 0]

    def test_a_state_from_before_there_were_generations_is_read(self) -> None:
        store = InMemoryMemoryStore()
        store.number_items(["x", "y"])
        state = store.state_dict()
        del state["numbers_old"]
        restored = InMemoryMemoryStore()
        restored.load_state_dict(state)
        assert restored.number_items(["y", "x", "z"]) == [2, 1, 3]

    @pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
    def test_a_restored_store_is_the_one_that_was_saved(self, filled: bool) -> None:
        """Through plain arrays, what leaves next included."""
        first = InMemoryMemoryStore(MemoryConfig(twin_users=3))
        token, items = token_of(first), ["x", "ü", ""]
        if filled:
            first.save(0, token, [("ü", record(1, b"\xff")), ("", record(2)), ("c", record(3))])
            first.save(0, token, [("ü", record(4))])
            first.set_floor(0, token, 9)
            first.number_items(items)
        state = first.state_dict()
        assert all(isinstance(array, np.ndarray) and array.dtype != object for array in state.values())
        second = InMemoryMemoryStore(MemoryConfig(twin_users=3))
        second.load_state_dict({name: array.copy() for name, array in state.items()})
        assert sorted(second.scan()) == sorted(first.scan())
        assert second.number_items([*items, "new"]) == [1, 2, 3, 4]
        assert second.claim([0])[0].floor == (9 if filled else None)
        assert _same_arrays(first.state_dict(), state), "saving changes nothing"

    def test_its_state_is_a_copy(self) -> None:
        """A checkpoint is written in the background, while the store goes on."""
        store = InMemoryMemoryStore()
        store.save(0, token_of(store), [("u", record(1))])
        state = store.state_dict()
        before = {name: array.copy() for name, array in state.items()}
        token = token_of(store)
        store.save(0, token, [("u", record(2, b"longer")), ("v", record(2))])
        store.set_floor(0, token, 2)
        store.number_items(["x"])
        assert _same_arrays(state, before)

    def test_tokens_of_a_restored_store_still_grow(self) -> None:
        first, second = InMemoryMemoryStore(), InMemoryMemoryStore()
        former = [token_of(first) for _ in range(3)][-1]
        second.load_state_dict(first.state_dict())
        assert token_of(second) > former
        with pytest.raises(StaleToken):
            second.save(0, former, [("u", record(1))])

    def test_an_older_state_takes_no_token_back(self) -> None:
        store = InMemoryMemoryStore()
        token_of(store)
        state = store.state_dict()
        former = token_of(store)
        store.load_state_dict(state)
        assert token_of(store) > former

    def test_it_is_not_durable(self) -> None:
        assert not InMemoryMemoryStore.durable


def _same_arrays(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.redis
class TestRedisAlone:
    def test_clients_of_a_group_share_all_of_it_and_other_groups_nothing(self, redis_url: str) -> None:
        first, second = redis_store(redis_url, "shared:topic"), redis_store(redis_url, "shared:topic")
        alike = [redis_store(redis_url, "shared:topic:x"), redis_store(redis_url, "shared:topic", namespace="other")]
        token = token_of(first)
        first.save(0, token, [("u", record(1))])
        first.take_slot("a", "nonce")
        for other in alike:
            other.save(0, token_of(other), [("u", record(9)), ("v", record(9))])
            assert other.slot_owner("a") is None
            assert other.number_items(["other"]) == [1]
        assert second.slot_owner("a") == "nonce"
        assert second.number_items(["x"]) == first.number_items(["x"]) == [1]
        assert list(second.scan()) == [(0, "u", record(1))]
        assert token_of(second) > token
        with pytest.raises(StaleToken):
            first.save(0, token, [("u", record(2))])

    def test_a_group_whose_name_looks_like_a_pattern_scans_its_own(self, redis_url: str) -> None:
        wild, plain = redis_store(redis_url, "wild[a]*?:topic"), redis_store(redis_url, "wildabc:topic")
        plain.save(0, token_of(plain), [("u", record(1))])
        assert list(wild.scan()) == []
        wild.save(2, token_of(wild, 2), [("u", record(2))])
        assert list(wild.scan()) == list(wild.scan("u")) == [(2, "u", record(2))]

    def test_all_keys_of_a_partition_stand_in_one_cluster_slot(self, redis_url: str) -> None:
        """The hash tag, between the first braces, is all that Redis Cluster looks at."""
        store = redis_store(redis_url, "cluster:topic", namespace="spread")
        for partition in (0, 1):
            token = token_of(store, partition)
            store.save(partition, token, [("a}:u:{b", record(1)), ("{c}", record(1))])
            store.set_floor(partition, token, 1)
        store.number_items(["x"])
        keys = list(redis.Redis.from_url(redis_url).scan_iter(match="spread:*"))
        tags = [key.split(b"{", 1)[1].split(b"}", 1)[0] for key in keys]
        assert {tag: tags.count(tag) for tag in tags} == {
            b"cluster:topic:0": 5, b"cluster:topic:1": 5, b"cluster:topic:items": 4,
        }  # fmt: skip

    def test_a_load_is_one_round_trip_whatever_it_loads(self, redis_url: str) -> None:
        store = redis_store(redis_url)
        tokens = {p: claim.token for p, claim in store.claim(range(4)).items()}
        keys = [(p, f"u{n}") for p in tokens for n in range(1_500)]
        sent = redis.connection.Connection.send_packed_command
        with mock.patch.object(
            redis.connection.Connection, "send_packed_command", autospec=True, side_effect=sent
        ) as calls:
            assert store.load(tokens, keys) == [None] * 6_000
        assert calls.call_count == 1

    def test_a_key_that_redis_gives_twice_is_one_record(self, redis_url: str) -> None:
        """SCAN may repeat keys while the server resizes its table."""
        store = redis_store(redis_url, "twice:topic")
        store.save(0, token_of(store), [("u", record(1))])
        [key] = redis.Redis.from_url(redis_url).scan_iter(match="*twice:topic:0}:u:u")
        with mock.patch.object(redis.Redis, "scan_iter", return_value=iter([key, key])):
            assert list(store.scan()) == [(0, "u", record(1))]

    def test_a_key_of_a_record_that_holds_something_else_is_written_over(self, redis_url: str) -> None:
        """It reads as none, so it must be written as none."""
        store, client = redis_store(redis_url, "hash:topic"), redis.Redis.from_url(redis_url)
        token = token_of(store)
        store.save(0, token, [("u", record(1))])
        [key] = client.scan_iter(match="*hash:topic:0}:u:u")
        client.delete(key)
        client.hset(key, "field", "value")
        assert store.load({0: token}, [(0, "u")]) == [None]
        assert store.save(0, token, [("u", record(1))]) == 1
        assert store.load({0: token}, [(0, "u")]) == [record(1)]

    def test_records_expire_after_twice_the_configured_time_and_the_rest_never(self, redis_url: str) -> None:
        client = redis.Redis.from_url(redis_url)
        for seconds, low, high in ((100.0, 199_000, 200_000), (0.0, -1, -1)):
            store = redis_store(redis_url, namespace=f"ttl-{seconds}", expire_seconds=seconds)
            token = token_of(store)
            store.save(0, token, [("u", record(1))])
            store.set_floor(0, token, 1)
            store.number_items(["x"])
            left = {key: client.pttl(key) for key in client.scan_iter(match=f"ttl-{seconds}:*")}
            [of_record] = [left.pop(key) for key in list(left) if key.endswith(b":u:u")]
            assert low <= of_record <= high
            assert set(left.values()) == {-1}

    def test_a_record_that_is_written_again_lives_longer(self, redis_url: str) -> None:
        store, client = redis_store(redis_url, "again:topic", expire_seconds=100.0), redis.Redis.from_url(redis_url)
        token = token_of(store)
        store.save(0, token, [("u", record(1))])
        [key] = client.scan_iter(match="*again:topic:0}:u:u")
        client.pexpire(key, 5_000)
        store.save(0, token, [("u", record(1))])
        assert client.pttl(key) > 150_000

    def test_it_is_durable_and_has_no_state_of_its_own(self, redis_url: str) -> None:
        store = redis_store(redis_url)
        store.save(0, token_of(store), [("u", record(1))])
        assert store.durable
        assert store.state_dict() == {}


@pytest.fixture(scope="module")
def own_redis(redis_url: str) -> Iterator[RedisService]:
    """A server that tests may harm; each leaves it as it was. `redis_url` skips where there is none."""
    with RedisService(appendonly=True) as service:
        yield service


@pytest.mark.redis
class TestRedisInTrouble:
    def test_a_killed_server_is_unavailable_and_the_same_calls_go_through_afterwards(
        self, own_redis: RedisService
    ) -> None:
        """The restarted one has the records, and none of the scripts."""
        store = redis_store(own_redis.url)
        token = token_of(store)
        store.save(0, token, [("u", record(1))])
        own_redis.kill()
        for call in (
            lambda: store.claim([1]),
            lambda: store.load({0: token}, [(0, "u")]),
            lambda: store.save(0, token, [("u", record(2))]),
            lambda: store.set_floor(0, token, 2),
            lambda: store.number_items(["x"]),
            lambda: store.item_ids([1]),
            lambda: list(store.scan()),
            lambda: store.take_slot("a", "nonce"),
            lambda: store.slot_owner("a"),
            store.ping,
        ):
            with pytest.raises(Unavailable) as down:
                call()
            assert isinstance(down.value.__cause__, redis.RedisError)
        own_redis.start()
        with pytest.raises(MemoriesLost, match="run_id"):
            store.claim([1])
        store.begin_again()
        assert store.claim([1])[1].token > token
        assert store.save(0, token, [("u", record(2))]) == 1
        store.set_floor(0, token, 2)
        assert store.number_items(["x"]) == [1]
        assert store.load({0: token}, [(0, "u")]) == [record(2)]

    def test_a_server_that_hangs_is_unavailable(self, own_redis: RedisService) -> None:
        store = redis_store(own_redis.url + "?socket_timeout=1")
        token = token_of(store)
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                store.save(0, token, [("u", record(1))])
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        assert store.save(0, token, [("u", record(2))]) == 1

    @pytest.mark.parametrize(
        ("trouble", "cure"),
        [
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
            ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ],
        ids=["memory full", "no replica"],
    )
    def test_a_server_that_takes_no_writes_is_unavailable_until_it_does(
        self, own_redis: RedisService, trouble: str, cure: str
    ) -> None:
        store = redis_store(own_redis.url)
        command: Any = redis.Redis.from_url(own_redis.url).execute_command
        token = token_of(store)
        store.save(0, token, [("u", record(1))])
        command(*trouble.split())
        try:
            for call in (
                lambda: store.save(0, token, [("u", record(2)), ("v", record(2))]),
                lambda: store.set_floor(0, token, 3),
                lambda: store.claim([0]),
                lambda: store.number_items(["x"]),
                lambda: store.take_slot("a", "nonce"),
            ):
                with pytest.raises(Unavailable):
                    call()
            assert store.load({0: token}, [(0, "u"), (0, "v")]) == [record(1), None]
        finally:
            command(*cure.split())
        assert store.save(0, token, [("u", record(2)), ("v", record(2))]) == 2

    def test_a_scan_that_is_cut_off_half_way_is_unavailable(self, own_redis: RedisService) -> None:
        store = redis_store(own_redis.url)
        store.save(0, token_of(store), [(f"u{n}", record(1)) for n in range(3_000)])
        rows = store.scan()
        next(rows)
        own_redis.kill()
        try:
            with pytest.raises(Unavailable):
                list(rows)
        finally:
            own_redis.start()

    def test_a_wiped_server_refuses_the_tokens_from_before(self, own_redis: RedisService) -> None:
        """Nothing is written on a floor that is gone; the next claim says that it is."""
        store = redis_store(own_redis.url)
        token = token_of(store)
        store.set_floor(0, token, 5)
        redis.Redis.from_url(own_redis.url).flushall()
        for call in (
            lambda: store.save(0, token, [("u", record(6))]),
            lambda: store.load({0: token}, [(0, "u")]),
            lambda: store.set_floor(0, token, 6),
        ):
            with pytest.raises(MemoriesLost, match="the token of partition 0 is 0"):
                call()
        store.begin_again()
        claim = store.claim([0])[0]
        assert claim == Claim(claim.token, None)
        assert claim.token > token

    def test_a_wiped_server_gives_no_number_that_may_be_in_use(self, own_redis: RedisService) -> None:
        """Items are numbered by no token, so the dictionary says itself that it is another."""
        store = redis_store(own_redis.url)
        assert store.number_items(["a", "b"]) == [1, 2]
        redis.Redis.from_url(own_redis.url).flushall()
        with pytest.raises(MemoriesLost, match="dictionary"):
            store.number_items(["c"])
        store.begin_again()
        assert store.number_items(["b", "c"]) == [1, 2]

    def test_a_restarted_server_is_not_used_before_it_is_begun_again(self, own_redis: RedisService) -> None:
        """Whatever it still holds: it may be older than what was written to it."""
        store = redis_store(own_redis.url)
        token_of(store)
        own_redis.kill()
        own_redis.start()
        for _ in range(2):
            with pytest.raises(MemoriesLost, match="run_id"):
                store.claim([0])
        store.begin_again()
        token_of(store)

    def test_a_fault_of_this_program_is_not_waited_for(self, own_redis: RedisService) -> None:
        """Here: a counter that is none."""
        store = redis_store(own_redis.url, "odd:topic", namespace="odd")
        store.number_items(["x"])
        client = redis.Redis.from_url(own_redis.url)
        [counter] = client.scan_iter(match="odd:*:counter")
        client.set(counter, "no number")
        with pytest.raises(redis.ResponseError, match="compare nil with number"):
            store.number_items(["y"])

    def test_keys_that_hold_something_else_are_a_matter_of_configuration(self, own_redis: RedisService) -> None:
        store = redis_store(own_redis.url, "mixed:topic", namespace="mixed")
        store.number_items(["x"])
        client = redis.Redis.from_url(own_redis.url)
        [ids] = client.scan_iter(match="mixed:*:ids")
        client.set(ids, "no hash")
        with pytest.raises(ConfigurationError, match=r"memory\.namespace.*WRONGTYPE"):
            store.number_items(["x"])

    def test_a_password_that_is_changed_meanwhile_is_waited_for(self, own_redis: RedisService) -> None:
        """At the first start a wrong one is a matter of configuration; one that was good may be so again."""
        admin = redis.Redis.from_url(own_redis.url, single_connection_client=True)
        admin.config_set("requirepass", "first")
        try:
            store = redis_store(own_redis.url.replace("redis://", "redis://:first@"))
            token = token_of(store)
            admin.config_set("requirepass", "second")
            admin.client_kill_filter(_type="normal", skipme=True)
            for _ in range(2):
                with pytest.raises(Unavailable, match=r"login is no longer accepted .*invalid username-password"):
                    store.save(0, token, [("u", record(1))])
            admin.config_set("requirepass", "first")
            assert store.save(0, token, [("u", record(1))]) == 1
        finally:
            admin.config_set("requirepass", "")

    def test_a_script_that_was_forgotten_between_two_calls_is_sent_again(self, own_redis: RedisService) -> None:
        store = redis_store(own_redis.url)
        token = token_of(store)
        redis.Redis.from_url(own_redis.url).script_flush()
        assert store.save(0, token, [("u", record(1))]) == 1
        redis.Redis.from_url(own_redis.url).script_flush()
        assert token_of(store) > token

    def test_a_missing_password_is_a_matter_of_configuration(self, own_redis: RedisService) -> None:
        client = redis.Redis.from_url(own_redis.url)
        client.config_set("requirepass", "secret")
        try:
            for url in (own_redis.url, own_redis.url.replace("redis://", "redis://:wrong@")):
                with pytest.raises(ConfigurationError, match=r"memory\.redis_url"):
                    redis_store(url).claim([0])
            assert token_of(redis_store(own_redis.url.replace("redis://", "redis://:secret@"))) > 0
        finally:
            client.config_set("requirepass", "")

    @pytest.mark.parametrize(
        ("name", "value", "usual", "says"),
        [
            ("maxmemory-policy", "allkeys-lru", "noeviction", "must be noeviction"),
            ("appendonly", "no", "yes", "no append-only file"),
        ],
    )
    def test_ping_warns_of_settings_that_lose_users(
        self, own_redis: RedisService, name: str, value: str, usual: str, says: str
    ) -> None:
        store, client = redis_store(own_redis.url), redis.Redis.from_url(own_redis.url)
        version = client.info("server")["redis_version"]
        client.config_set(name, value)
        try:
            assert says in store.ping()
        finally:
            client.config_set(name, usual)
        assert says not in store.ping()
        assert version in store.ping()


def test_a_redis_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="Redis"):
        redis_store(f"redis://127.0.0.1:{free_port()}/0").ping()
