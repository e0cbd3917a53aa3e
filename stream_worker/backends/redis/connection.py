"""The connection to Redis, which notices when what answers is not what it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from stream_worker.backends.redis.faults import available
from stream_worker.core.errors import ConfigurationError, MemoriesLost

_RUN_ID = re.compile(r"run_id:(\w+)")


class Connection:
    """`redis` is the client. What is asked of it stands inside `available`, or, where it rests on an earlier claim,
    inside `claimed`."""

    def __init__(self, url: str) -> None:
        self._run_id = self._lost = ""
        try:
            self.redis = redis.Redis.from_url(
                url,
                # The loop waits meanwhile, and has a membership to keep.
                socket_timeout=2.0,
                socket_connect_timeout=2.0,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 1),
                redis_connect_func=self._on_connect,
            )
        except ValueError as fault:
            raise ConfigurationError(f"memory.redis_url: {fault}") from fault

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
            self.lose(f"run_id is {run_id}, it was {self._run_id}")
        self._run_id = run_id

    def lose(self, reason: str) -> NoReturn:
        """From here on, whatever thread asks is told, until `begin_again`."""
        self._lost = self._lost or reason
        raise MemoriesLost(f"Redis is not what it was: {self._lost}")

    def begin_again(self) -> None:
        self.redis.connection_pool.disconnect()  # the next one tells the run_id
        self._run_id = self._lost = ""

    available = staticmethod(available)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """As `available`, for a store that is still the one that was claimed."""
        if self._lost:
            self.lose(self._lost)
        with available():
            yield

    def close(self) -> None:
        self.redis.close()
