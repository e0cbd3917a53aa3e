"""Memory stores keep their contract on a Redis Cluster and behind sentinels, and a failover is noticed there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar
from unittest import mock

import pytest
import redis

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.backends.redis.number_gap import GAP
from stream_worker.core.errors import ConfigurationError, MemoriesLost, Unavailable
from stream_worker.core.interfaces import Claim
from tests.backends.memory_store_contract import MakeStore, MemoryStoreContract, record, store, token_of
from tests.support.redis_services import MASTER, RedisCluster, RedisSentinel, Server
from tests.support.services import RedisService, free_port

__all__ = ["store"]  # the contract's fixture

pytestmark = pytest.mark.redis
_GROUPS = count()
_PATIENCE_SECONDS = 30.0
T = TypeVar("T")


def cluster_store(cluster: RedisCluster, group: str | None = None, **more: Any) -> RedisMemoryStore:
    return RedisMemoryStore(MemoryConfig(redis_url=cluster.url, **more), group or f"modes-{next(_GROUPS)}:topic")


def sentinel_store(service: RedisSentinel, group: str | None = None, **more: Any) -> RedisMemoryStore:
    config = MemoryConfig(
        **{"redis_url": service.url, "sentinel_master": MASTER, "sentinel_password": service.password} | more
    )
    return RedisMemoryStore(config, group or f"modes-{next(_GROUPS)}:topic")


def patiently(call: Callable[[], T], refusal: type[Exception] = Unavailable, also: type[Exception] = Unavailable) -> T:
    """As the worker does: what is unavailable, or refused otherwise, is asked again."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return call()
        except (refusal, also):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _claimed_anew(store: RedisMemoryStore) -> dict[int, Claim]:
    """As the worker does, again and again: another master may be found only now."""
    store.begin_again()
    return store.claim([0])


class TestCluster(MemoryStoreContract):
    examples = 10

    @pytest.fixture
    def make_store(self, redis_cluster: RedisCluster) -> MakeStore:
        return lambda item_ids=9_000: cluster_store(redis_cluster, max_item_ids=item_ids)


class TestSentinel(MemoryStoreContract):
    examples = 10

    @pytest.fixture
    def make_store(self, redis_sentinel: RedisSentinel) -> MakeStore:
        return lambda item_ids=9_000: sentinel_store(redis_sentinel, max_item_ids=item_ids)


def place(store: RedisMemoryStore, partition: int) -> str:
    """A key of the partition."""
    return store._key(partition, "token")


@dataclass(frozen=True)
class Replicated:
    """Masters with replicas, a store on them, and how it says that another server is the master now."""

    service: RedisCluster | RedisSentinel
    store: RedisMemoryStore
    said: str

    def master(self) -> Server:
        """The one that holds partition 0."""
        if isinstance(self.service, RedisSentinel):
            return self.service.master()
        return self.service.master_of(place(self.store, 0))

    def hand_over(self) -> None:
        """What an operator asks for: the replica takes over while the master lives."""
        asked: Any
        words: tuple[str, ...]
        if isinstance(self.service, RedisSentinel):
            asked, words = self.service.sentinel.admin(), ("SENTINEL", "FAILOVER", MASTER)
        else:
            asked, words = self.service.replica_of(self.master()).admin(), ("CLUSTER", "FAILOVER")
        # NOGOODSLAVE: the sentinel has not looked at the replica yet.
        patiently(lambda: asked.execute_command(*words), redis.ResponseError)


@pytest.fixture(params=["cluster", "sentinel"])
def replicated(request: pytest.FixtureRequest) -> Replicated:
    service = request.getfixturevalue(f"redis_{request.param}")
    if isinstance(service, RedisCluster):
        return Replicated(service, cluster_store(service), "is a master now")
    return Replicated(service, sentinel_store(service), "run_id")


