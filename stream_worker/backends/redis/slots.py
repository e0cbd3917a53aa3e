"""The owners and holders of worker slots in Redis.

<prefix>:slots}           the nonce of the last start that took each slot
<prefix>:slots}:<slot>    who holds a slot now; it expires unless it is held on
"""

from __future__ import annotations

import math
from typing import Any

from stream_worker.backends.redis import scripts
from stream_worker.backends.redis.connection import Connection, script_of
from stream_worker.core.interfaces import Holder


class RedisSlots:
    """Implements `interfaces.Slots`, on a store's connection. `prefix`: the beginning of all keys of the group."""

    durable = True

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection, self._key = connection, f"{prefix}:slots}}"
        self._take = script_of(scripts.TAKE_SLOT)
        self._claim = script_of(scripts.CLAIM_SLOT)
        self._keep = script_of(scripts.KEEP_SLOT)
        self._give_back = script_of(scripts.GIVE_SLOT_BACK)

    def take_slot(self, slot: str, nonce: str) -> None:
        with self._connection.available():
            self._connection.run(self._take, [self._key, self.key_of(slot)], [slot, nonce])

    def slot_owner(self, slot: str) -> str | None:
        with self._connection.available():
            owner: Any = self._connection.redis.hget(self._key, slot)
        return None if owner is None else owner.decode()

    def claim_slot(self, slot: str, holder: Holder, seconds: float, *, member: bool) -> bool:
        with self._connection.available():
            args = [_text(holder), _ms(seconds), holder.place, "1" if member else "0"]
            return bool(self._connection.run(self._claim, [self.key_of(slot)], args))

    def keep_slot(self, slot: str, holder: Holder, seconds: float) -> bool:
        with self._connection.available():
            return bool(self._connection.run(self._keep, [self.key_of(slot)], [_text(holder), _ms(seconds)]))

    def give_slot_back(self, slot: str, holder: Holder, seconds: float) -> None:
        with self._connection.available():
            self._connection.run(self._give_back, [self.key_of(slot)], [_text(holder), _ms(seconds)])

    def key_of(self, slot: str) -> str:
        """Return the key of a slot's holder."""
        return f"{self._key}:{slot}"


def _text(holder: Holder) -> str:
    return f"{holder.nonce} {holder.place}"


def _ms(seconds: float) -> str:
    return str(math.ceil(1_000 * seconds))
