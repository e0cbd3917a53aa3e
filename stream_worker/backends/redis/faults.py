"""What an answer of Redis means for the loop: wait for it, or change a setting."""

from __future__ import annotations

import re
from collections.abc import Iterator

import redis
from redis.exceptions import AskError, ClusterError, RedisClusterException, TryAgainError
from redis.sentinel import MasterNotFoundError

from stream_worker.core.errors import ConfigurationError, StreamWorkerError, Unavailable

# Of a cluster: no node of a slot answers now, slots move, or the nodes don't agree yet.
_DOWN = (redis.ConnectionError, redis.TimeoutError, ClusterError, RedisClusterException, TryAgainError, AskError)
_LOGIN = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
# Answers that pass: disk or memory full, a replica, scripts lost by a restart. Redis 6 buries the code in a sentence.
_PASSING = re.compile(r"\b(MISCONF|OOM|READONLY|NOREPLICAS|NOSCRIPT|BUSY|MASTERDOWN|CLUSTERDOWN|LOADING)\b")
# "can't run this command": a right that is missing inside a script (Redis 7).
_RIGHTS = re.compile(r"\bNOPERM\b|can't run this command|no permissions|unknown command", re.IGNORECASE)
RIGHTS = (
    "+info +evalsha +script|load +script|exists +time +get +set +getrange +mget +incr +hget +hset +hlen, where "
    "memory.expire_seconds is set +exists +rename +unlink +hdel, to read them with `stream-worker memory` +scan, for a "
    "database other than 0 +select, in a cluster +command +cluster|slots"
)


def meaning(fault: Exception, *, answered: bool) -> StreamWorkerError | None:
    """None for what is a fault of this program. `answered`: the login was good before, so that it is waited for."""
    causes = list(_causes(fault))
    if login := next((cause for cause in causes if isinstance(cause, _LOGIN)), None):
        return _refused_login(login, answered)
    if isinstance(fault, MasterNotFoundError):
        return _of_sentinels(str(fault), answered)
    if right := next((cause for cause in causes if _RIGHTS.search(str(cause))), None):
        return _refused(str(right))
    if isinstance(fault, _DOWN):
        return Unavailable(f"Redis: {fault}")
    if isinstance(fault, redis.ResponseError):
        return _of_answer(fault)
    return None


def _refused_login(login: Exception, answered: bool) -> StreamWorkerError:
    if answered:
        return Unavailable(f"Redis: the login is no longer accepted (memory.redis_url): {login}")
    return ConfigurationError(f"memory.redis_url: Redis refuses: {login}")


def _of_sentinels(said: str, answered: bool) -> StreamWorkerError:
    if "AuthenticationError" in said and not answered:
        return ConfigurationError("memory.sentinel_password: the sentinels refuse the login, or want one")
    return Unavailable("Redis: no sentinel answers with a master of that name that is up (memory.sentinel_master)")


def _refused(said: str) -> ConfigurationError:
    if "SENTINEL" in said.upper():
        return ConfigurationError(
            f"memory.sentinel_master: memory.redis_url names no sentinels, or may not ask: {said}"
        )
    return ConfigurationError(f"memory.redis_url: Redis refuses: {said}; its user needs {RIGHTS}")


def _of_answer(fault: redis.ResponseError) -> StreamWorkerError | None:
    said = f"{fault.status_code} {fault}"
    if _PASSING.search(said):
        return Unavailable(f"Redis: {fault}")
    if "SELECT is not allowed" in said or "DB index" in said:
        return ConfigurationError(f"memory.redis_url: has no such database (a Redis Cluster has 0 only): {fault}")
    if "WRONGTYPE" in said:
        return ConfigurationError(f"memory.namespace: something else uses its keys in this Redis: {fault}")
    return None


def is_read_only(fault: Exception) -> bool:
    return isinstance(fault, redis.ResponseError) and "READONLY" in f"{fault.status_code} {fault}"


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    """A cluster's client tells of the last node that it tried only as a cause, or as what it was at."""
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__