class TestFailover:
    def test_of_a_master_that_dies_during_saves_nothing_is_lost_in_silence(self, replicated: Replicated) -> None:
        """What was saved before the failure is there, or the store says that it may not be."""
        store, victim = replicated.store, replicated.master()
        token = token_of(store)
        threading.Timer(0.2, victim.kill).start()
        saved, lost = 0, False
        end = time.monotonic() + _PATIENCE_SECONDS
        while not lost and time.monotonic() < end:
            try:
                store.save(0, token, [("u", record(saved + 1))])
                saved += 1
            except Unavailable:
                time.sleep(0.05)
            except MemoriesLost:
                lost = True
        try:
            assert saved, "it failed before it had begun"
            assert lost
            with pytest.raises(MemoriesLost, match=replicated.said):
                store.load({0: token}, [(0, "u")])
            again = patiently(lambda: _claimed_anew(store), Unavailable, MemoriesLost)[0].token
            assert again > token
            assert store.save(0, again, [("u", record(saved + 1))]) == 1
            assert replicated.master() is not victim
        finally:
            victim.start()
            replicated.service.wait()

    def test_a_master_that_hands_over_on_request_is_noticed(self, replicated: Replicated) -> None:
        """It lives on, and so do its connections. What had been saved is there."""
        store, before = replicated.store, replicated.master()
        token = token_of(store)
        store.save(0, token, [("u", record(1))])
        replicated.hand_over()
        with pytest.raises(MemoriesLost, match=replicated.said):
            _until_lost(lambda: store.load({0: token}, [(0, "u")]))
        store.begin_again()
        patiently(lambda: store.claim([0]))
        assert store.peek([(0, "u")]) == [record(1)]
        replicated.service.wait()
        assert replicated.master() is not before


