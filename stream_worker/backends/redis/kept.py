"""Checks that no master may evict records, and describes the masters in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream_worker.backends.redis.connection import Connection
from stream_worker.core.amounts import amount
from stream_worker.core.errors import ConfigurationError

_KEEPING = "noeviction"


def ensure_kept(connection: Connection) -> None:
    """Raise ConfigurationError if a master may evict records."""
    with connection.available():
        infos = connection.infos()
    for address, info in infos.items():
        if (policy := info.get("maxmemory_policy", _KEEPING)) != _KEEPING:
            raise ConfigurationError(
                f"memory.redis_url: maxmemory-policy must be {_KEEPING}, or users are lost: {policy}{_at(address)}"
            )


def described(connection: Connection) -> str:
    """Describe version, masters, policy and persistence, for `check`."""
    with connection.available():
        infos = connection.infos()
    masters = f", a cluster of {amount(len(infos), 'master')}" if "" not in infos else ""
    version, policy = _all(infos, "redis_version"), _all(infos, "maxmemory_policy")
    line = f"Redis {version}{masters}, maxmemory-policy {policy}, {_disk(infos)}"
    kept = all(info.get("maxmemory_policy") == _KEEPING for info in infos.values())
    return line if kept else f"{line}; the policy must be {_KEEPING}, or users are lost"


def _disk(infos: Mapping[str, Mapping[str, Any]]) -> str:
    if all(info.get("aof_enabled") for info in infos.values()):
        return "append-only file"
    return "no append-only file: a restart of Redis loses memories"


def _all(infos: Mapping[str, Mapping[str, Any]], name: str) -> str:
    return " and ".join(sorted({str(info.get(name, "unknown")) for info in infos.values()}))


def _at(address: str) -> str:
    return f" at {address}" if address else ""
