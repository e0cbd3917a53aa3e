"""`[memory]` of the configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MemoryConfig:
    """`[memory]`: where memories are kept, and how many stay close.

    `device_users` are on the device; `pending_users` may wait in host memory for the store; `twin_users` and
    `twin_items` bound what is kept without Redis. `expire_seconds` 0: Redis keeps users for ever; else it drops those
    not seen for twice that, and ids of items that no worker has had for somewhat longer. `max_item_ids`: so many ids of
    items are in Redis at the most (135 to 740 bytes each); a new one beyond that counts and is listed, but stands in no
    user's memory. These two are the same for all workers of a group.

    `redis_url` names one server, `redis://[user:password@]host[:port][/database]` (`rediss://` for TLS, with options
    such as `?ssl_ca_certs=ca.pem`), or some nodes of a Redis Cluster, separated by commas; that it is a cluster is
    found out. With `sentinel_master`, the name of a master, `redis_url` names the sentinels, separated by commas; its
    user and password are the servers', and `sentinel_username` and `sentinel_password` the sentinels' where these want
    a login of their own. After a failover what was remembered since M is read again: `min-replicas-to-write 1` in
    Redis bounds what the replica may lack.
    """

    redis_url: str = field(default="", repr=False)
    sentinel_master: str = ""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    namespace: str = "stream-worker"
    device_users: int = 50_000
    pending_users: int = 50_000
    twin_users: int = 200_000
    twin_items: int = 2_000_000
    max_item_ids: int = 2_000_000
    expire_seconds: float = 0.0
    rebuild_records: int = 1_000_000

    def __post_init__(self) -> None:
        if self.sentinel_master and not self.redis_url:
            raise ValueError("memory.sentinel_master: needs the sentinels' addresses in memory.redis_url, got none")
        if (self.sentinel_username or self.sentinel_password) and not self.sentinel_master:
            raise ValueError(
                "memory.sentinel_username, memory.sentinel_password: need memory.sentinel_master, got none"
            )
        bounds = {"device_users": 2, "pending_users": 1, "twin_users": 1, "twin_items": 1, "max_item_ids": 1}
        for name, bound in bounds.items():
            if getattr(self, name) < bound:
                raise ValueError(f"memory.{name}: must be at least {bound}, got {getattr(self, name)}")
        if self.expire_seconds != 0 and not 1 <= self.expire_seconds < math.inf:
            raise ValueError(f"memory.expire_seconds: must be 0 (never) or at least 1, got {self.expire_seconds}")
        if self.rebuild_records < 0:
            raise ValueError(f"memory.rebuild_records: must be at least 0, got {self.rebuild_records}")
        if not self.namespace or set("{}") & set(self.namespace):
            raise ValueError(f"memory.namespace: must be a name without braces, got {self.namespace!r}")