class TestMastersOfACluster:
    def test_all_masters_are_used_and_asked(self, redis_cluster: RedisCluster) -> None:
        store = cluster_store(redis_cluster)
        tokens = {p: claim.token for p, claim in store.claim(range(12)).items()}
        for partition, token in tokens.items():
            store.save(partition, token, [("u", record(partition))])
        assert len({redis_cluster.master_of(place(store, p)).port for p in tokens}) == 3
        assert sorted(store.scan("u")) == [(p, "u", record(p)) for p in tokens]
        assert "a cluster of 3 masters" in store.ping()

    def test_one_master_of_three_that_forgets_is_refused(self, redis_cluster: RedisCluster) -> None:
        client = redis_cluster.masters()[-1].admin()
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(ConfigurationError, match="must be noeviction"):
                cluster_store(redis_cluster).ensure_kept()
        finally:
            client.config_set("maxmemory-policy", "noeviction")
        cluster_store(redis_cluster).ensure_kept()

    def test_after_a_failover_no_number_is_given_again_that_the_replica_may_have_missed(
        self, redis_cluster: RedisCluster
    ) -> None:
        """Records on the other masters name it. What the replica has keeps its number."""
        store, other = cluster_store(redis_cluster, "gap:topic"), cluster_store(redis_cluster, "gap:topic")
        assert store.number_items(["x"]) == other.number_items(["x"]) == [1]
        replica: Any = redis_cluster.replica_of(redis_cluster.master_of(store._items.keys[0])).admin()
        replica.execute_command("CLUSTER", "FAILOVER")
        with pytest.raises(MemoriesLost):
            _until_lost(lambda: store.number_items(["x"]))
        store.begin_again()
        assert patiently(lambda: store.number_items(["x", "y"])) == [1, 2 + GAP]
        with pytest.raises(MemoriesLost):
            _until_lost(lambda: other.number_items(["z"]))
        other.begin_again()
        assert patiently(lambda: other.number_items(["y", "z"])) == [2 + GAP, 3 + GAP]
        redis_cluster.wait()

    def test_a_master_that_was_restarted_in_time_is_noticed(self, redis_cluster: RedisCluster) -> None:
        """Before its replica takes over; what it had in memory is gone."""
        store = cluster_store(redis_cluster)
        token = token_of(store)
        victim = redis_cluster.master_of(place(store, 0))
        victim.kill()
        victim.start()
        try:
            with pytest.raises(MemoriesLost):
                _until_lost(lambda: store.save(0, token, [("u", record(1))]))
        finally:
            redis_cluster.wait()

    def test_slots_that_move_between_masters_lose_nothing(self, redis_cluster: RedisCluster) -> None:
        """Keys are moved one by one, and each is in one of the two places."""
        store = cluster_store(redis_cluster)
        token = token_of(store)
        users = [f"u{n}" for n in range(20)]
        store.save(0, token, [(user, record(1)) for user in users])
        keys = [place(store, 0), *(store._key(0, f"u:{user}") for user in users)]
        source = redis_cluster.master_of(keys[0])
        target = next(server for server in redis_cluster.masters() if server is not source)
        _move(redis_cluster, source, target, keys)
        assert patiently(lambda: store.load({0: token}, [(0, user) for user in users])) == [record(1)] * 20
        assert patiently(lambda: store.save(0, token, [("u0", record(2)), ("new", record(1))])) == 2
        assert redis_cluster.master_of(keys[0]) is target

    def test_half_of_a_slot_that_moves_is_waited_for(self, redis_cluster: RedisCluster) -> None:
        """TRYAGAIN: some keys of a call are here, some are there."""
        store = cluster_store(redis_cluster)
        token = token_of(store)
        store.save(0, token, [("a", record(1)), ("b", record(1))])
        keys = [place(store, 0), store._key(0, "u:a"), store._key(0, "u:b")]
        source = redis_cluster.master_of(keys[0])
        target = next(server for server in redis_cluster.masters() if server is not source)
        finish = _move(redis_cluster, source, target, keys, stop_after=1)
        for call in (lambda: store.load({0: token}, [(0, "a")]), lambda: store.save(0, token, [("a", record(2))])):
            with pytest.raises(Unavailable):
                call()
        finish()
        assert patiently(lambda: store.save(0, token, [("a", record(2)), ("b", record(2))])) == 2

    def test_a_cluster_without_a_master_is_waited_for(self, redis_cluster: RedisCluster) -> None:
        """Master and replica hang; nobody can take over."""
        store = cluster_store(redis_cluster)
        token = token_of(store)
        master = redis_cluster.master_of(place(store, 0))
        both = [master, redis_cluster.replica_of(master)]
        for server in both:
            server.pause()
        try:
            began = time.monotonic()
            for _ in range(2):
                with pytest.raises(Unavailable):
                    store.save(0, token, [("u", record(1))])
            assert time.monotonic() - began < 40, "the loop has a membership to keep"
        finally:
            for server in both:
                server.resume()
            redis_cluster.wait()

    @pytest.mark.parametrize("database", ["1", "0?health_check_interval=5"])
    def test_what_a_cluster_can_not_have_is_refused(self, redis_cluster: RedisCluster, database: str) -> None:
        store = RedisMemoryStore(MemoryConfig(redis_url=f"{redis_cluster.url}/{database}"), "odd:topic")
        with pytest.raises(ConfigurationError, match=r"memory\.redis_url.*Redis Cluster"):
            store.claim([0])


def _until_lost(call: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        patiently(call)
        time.sleep(0.05)


def _move(cluster: RedisCluster, source: Any, target: Any, keys: list[str], stop_after: int | None = None) -> Any:
    """Reshard the keys' slot as `redis-cli --cluster reshard` does; what is returned does the rest."""
    ask = cluster._ask
    slot = ask(source, "CLUSTER", "KEYSLOT", keys[0])
    names = {server: ask(server, "CLUSTER", "MYID") for server in (source, target)}
    ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
    ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])

    def migrate(some: list[str]) -> None:
        for key in some:
            ask(source, "MIGRATE", "127.0.0.1", target.port, key, 0, 5000)

    def finish() -> None:
        migrate(keys[stop_after or 0 :])
        for server in (target, source):
            ask(server, "CLUSTER", "SETSLOT", slot, "NODE", names[target])

    migrate(keys[: stop_after or 0])
    return finish if stop_after else finish()


