"""The connection to Redis, whatever it is, which notices when what answers is not what it was."""

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

_LOOK_SECONDS = 5.0
_Keys = Sequence[str | bytes]


class Connection:
    """What is asked stands inside `available`, or, where it rests on an earlier claim, inside `claimed`."""

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
        """The client, opened at its first use: only what answers tells whether it is a cluster."""
        with self._opening:
            if self._client is None:
                client = open_client(self._config, self._address, self._on_connect)
                if isinstance(client, RedisCluster):
                    self._meet(client)
                self._client, self._look_at = client, time.monotonic() + _LOOK_SECONDS
            return self._client

    def _meet(self, cluster: Any) -> None:
        """One that does not answer now will be a stranger when it does."""
        for node in cluster.get_primaries():
            with suppress(redis.ConnectionError, redis.TimeoutError, RedisClusterException):
                cluster.execute_command("INFO", "server", target_nodes=node)
        self._masters.begun()

    def _on_connect(self, connection: Any) -> None:
        """No command reaches another server, or another history, unnoticed: every connection to it is a new one."""
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
        self._masters.lose(reason)

    def begin_again(self) -> None:
        with self._opening:
            self.close()
            self._client, self._masters = None, Masters()

    @contextmanager
    def available(self) -> Iterator[None]:
        """Turns what a later call may cure into Unavailable, and refusals into ConfigurationError."""
        try:
            yield
            self._answered = True
        except (redis.RedisError, RedisClusterException) as fault:
            if is_read_only(fault):  # if it becomes a master again, its history is another one
                self._disconnect()
            told = meaning(fault, answered=self._answered)
            if told is None:
                raise
            # Its text shows all that is known of the sentinels' connections.
            raise told from (None if isinstance(fault, MasterNotFoundError) else fault)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """As `available`, for a store that is still the one that was claimed."""
        self._masters.check()
        try:
            with self.available():
                self._look()
                yield
        finally:  # a cluster's client keeps to itself what it finds while it looks for the nodes
            self._masters.check()

    def _look(self) -> None:
        """Now and then: one that was a replica and is a master again has kept its connections."""
        if self._client is not None and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            for address, info in self.infos().items():
                self._masters.met(address, info)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """`keys` are of one slot."""
        return script(keys=keys, args=args, client=self.redis)

    def values(self, groups: Sequence[_Keys]) -> list[list[bytes | None]]:
        """The values of each group of keys, which are of one slot: in one round trip, of a cluster in one a group."""
        client = self.redis
        if isinstance(client, RedisCluster):
            return [_values(client.mget(list(keys))) for keys in groups]
        with client.pipeline(transaction=False) as pipe:
            for keys in groups:
                pipe.mget(list(keys))
            return pipe.execute()

    def infos(self) -> dict[str, dict[str, Any]]:
        """Address -> INFO of each master."""
        client = self.redis
        if not isinstance(client, RedisCluster):
            return {"": _info(client.info())}
        return {node.name: _info(client.info(target_nodes=node)) for node in self.nodes()}

    def nodes(self) -> list[ClusterNode]:
        """The masters of a cluster; none where it is no cluster."""
        client = self.redis
        return client.get_primaries() if isinstance(client, RedisCluster) else []  # type: ignore[no-untyped-call]

    def place_of(self, key: str) -> str:
        """The address of the master that keeps the key, in a cluster."""
        client = self.redis
        return client.get_node_from_key(key).name if isinstance(client, RedisCluster) else ""  # type: ignore[no-untyped-call]

    def identity_of(self, key: str) -> str:
        """Which master of a cluster keeps the key, told apart from all that it ever was or will be."""
        place = self.place_of(key)
        return self._masters.identity(place) if place else ""

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _disconnect(self) -> None:
        client = self._client
        if isinstance(client, RedisCluster):
            client.disconnect_connection_pools()  # type: ignore[no-untyped-call]
        elif client is not None:
            client.connection_pool.disconnect()


def script_of(text: str) -> Script:
    """For `Connection.run`."""
    return Script(None, text.encode())  # type: ignore[arg-type]  # the client comes with each call


def _name_of(connection: Any) -> str:
    return f"{getattr(connection, 'host', '')}:{getattr(connection, 'port', '')}"


def _values(answer: Any) -> list[bytes | None]:
    return list(answer)


def _info(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer
    return found
