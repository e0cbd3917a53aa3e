"""User memories in Redis: one key a record, every write fenced by the partition's token.

Keys, with `<p>` = `<namespace>:{<group>:<partition>}` (hash-tagged, so that a script stays in one Redis Cluster slot):

    <p>:token   fencing token, grows at every claim         <p>:floor   M
    <p>:u:<user>   a memory record

and under `<namespace>:{<group>:items}` the dictionary of item numbers, under `<namespace>:{<group>:slots}` the owners
of worker slots. Bytes 1 to 8 of a record are its next offset in big-endian order: scripts compare them.
"""

from __future__ import annotations

import math
import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import redis
from numpy.typing import NDArray
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from stream_worker.core.errors import ConfigurationError, MemoriesLost, StaleToken, Unavailable
from stream_worker.core.interfaces import Claim

_CHUNK = 1_000
_SCANNED = 1_000
_RUN_ID = re.compile(r"run_id:(\w+)")
_DOWN = (redis.ConnectionError, redis.TimeoutError)
_REFUSED = (redis.AuthenticationError, redis.exceptions.AuthorizationError, redis.exceptions.NoPermissionError)
# Answers that pass: disk or memory full, a replica, scripts lost by a restart. Redis 6 buries the code in a sentence.
_PASSING = re.compile(r"\b(MISCONF|OOM|READONLY|NOREPLICAS|NOSCRIPT|BUSY|MASTERDOWN)\b")

# KEYS: token, floor. ARGV: a token given before; takes a new one and returns it and the floor, as texts.
# A token is at least the time in microseconds: one that was given before the store was wiped never comes again.
_CLAIM = """
local now = redis.call('TIME')
local token = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 1
token = string.format('%.0f', math.max(token, tonumber(now[1]) * 1000000 + tonumber(now[2])))
redis.call('SET', KEYS[1], token)
return {token, redis.call('GET', KEYS[2])}
"""

# KEYS: token, records... ARGV: token, ttl in milliseconds (0: none), records...; returns how many were written, or
# -current - 1 when the token is another.
# Lua compares strings by the server's locale (under en_US, "a" < "B"), so next offsets are compared as two numbers.
_SAVE = """
local function lower(stored, given)
  if stored == '' then return false end
  local stored_high, stored_low = struct.unpack('>I4I4', stored)
  local given_high, given_low = struct.unpack('>I4I4', given)
  if stored_high ~= given_high then return given_high < stored_high end
  return given_low < stored_low
end
local current = redis.call('GET', KEYS[1])
if current ~= ARGV[1] then return -(tonumber(current) or 0) - 1 end
local written = 0
for i = 2, #KEYS do
  local value = ARGV[i + 1]
  if not lower(redis.call('GETRANGE', KEYS[i], 1, 8), string.sub(value, 2, 9)) then
    if ARGV[2] == '0' then redis.call('SET', KEYS[i], value)
    else redis.call('SET', KEYS[i], value, 'PX', ARGV[2]) end
    written = written + 1
  end
end
return written
"""

# KEYS: token, floor. ARGV: token, floor.
_SET_FLOOR = """
local current = redis.call('GET', KEYS[1])
if current ~= ARGV[1] then return -(tonumber(current) or 0) - 1 end
if tonumber(redis.call('GET', KEYS[2]) or '-1') < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
return 0
"""

# KEYS: ids, names, counter, epoch. ARGV: the dictionary's epoch ('': any), one for a new dictionary, ids...; returns
# the epoch and the ids' numbers, giving new ones to the unknown; the epoch alone where it is another.
_NUMBER = """
local epoch = redis.call('GET', KEYS[4])
if ARGV[1] ~= '' and ARGV[1] ~= epoch then return {epoch or ''} end
if not epoch then
  epoch = ARGV[2]
  redis.call('SET', KEYS[4], epoch)
end
local numbers = {epoch}
for i = 3, #ARGV do
  local id = ARGV[i]
  local number = redis.call('HGET', KEYS[1], id)
  if not number then
    number = redis.call('INCR', KEYS[3])
    redis.call('HSET', KEYS[1], id, number)
    redis.call('HSET', KEYS[2], number, id)
  end
  numbers[i - 1] = tonumber(number)
end
return numbers
"""


