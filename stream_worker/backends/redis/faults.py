"""What an answer of Redis means for the loop: wait for it, or change a setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from stream_worker.core.errors import ConfigurationError, Unavailable

_DOWN = (redis.ConnectionError, redis.TimeoutError)
_REFUSED = (redis.AuthenticationError, redis.exceptions.AuthorizationError, redis.exceptions.NoPermissionError)
# Answers that pass: disk or memory full, a replica, scripts lost by a restart. Redis 6 buries the code in a sentence.
_PASSING = re.compile(r"\b(MISCONF|OOM|READONLY|NOREPLICAS|NOSCRIPT|BUSY|MASTERDOWN)\b")


@contextmanager
def available() -> Iterator[None]:
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
