"""Asks the brokers for the group, again and again, without a request that ever times out.

librdkafka 2 can abort the whole process ("eonce->refcnt > 0", as in its issue 3663) if such a request times out while
no broker can say who coordinates the group: in an outage, or on a young cluster. So the request has an hour, only the
caller's wait ends sooner, and the next call waits for the same answer.
"""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.faults import connect

_REQUEST_SECONDS = 3_600.0  # the longest that librdkafka takes
# Clients with a request that is still open. They are never closed, since that would end the request.
_kept: set[AdminClient] = set()
# Waits in vain until another client asks anew, since a young cluster may never answer the first one: one at first,
# doubled each time, so that a long outage leaves few clients behind. Not tuned.
_MOST_WAITS = 32


class DescribedGroup:
    """The configured group as the brokers describe it."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._admin: AdminClient | None = None
        self._asked: Future[Any] | None = None
        self._waits, self._patience = 0, 1

    def ask(self, seconds: float) -> Any:
        """Return the group's description. Raises KafkaException, also where no answer came within so many seconds."""
        if self._admin is None:
            self._admin = connect(AdminClient, client_settings(self._config))
        name = self._config.group_id
        if self._asked is None:
            self._asked = self._admin.describe_consumer_groups([name], request_timeout=_REQUEST_SECONDS)[name]
        try:
            described = self._asked.result(seconds)
        except NotYet:
            self._wait_in_vain()
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the group was not described in time")) from None
        except KafkaException:
            self._asked = None
            raise
        self._asked, self._waits, self._patience = None, 0, 1
        return described

    def _wait_in_vain(self) -> None:
        assert self._admin is not None
        _kept.add(self._admin)
        self._waits += 1
        if self._waits >= self._patience:
            self._admin, self._asked, self._waits = None, None, 0
            self._patience = min(2 * self._patience, _MOST_WAITS)