@dataclass(frozen=True)
class MemoryConfig:
    """`[memory]`: where memories are kept, and how many stay close.

    `device_users` are on the device; `pending_users` may wait in host memory for the store; `twin_users` and
    `twin_items` bound what is kept without Redis. `expire_seconds` 0: Redis keeps users for ever; else it drops those
    not seen for twice that.
    """

    redis_url: str = ""
    namespace: str = "stream-worker"
    device_users: int = 50_000
    pending_users: int = 50_000
    twin_users: int = 200_000
    twin_items: int = 2_000_000
    expire_seconds: float = 0.0
    rebuild_records: int = 1_000_000

    def __post_init__(self) -> None:
        for name, bound in (("device_users", 2), ("pending_users", 1), ("twin_users", 1), ("twin_items", 1)):
            if getattr(self, name) < bound:
                raise ValueError(f"memory.{name}: must be at least {bound}, got {getattr(self, name)}")
        if self.expire_seconds != 0 and not 1 <= self.expire_seconds < math.inf:
            raise ValueError(f"memory.expire_seconds: must be 0 (never) or at least 1, got {self.expire_seconds}")
        if self.rebuild_records < 0:
            raise ValueError(f"memory.rebuild_records: must be at least 0, got {self.rebuild_records}")
        if not self.namespace or set("{}") & set(self.namespace):
            raise ValueError(f"memory.namespace: must be a name without braces, got {self.namespace!r}")


