"""Translates errors of Redis: Unavailable if waiting may help, ConfigurationError if a setting must change."""

from __future__ import annotations

import re
from collections.abc import Iterator

import redis
from redis.exceptions import AskError, ClusterError, RedisClusterException, TryAgainError
from redis.sentinel import MasterNotFoundError

from stream_worker.core.errors import ConfigurationError, StreamWorkerError, Unavailable

# No answer. From a cluster also: no node of a slot answers, slots move, or the nodes don't agree yet.
_DOWN = (redis.ConnectionError, redis.TimeoutError, ClusterError, RedisClusterException, TryAgainError, AskError)
_LOGIN = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
# Errors that may pass: full disk or memory, a replica, scripts lost by a restart. Redis 6 has the code inside the text.
_PASSING = re.compile(r"\b(MISCONF|OOM|READONLY|NOREPLICAS|NOSCRIPT|BUSY|MASTERDOWN|CLUSTERDOWN|LOADING)\b")
# "can't run this command": Redis 7 says so if a right is missing inside a script.
_RIGHTS = re.compile(r"\bNOPERM\b|can't run this command|no permissions|unknown command", re.IGNORECASE)
RIGHTS = (
    "+info +evalsha +script|load +script|exists +time +get +set +getrange +mget +incr +hget +hset +hlen, where "
    "memory.expire_seconds is set +exists +rename +unlink +hdel, to read them with `stream-worker memory` +scan, for a "
    "database other than 0 +select, in a cluster +command +cluster|slots"
)


def meaning(fault: Exception, *, answered: bool) -> StreamWorkerError | None:
    """Return the error to raise for one of redis-py's; None: it is a fault of this program.

    answered: Redis has accepted the login before. A refused login is then Unavailable: a server or a user that is being
        changed may accept it again.
    """
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
    """Yield an error, its cause and so on: a cluster's client has the last node's error only as a cause or context."""
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__
