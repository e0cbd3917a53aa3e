"""A trial for `check`: it does on keys of its own, on every master, all that `run` does, with the same login."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable
from contextlib import suppress
from itertools import count

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis.store import RedisMemoryStore
from stream_worker.core.errors import StreamWorkerError, Unavailable
from stream_worker.core.interfaces import Holder

_RECORD = b"\1" + bytes(11)
_TRIED = 1_000  # partitions that are tried to find one on each master of a cluster; not tuned


class Trial(RedisMemoryStore):
    """The store of a made-up group, whose keys begin like those of the configured group: the rights of a login that
    are limited to these keys are enough."""

    def __init__(self, config: MemoryConfig, group: str) -> None:
        super().__init__(config, f"{group}:check-{secrets.token_hex(4)}")

    def run(self) -> None:
        """Raise the error that `run` would end with or wait for. All keys are removed afterwards."""
        self.ensure_kept()
        partitions = self._one_a_master()
        try:
            for partition in partitions:
                self._remember(partition)
            self._number()
            self._own()
        finally:
            with suppress(StreamWorkerError):
                self._forget(partitions)

    def _remember(self, partition: int) -> None:
        token = self.claim([partition])[partition].token
        self.set_floor(partition, token, 0)
        self.save(partition, token, [("user", _RECORD)])
        self._same("record", self.load({partition: token}, [(partition, "user")]), [_RECORD])

    def _number(self) -> None:
        """Number an item; if ids are forgotten, also in a dictionary that is due for it, which takes other rights."""
        self._same("number", self.item_ids(self.number_items(["item"])), ["item"])
        if self.numbers_kept_seconds < math.inf:
            with self._connection.available():
                self._connection.redis.set(self._items.turned, 0)
            self._same("number", self.item_ids(self.number_items(["item"])), ["item"])

    def _own(self) -> None:
        self.take_slot("slot", "nonce")
        self._same("slot's owner", self.slot_owner("slot"), "nonce")
        self._same("slot's holder", self.claim_slot("slot", Holder("nonce"), 1.0, member=False), True)

    def _same(self, what: str, found: object, given: object) -> None:
        if found != given:
            raise Unavailable(f"Redis: a {what} did not come back as it was written: expected {given!r}, got {found!r}")

    def _one_a_master(self) -> list[int]:
        """Find a partition on each master of a cluster, since each has its own logins."""
        with self._connection.available():
            masters = {node.name for node in self._connection.nodes()} or {""}
            found: dict[str, int] = {}
            for partition in count():
                found.setdefault(self._connection.place_of(self._key(partition, "token")), partition)
                if masters <= found.keys() or partition == _TRIED:
                    return list(found.values())
        raise AssertionError("count() never ends")

    def _forget(self, partitions: Iterable[int]) -> None:
        """Let all keys expire at once, since `run` needs no right to delete them."""
        keys = [self._key(p, name) for p in partitions for name in ("token", "floor", "topic", "u:user")]
        slots = (f"{self._prefix}:slots}}", self._slots.key_of("slot"))
        with self._connection.available():
            for key in (*keys, *self._items.keys, f"{self._prefix}:items}}:master", *slots):
                self._connection.redis.set(key, b"", px=1)
