"""The connection to a Redis server or cluster. It notices when a master was restarted or replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.commands.core import Script
from redis.exceptions import RedisClusterException
from redis.sentinel import MasterNotFoundError

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis.address import parse_address
from stream_worker.backends.redis.clients import Client, open_client
from stream_worker.backends.redis.faults import is_read_only, meaning
from stream_worker.backends.redis.masters import Masters, fields_of

# Seconds between two looks at the masters' INFO. Not tuned.
_LOOK_SECONDS = 5.0
_Keys = Sequence[str | bytes]


class Connection:
    """Runs commands. Callers wrap them in `available`, or in `claimed` if they rely on an earlier claim.

    `claimed` raises MemoriesLost once a master has been restarted or replaced since the claim, until `begin_again`.
    """

    def __init__(self, config: MemoryConfig) -> None:
        self._config = config
        self._address = parse_address(config.redis_url)
        self._masters = Masters()
        self._client: Client | None = None
        self._opening = threading.RLock()
        self._answered = False
        self._look_at = 0.0

    @property
    def redis(self) -> Client:
        """The client, opened at the first use, since only an answer tells a server from a cluster."""
        with self._opening:
            if self._client is None:
                client = open_client(self._config, self._address, self._on_connect)
                if isinstance(client, RedisCluster):
                    self._meet(client)
                self._client, self._look_at = client, time.monotonic() + _LOOK_SECONDS
            return self._client

    def _meet(self, cluster: Any) -> None:
        """Note the masters of a cluster. One that does not answer now counts as replaced when it answers later."""
        for node in cluster.get_primaries():
            with suppress(redis.ConnectionError, redis.TimeoutError, RedisClusterException):
                cluster.execute_command("INFO", "server", target_nodes=node)
        self._masters.begun()

    def _on_connect(self, connection: Any) -> None:
        """Identify the server behind a new connection: a replaced or restarted server is reached by a new one only."""
        said = b""
        for section in ("server", "replication"):
            connection.send_command("INFO", section)
            text = connection.read_response()
            said += text if isinstance(text, bytes) else str(text).encode()
        try:
            self._masters.met(_name_of(connection), fields_of(said.decode()))
        except BaseException:
            connection.disconnect()
            raise

    def lose(self, reason: str) -> NoReturn:
        """Raise MemoriesLost, and let `claimed` raise it from now on."""
        self._masters.lose(reason)

    def begin_again(self) -> None:
        """Close the client and accept the masters that answer next; partitions have to be claimed again."""
        with self._opening:
            self.close()
            self._client, self._masters = None, Masters()

    @contextmanager
    def available(self) -> Iterator[None]:
        """Raise Unavailable for errors that may pass, and ConfigurationError for what only a setting can change."""
        try:
            yield
            self._answered = True
        except (redis.RedisError, RedisClusterException) as fault:
            if is_read_only(fault):  # a replica now; if it becomes a master again, a new connection must check it
                self._disconnect()
            told = meaning(fault, answered=self._answered)
            if told is None:
                raise
            # The text of MasterNotFoundError shows everything about the sentinels' connections.
            raise told from (None if isinstance(fault, MasterNotFoundError) else fault)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Act as `available`, and raise MemoriesLost if a master is not the one of the claim."""
        self._masters.check()
        try:
            with self.available():
                self._look()
                yield
        finally:  # a cluster's client swallows what `_on_connect` raises while it looks for nodes
            self._masters.check()

    def _look(self) -> None:
        """Check the masters every few seconds: one that was a replica for a while may have kept its connections."""
        if self._client is not None and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            for address, info in self.infos().items():
                self._masters.met(address, info)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """Run a script. All `keys` must be in one cluster slot."""
        return script(keys=keys, args=args, client=self.redis)

    def values(self, groups: Sequence[_Keys]) -> list[list[bytes | None]]:
        """Return the values of each group of keys. The keys of a group must be in one cluster slot.

        It takes one round trip; with a cluster, one per group.
        """
        client = self.redis
        if isinstance(client, RedisCluster):
            return [_values(client.mget(list(keys))) for keys in groups]
        with client.pipeline(transaction=False) as pipe:
            for keys in groups:
                pipe.mget(list(keys))
            return pipe.execute()

    def infos(self) -> dict[str, dict[str, Any]]:
        """Return address -> INFO of each master; without a cluster the address is empty."""
        client = self.redis
        if not isinstance(client, RedisCluster):
            return {"": _info(client.info())}
        return {node.name: _info(client.info(target_nodes=node)) for node in self.nodes()}

    def nodes(self) -> list[ClusterNode]:
        """Return the masters of a cluster; an empty list without a cluster."""
        client = self.redis
        return client.get_primaries() if isinstance(client, RedisCluster) else []

    def place_of(self, key: str) -> str:
        """Return the address of the master that has the key; empty without a cluster."""
        client = self.redis
        return client.get_node_from_key(key).name if isinstance(client, RedisCluster) else ""

    def identity_of(self, key: str) -> str:
        """Return process and history of the master that has the key (see `masters`); empty without a cluster."""
        place = self.place_of(key)
        return self._masters.identity(place) if place else ""

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _disconnect(self) -> None:
        client = self._client
        if isinstance(client, RedisCluster):
            client.disconnect_connection_pools()
        elif client is not None:
            client.connection_pool.disconnect()


def script_of(text: str) -> Script:
    """Make a script for `Connection.run`."""
    return Script(None, text.encode())  # type: ignore[arg-type]  # the client comes with each call


def _name_of(connection: Any) -> str:
    return f"{getattr(connection, 'host', '')}:{getattr(connection, 'port', '')}"


def _values(answer: Any) -> list[bytes | None]:
    return list(answer)


def _info(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer
    return found