class TestSentinelsThemselves:
    def test_sentinels_that_do_not_answer_are_waited_for(self) -> None:
        hosts = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2))
        store = RedisMemoryStore(MemoryConfig(redis_url=f"redis://{hosts}", sentinel_master=MASTER), "down:topic")
        with pytest.raises(Unavailable, match="no sentinel answers"):
            store.claim([0])

    def test_a_name_that_no_sentinel_knows_is_said(self, redis_sentinel: RedisSentinel) -> None:
        with pytest.raises(Unavailable, match=r"memory\.sentinel_master"):
            sentinel_store(redis_sentinel, sentinel_master="another").claim([0])

    def test_a_password_that_the_sentinels_refuse_is_said(self, redis_sentinel: RedisSentinel) -> None:
        with pytest.raises(ConfigurationError, match=r"memory\.sentinel_password"):
            sentinel_store(redis_sentinel, sentinel_password="wrong").claim([0])


class TestWhatAnswers:
    def test_sentinels_without_the_name_of_a_master_are_refused(self, redis_sentinel: RedisSentinel) -> None:
        url = f"redis://:sesame@127.0.0.1:{redis_sentinel.sentinel.port}"
        with pytest.raises(ConfigurationError, match=r"set memory\.sentinel_master"):
            RedisMemoryStore(MemoryConfig(redis_url=url), "odd:topic").claim([0])

    def test_servers_that_are_no_sentinels_are_refused(self, redis_url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"memory\.sentinel_master"):
            RedisMemoryStore(MemoryConfig(redis_url=redis_url, sentinel_master=MASTER), "odd:topic").claim([0])

    def test_several_servers_that_are_no_cluster_are_refused(self, redis_url: str) -> None:
        url = redis_url.replace("/0", f",127.0.0.1:{free_port()}/0")
        with pytest.raises(ConfigurationError, match="no cluster"):
            RedisMemoryStore(MemoryConfig(redis_url=url), "odd:topic").claim([0])

    def test_a_first_node_that_is_gone_is_passed_over(self, redis_cluster: RedisCluster) -> None:
        url = redis_cluster.url.replace("redis://", f"redis://127.0.0.1:{free_port()},")
        assert token_of(RedisMemoryStore(MemoryConfig(redis_url=url), "gone:topic")) > 0


def test_a_server_that_was_a_replica_while_nobody_asked_is_another_one(redis_url: str) -> None:
    """Its connections are still those from before."""
    with RedisService() as server:
        store = RedisMemoryStore(MemoryConfig(redis_url=server.url), "idle:topic")
        token = token_of(store)
        client = redis.Redis.from_url(server.url)
        client.replicaof("127.0.0.1", "1")
        client.replicaof("NO", "ONE")
        with (
            mock.patch("time.monotonic", return_value=time.monotonic() + 6),
            pytest.raises(MemoriesLost, match="run_id"),
        ):
            store.save(0, token, [("u", record(1))])


def test_a_server_that_was_a_replica_in_between_is_another_one(redis_url: str) -> None:
    """It holds what its master had, which may be older than what was written here."""
    with RedisService() as server:
        store = RedisMemoryStore(MemoryConfig(redis_url=server.url), "turns:topic")
        token = token_of(store)
        client = redis.Redis.from_url(server.url)
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(Unavailable):
            store.save(0, token, [("u", record(1))])
        client.replicaof("NO", "ONE")
        with pytest.raises(MemoriesLost, match="run_id"):
            store.save(0, token, [("u", record(1))])
        store.begin_again()
        assert token_of(store) > token
