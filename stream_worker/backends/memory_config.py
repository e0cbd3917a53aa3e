"""`[memory]` of the configuration."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated

from annotated_types import Ge
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from pydantic import dataclasses as checked


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class MemoryConfig:
    """`[memory]`: where users' memories are kept, and how many stay close."""

    #: Redis: one server, `redis://[user:password@]host[:port][/database]` (`rediss://` for TLS, with options such as
    #: `?ssl_ca_certs=ca.pem`), or some nodes of a Redis Cluster, separated by commas, or the sentinels of
    #: `sentinel_master`. Empty: memories are kept in the process and in its checkpoints, for one worker alone.
    redis_url: str = field(default="", repr=False)
    #: Name of the master when `redis_url` names sentinels; user and password in the URL are the servers'. After a
    #: failover what was remembered since M is read again: `min-replicas-to-write 1` in Redis bounds what the replica
    #: may lack.
    sentinel_master: str = ""
    #: User at the sentinels, where these want a login of their own.
    sentinel_username: str = ""
    #: Password at the sentinels. It is never shown.
    sentinel_password: str = field(default="", repr=False)
    #: Beginning of every key in Redis. It has no braces, which hold the keys of a script in one slot of a cluster.
    namespace: str = "stream-worker"
    #: Users whose memories are on the device; at least twice `worker.batch_size`. 50,000 take 77 MB of rings at
    #: `model.ring_size` 255 (ADR 0009).
    device_users: Annotated[int, Ge(2)] = 50_000
    #: Users whose memories wait in host memory for the store. Reading pauses at this bound. A record has at most 1.8
    #: KB, so all of them 91 MB (ADR 0009). Not tuned.
    pending_users: PositiveInt = 50_000
    #: Users that are kept without Redis, at most 1.8 KB each (ADR 0009). Not tuned.
    twin_users: PositiveInt = 200_000
    #: Item ids that are kept without Redis, as `max_item_ids` with it (ADR 0016).
    twin_items: PositiveInt = 2_000_000
    #: Item ids that are kept in Redis, 135 to 740 bytes each; a server of 1 GB holds the default. A new item beyond it
    #: is counted and listed, but stands in no user's memory. The same for all workers of a group (ADR 0016).
    max_item_ids: PositiveInt = 2_000_000
    #: Seconds, 0 (never) or at least 1. Redis drops users that were not seen for twice this time, and ids of items that
    #: no worker has had for somewhat longer. The same for all workers of a group (ADR 0016).
    expire_seconds: NonNegativeFloat = 0.0
    #: Records per partition before the committed offset that are read again when Redis has lost the memories and M with
    #: them (ADR 0006). Not tuned.
    rebuild_records: NonNegativeInt = 1_000_000

    def __post_init__(self) -> None:
        if self.sentinel_master and not self.redis_url:
            raise ValueError("memory.sentinel_master: needs the sentinels' addresses in memory.redis_url, got none")
        if (self.sentinel_username or self.sentinel_password) and not self.sentinel_master:
            raise ValueError(
                "memory.sentinel_username, memory.sentinel_password: need memory.sentinel_master, got none"
            )
        if self.expire_seconds != 0 and not 1 <= self.expire_seconds < math.inf:
            raise ValueError(f"memory.expire_seconds: must be 0 (never) or at least 1, got {self.expire_seconds}")
        if not self.namespace or set("{}") & set(self.namespace):
            raise ValueError(f"memory.namespace: must be a name without braces, got {self.namespace!r}")