class RedisMemoryStore:
    """See `interfaces.MemoryStore`. `group` names the consumer group and topic that the memories belong to."""

    durable = True

    def __init__(self, config: MemoryConfig, group: str) -> None:
        self._prefix = f"{config.namespace}:{{{group}"
        self._ttl_ms = str(math.ceil(2_000 * config.expire_seconds))
        self._run_id = self._epoch = self._lost = ""
        try:
            self._redis = redis.Redis.from_url(
                config.redis_url,
                # The loop waits meanwhile, and has a membership to keep.
                socket_timeout=2.0,
                socket_connect_timeout=2.0,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 1),
                redis_connect_func=self._on_connect,
            )
        except ValueError as fault:
            raise ConfigurationError(f"memory.redis_url: {fault}") from fault
        self._claim = self._redis.register_script(_CLAIM)
        self._save = self._redis.register_script(_SAVE)
        self._set_floor = self._redis.register_script(_SET_FLOOR)
        self._number = self._redis.register_script(_NUMBER)

    def _on_connect(self, connection: Any) -> None:
        """A server that was restarted, or that took over from another, may hold less than was written. It has another
        run_id, and every connection to it is a new one, so no command reaches it unnoticed."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        text = connection.read_response()
        found = _RUN_ID.search(text.decode() if isinstance(text, bytes) else str(text))
        run_id = found[1] if found else ""
        if self._run_id and run_id != self._run_id:
            connection.disconnect()
            self._lose(f"run_id is {run_id}, it was {self._run_id}")
        self._run_id = run_id

    def _lose(self, reason: str) -> None:
        """From here on, whatever thread asks is told, until `begin_again`."""
        self._lost = self._lost or reason
        raise MemoriesLost(f"Redis is not what it was: {self._lost}")

    def begin_again(self) -> None:
        self._redis.connection_pool.disconnect()  # the next one tells the run_id
        self._run_id = self._epoch = self._lost = ""

    def claim(self, partitions: Collection[int], above: Mapping[int, int] | None = None) -> dict[int, Claim]:
        with self._claimed(), self._redis.pipeline(transaction=False) as pipe:
            for partition in partitions:
                keys = [self._key(partition, "token"), self._key(partition, "floor")]
                self._claim(keys=keys, args=[str((above or {}).get(partition, 0))], client=pipe)
            answers = pipe.execute()
        return {
            partition: Claim(int(token), None if floor is None else int(floor))
            for partition, (token, floor) in zip(partitions, answers, strict=True)
        }

    def load(self, tokens: Mapping[int, int], keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        return self._fetch(keys, tokens)

    def peek(self, keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        return self._fetch(keys)

    def _fetch(self, keys: Sequence[tuple[int, str]], tokens: Mapping[int, int] | None = None) -> list[bytes | None]:
        """The records in one round trip, each partition's beside its token, which is compared if `tokens` are given."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for partition, user in keys:
            by_partition[partition].append(user)
        chunks = [(p, users[i : i + _CHUNK]) for p, users in by_partition.items() for i in range(0, len(users), _CHUNK)]
        with self._claimed(), self._redis.pipeline(transaction=False) as pipe:
            for partition, users in chunks:
                pipe.mget([self._key(partition, "token"), *(self._key(partition, f"u:{user}") for user in users)])
            answers = pipe.execute()
        found: dict[tuple[int, str], bytes | None] = {}
        for (partition, users), (token, *records) in zip(chunks, answers, strict=True):
            if tokens is not None:
                self._check(partition, tokens[partition], int(token or 0))
            found |= zip(((partition, user) for user in users), records, strict=True)
        return [found[key] for key in keys]

    def save(self, partition: int, token: int, records: Sequence[tuple[str, bytes]]) -> int:
        """Of more than 1,000 records the first may have been written when the token goes stale."""
        written = 0
        for start in range(0, max(len(records), 1), _CHUNK):
            chunk = records[start : start + _CHUNK]
            keys = [self._key(partition, "token"), *(self._key(partition, f"u:{user}") for user, _ in chunk)]
            with self._claimed():
                answer = self._save(keys=keys, args=[str(token), self._ttl_ms, *(blob for _, blob in chunk)])
            written += self._accepted(int(answer), partition, token)
        return written

    def set_floor(self, partition: int, token: int, floor: int) -> None:
        keys = [self._key(partition, "token"), self._key(partition, "floor")]
        with self._claimed():
            answer = self._set_floor(keys=keys, args=[str(token), str(floor)])
        self._accepted(int(answer), partition, token)

    def number_items(self, ids: Sequence[str]) -> list[int]:
        items = f"{self._prefix}:items}}"
        keys = [f"{items}:ids", f"{items}:names", f"{items}:counter", f"{items}:epoch"]
        numbers: list[int] = []
        for start in range(0, len(ids), _CHUNK):
            with self._claimed():
                asked = [self._epoch, secrets.token_hex(8), *ids[start : start + _CHUNK]]
                answer: Any = self._number(keys=keys, args=asked)
            epoch = answer[0].decode()
            if self._epoch and epoch != self._epoch:
                self._lose("its dictionary of items is gone")
            self._epoch = epoch
            numbers += answer[1:]
        return numbers

    def item_ids(self, numbers: Sequence[int]) -> list[str | None]:
        if not numbers:
            return []
        with _available():
            names: Any = self._redis.hmget(f"{self._prefix}:items}}:names", [str(number) for number in numbers])
        return [None if name is None else name.decode() for name in names]

    def scan(self, user: str | None = None) -> Iterator[tuple[int, str, bytes]]:
        pattern = f"{_literal(self._prefix)}:*}}:u:{'*' if user is None else _literal(user)}"
        with _available():
            keys = _once(self._redis.scan_iter(match=pattern, count=_SCANNED))
            while batch := list(islice(keys, _SCANNED)):
                yield from self._records(batch, user)

    def take_slot(self, slot: str, nonce: str) -> None:
        with _available():
            self._redis.hset(f"{self._prefix}:slots}}", slot, nonce)

    def slot_owner(self, slot: str) -> str | None:
        with _available():
            owner: Any = self._redis.hget(f"{self._prefix}:slots}}", slot)
        return None if owner is None else owner.decode()

    def ensure_kept(self) -> None:
        with _available():
            info: Any = self._redis.info("memory")
        if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
            raise ConfigurationError(
                f"memory.redis_url: maxmemory-policy must be noeviction, or users are lost: {policy}"
            )

    def ping(self) -> str:
        with _available():
            info: Any = self._redis.info()
        policy = info.get("maxmemory_policy", "unknown")
        kept = (
            "append-only file" if info.get("aof_enabled") else "no append-only file: a restart of Redis loses memories"
        )
        line = f"Redis {info['redis_version']}, maxmemory-policy {policy}, {kept}"
        return line if policy == "noeviction" else f"{line}; the policy must be noeviction, or users are lost"

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Redis keeps its own state."""

    def close(self) -> None:
        self._redis.close()

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        """As `_available`, for a store that is still the one that was claimed."""
        if self._lost:
            self._lose(self._lost)
        with _available():
            yield

    def _accepted(self, answer: int, partition: int, token: int) -> int:
        if answer < 0:
            self._check(partition, token, -answer - 1)
        return answer

    def _check(self, partition: int, token: int, current: int) -> None:
        if current < token:
            self._lose(f"the token of partition {partition} is {current}, it was {token}")
        if current > token:
            raise StaleToken(partition, token, current)

    def _key(self, partition: int, name: str) -> str:
        return f"{self._prefix}:{partition}}}:{name}"

    def _records(self, keys: list[bytes], wanted: str | None) -> Iterator[tuple[int, str, bytes]]:
        """Without those that only look alike to a pattern: of group "g:x" under "g", of user "a}:u:b" under "b"."""
        values: Any = self._redis.mget(keys)
        for key, value in zip(keys, values, strict=True):
            partition, _, user = key.decode().removeprefix(f"{self._prefix}:").partition("}:u:")
            if value is not None and partition.isdecimal() and wanted in (None, user):
                yield int(partition), user, value


def _once(keys: Iterable[bytes]) -> Iterator[bytes]:
    """SCAN gives a key again where Redis resizes its table meanwhile."""
    seen: set[bytes] = set()
    for key in keys:
        if key not in seen:
            seen.add(key)
            yield key


def _literal(text: str) -> str:
    """`text` for a MATCH pattern, where these characters would be wild."""
    return "".join(f"\\{c}" if c in "*?[]^\\" else c for c in text)


@contextmanager
def _available() -> Iterator[None]:
    """Turns what a later call may cure into Unavailable, and refusals into ConfigurationError."""
    try:
        yield
    except _REFUSED as fault:
        raise ConfigurationError(f"memory.redis_url: Redis refuses: {fault}") from fault
    except _DOWN as fault:
        raise Unavailable(f"Redis: {fault}") from fault
    except redis.ResponseError as fault:
        if _PASSING.search(f"{fault.status_code} {fault}"):
            raise Unavailable(f"Redis: {fault}") from fault
        raise
