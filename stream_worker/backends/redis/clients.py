"""Opens a redis-py client: for one server, for a cluster, or for the master that sentinels name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import REDIS_ALLOWED_KEYS, ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis.address import Address
from stream_worker.core.errors import ConfigurationError

Client = redis.Redis | RedisCluster
OnConnect = Callable[[Any], None]
# Seconds. Short, since the loop waits meanwhile and has to serve its group membership. Not tuned.
_TIMEOUTS = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
# Seconds for each of several sentinels: if one does not answer, the next one may. Not tuned.
_SHORT = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}


def open_client(config: MemoryConfig, address: Address, on_connect: OnConnect) -> Client:
    """Open a client. `on_connect` is called with every new connection after its login. Raises redis-py's errors."""
    if config.sentinel_master:
        return _through_sentinels(config, address, on_connect)
    if address.path:
        return _server({"unix_socket_path": address.path}, address, on_connect)
    return _of_what_answers(address, on_connect)


def _server(where: dict[str, Any], address: Address, on_connect: OnConnect) -> redis.Redis:
    def logged_in(connection: Any) -> None:
        connection.on_connect()
        on_connect(connection)

    return redis.Redis(**where, **_options(address), retry=_retry(), redis_connect_func=logged_in)  # type: ignore[arg-type]


def _options(address: Address) -> dict[str, Any]:
    return _TIMEOUTS | ({"ssl": True} if address.tls else {}) | dict(address.options)


def _retry() -> Retry:
    # Seconds, and one retry. Not tuned; a longer wait is the loop's own.
    return Retry(ExponentialBackoff(cap=0.5, base=0.02), 1)


def _of_what_answers(address: Address, on_connect: OnConnect) -> Client:
    """Open a client of the kind that the first host to answer reports: a server, a cluster or a sentinel."""
    for place, (host, port) in enumerate(address.hosts, 1):
        client = _server({"host": host, "port": port}, address, on_connect)
        try:
            info: Any = client.info("server")
        except (redis.ConnectionError, redis.TimeoutError) as fault:
            client.close()
            if place == len(address.hosts) or isinstance(fault, redis.AuthenticationError):
                raise
            continue
        return _as_it_says(info.get("redis_mode", "standalone"), client, address, on_connect)
    raise AssertionError("an address has hosts")


def _as_it_says(mode: str, client: redis.Redis, address: Address, on_connect: OnConnect) -> Client:
    if mode == "standalone" and len(address.hosts) == 1:
        return client
    client.close()
    if mode == "cluster":
        return _cluster(address, on_connect)
    remedy = "name the one that is the master" if mode == "standalone" else "set memory.sentinel_master"
    found = "sentinels" if mode == "sentinel" else "servers of their own, no cluster"
    raise ConfigurationError(f"memory.redis_url: names {found}; {remedy}")


def _cluster(address: Address, on_connect: OnConnect) -> RedisCluster:
    options = _options(address)
    options.pop("db", None)  # a cluster has database 0 only, and a server that answered would have refused another
    if refused := options.keys() - set(REDIS_ALLOWED_KEYS):
        raise ConfigurationError(f"memory.redis_url: can't be used with a Redis Cluster: {', '.join(sorted(refused))}")
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    # Read the slots again at each MOVED: after a failover all slots of a node have moved.
    return RedisCluster(
        startup_nodes=nodes, **options, retry=_retry(), reinitialize_steps=1, redis_connect_func=on_connect
    )


def _through_sentinels(config: MemoryConfig, address: Address, on_connect: OnConnect) -> redis.Redis:
    def logged_in(connection: Any) -> None:
        connection.on_connect()
        on_connect(connection)

    login = {"username": config.sentinel_username or None, "password": config.sentinel_password or None}
    tls = {name: value for name, value in _options(address).items() if name.startswith("ssl")}
    own = _SHORT | login | tls | {"retry": Retry(NoBackoff(), 0)}
    sentinels: Any = Sentinel(list(address.hosts), sentinel_kwargs=own)
    client: redis.Redis = sentinels.master_for(
        config.sentinel_master, **_options(address), retry=_retry(), redis_connect_func=logged_in
    )
    return client
