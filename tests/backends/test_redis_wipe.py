"""Everything that a group keeps is counted and removed, on one server and on a cluster; nothing of another's is."""

from __future__ import annotations

import pytest

from stream_worker.backends.redis import RedisMemoryStore
from tests.backends.memory_store_contract import ODD_USERS, record
from tests.backends.test_memory_store import redis_store
from tests.backends.test_redis_modes import cluster_store
from tests.support.redis_services import RedisCluster


def fill(store: RedisMemoryStore, partitions: int, users: list[str]) -> None:
    for partition, claim in store.claim(range(partitions)).items():
        store.save(partition, claim.token, [(user, record(1)) for user in users])
        store.set_floor(partition, claim.token, 1)
    store.number_items([f"i{k}" for k in range(10)])
    store.take_slot("0", "nonce")


@pytest.mark.redis
class TestWipe:
    @pytest.fixture(params=["server", "cluster"])
    def store(self, request: pytest.FixtureRequest) -> RedisMemoryStore:
        if request.param == "server":
            return redis_store(request.getfixturevalue("redis_url"))
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        return cluster_store(cluster)

    def test_all_is_counted_and_goes(self, store: RedisMemoryStore) -> None:
        fill(store, 7, ODD_USERS)
        found = store.counted()
        assert (found["memories"], found["partitions"]) == (7 * len(ODD_USERS), 7)
        assert found["other keys"] >= 2
        removed = store.wipe()
        assert removed == 7 * len(ODD_USERS) + 3 * 7 + found["other keys"]
        assert sum(store.counted().values()) == 0
        assert list(store.scan()) == []
        store.close()
