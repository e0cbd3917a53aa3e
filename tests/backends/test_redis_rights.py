"""A login with the fewest rights, over TLS, works in every mode; one with fewer is told which it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore, Trial
from stream_worker.backends.redis.faults import RIGHTS
from stream_worker.core.errors import ConfigurationError, StreamWorkerError, Unavailable
from stream_worker.exit_codes import ExitCode
from tests.backends.memory_store_contract import record, token_of
from tests.support.redis_services import MASTER, Lock, RedisCluster, RedisSentinel, Server, locked, url_of, wait_until
from tests.test_commands import call

pytestmark = pytest.mark.redis
_FEWEST = [word.rstrip(",") for word in RIGHTS.split() if word.startswith("+")]
_WITHIN_SCRIPTS = ["time", "get", "set", "getrange", "incr", "hget", "hset", "hlen"]


@pytest.fixture(scope="module")
def lock(redis_url: str) -> Iterator[Lock]:
    """`redis_url` skips where there is no Redis."""
    with locked(f"~stream-worker:* {' '.join(_FEWEST)}") as made:
        yield made


@pytest.fixture(scope="module")
def server(lock: Lock) -> Iterator[Server]:
    with Server(lock) as started:
        yield started


def _settings(server: Server, **more: Any) -> MemoryConfig:
    return MemoryConfig(redis_url=url_of(server.lock, [f"127.0.0.1:{server.port}"]), **more)


def _does_it_all(config: MemoryConfig) -> None:
    store = RedisMemoryStore(config, "locked:topic")
    tokens = {p: claim.token for p, claim in store.claim(range(6)).items()}
    for partition, token in tokens.items():
        assert store.save(partition, token, [("u", record(partition))]) == 1
    assert store.load(tokens, [(p, "u") for p in tokens]) == [record(p) for p in tokens]
    assert sorted(store.scan()) == [(p, "u", record(p)) for p in tokens]
    assert store.item_ids(store.number_items(["x"])) == ["x"]
    Trial(config, "locked:topic").run()
    store.close()


def test_one_server(server: Server) -> None:
    _does_it_all(_settings(server))


def test_a_cluster(lock: Lock) -> None:
    with RedisCluster(lock) as cluster:
        _does_it_all(MemoryConfig(redis_url=cluster.url))
        with pytest.raises(ConfigurationError, match=r"memory\.redis_url: Redis refuses"):
            token_of(RedisMemoryStore(MemoryConfig(redis_url=cluster.url_with("wrong-one")), "locked:topic"))


def test_a_master_that_sentinels_name(lock: Lock) -> None:
    with RedisSentinel(lock, password="sesame") as service:
        config = MemoryConfig(redis_url=service.url, sentinel_master=MASTER, sentinel_password="sesame")
        _does_it_all(config)
        with pytest.raises(ConfigurationError, match=r"memory\.redis_url: Redis refuses"):
            token_of(RedisMemoryStore(replace(config, redis_url=service.url_with("wrong-one")), "locked:topic"))


def test_forgetting_takes_rights_of_its_own_and_no_others(server: Server) -> None:
    Trial(_settings(server, expire_seconds=3_600.0), "locked:topic").run()


@pytest.mark.parametrize("right", [*_WITHIN_SCRIPTS, "info", "evalsha", "mget", "script|load"])
def test_a_right_that_is_missing_is_a_sentence(server: Server, right: str) -> None:
    """Also one that a script needs, of which Redis says nothing of a right."""
    admin: Any = server.admin()
    admin.execute_command("ACL", "SETUSER", "worker", f"-{right}")
    admin.script_flush()
    try:
        with pytest.raises(ConfigurationError, match=r"memory\.redis_url: Redis refuses: .*its user needs \+info"):
            Trial(_settings(server), "locked:topic").run()
    finally:
        admin.execute_command("ACL", "SETUSER", "worker", f"+{right}")


def test_keys_that_a_login_may_not_use_are_a_sentence(server: Server) -> None:
    with pytest.raises(ConfigurationError, match="its user needs"):
        Trial(_settings(server, namespace="another"), "locked:topic").run()


def test_a_user_that_is_made_again_is_waited_for(server: Server) -> None:
    store = RedisMemoryStore(_settings(server), "locked:topic")
    token = token_of(store)
    admin: Any = server.admin()
    admin.execute_command("ACL", "DELUSER", "worker")
    try:
        with pytest.raises(Unavailable, match="login is no longer accepted"):
            store.save(0, token, [("u", record(1))])
    finally:
        admin.execute_command("ACL", "LOAD")
    assert store.save(0, token, [("u", record(1))]) == 1


@pytest.mark.parametrize("option", ["ssl_check_hostname=true", "ssl_cert_reqs=required"])
def test_a_certificate_that_nobody_vouches_for_is_waited_for_with_its_reason(server: Server, option: str) -> None:
    url = url_of(server.lock, [f"127.0.0.1:{server.port}"]).split("?")[0] + f"?{option}"
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        token_of(RedisMemoryStore(MemoryConfig(redis_url=url), "locked:topic"))


class TestCheck:
    def test_it_leaves_nothing_behind(self, redis_url: str) -> None:
        Trial(MemoryConfig(redis_url=redis_url, namespace="traceless"), "shop:topic").run()
        client = redis.Redis.from_url(redis_url)
        wait_until(lambda: list(client.scan_iter(match="traceless:*")) == [])

    def test_a_server_that_forgets_fails(self, redis_url: str) -> None:
        client = redis.Redis.from_url(redis_url)
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            code, out, err = _check(redis_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
        assert code == ExitCode.FAILED
        assert "FAIL  memory: memory.redis_url: maxmemory-policy must be noeviction" in out
        assert "Traceback" not in err

    def test_what_was_tried_is_said(self, redis_url: str) -> None:
        _, out, _ = _check(redis_url)
        [line] = [line for line in out.splitlines() if "  memory: " in line]
        assert line.startswith("ok    memory: Redis ")
        assert line.endswith("claimed, saved, loaded and numbered on keys of its own")

    def test_a_right_that_is_missing_within_a_script_fails(self, server: Server) -> None:
        admin: Any = server.admin()
        admin.execute_command("ACL", "SETUSER", "worker", "-set")
        try:
            code, out, err = _check(_settings(server).redis_url)
        finally:
            admin.execute_command("ACL", "SETUSER", "worker", "+set")
        assert code == ExitCode.FAILED
        assert "FAIL  memory: memory.redis_url: Redis refuses" in out
        assert "hush" not in out + err

    @pytest.mark.parametrize("url", ["rediss://:hu-sh-sh@127.0.0.1?ssl_ca_cert=ca.pem", "redis://:hu#sh-sh@h"])
    def test_an_address_that_is_none_fails_without_a_word_of_the_password(self, url: str) -> None:
        code, out, err = _check(url)
        assert code == ExitCode.FAILED
        assert "FAIL  memory: memory.redis_url" in out
        assert "Traceback" not in err
        assert "sh-sh" not in out + err


def _check(url: str) -> tuple[int, str, str]:
    return call("check", MEMORY__REDIS_URL=url, KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1", CHECKPOINT__PATH="/nowhere")


def test_a_trial_of_a_cluster_asks_every_master(redis_cluster: RedisCluster) -> None:
    """Each has users of its own."""
    for master in redis_cluster.masters():
        client: Any = master.admin()
        client.execute_command("ACL", "SETUSER", "default", "-set")
        try:
            with pytest.raises(StreamWorkerError, match="its user needs"):
                Trial(MemoryConfig(redis_url=redis_cluster.url), "shop:topic").run()
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+set")
    Trial(MemoryConfig(redis_url=redis_cluster.url), "shop:topic").run()
