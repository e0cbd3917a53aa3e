"""Translates errors of the registry's client: Unavailable if waiting may help, else ConfigurationError."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from confluent_kafka.schema_registry.error import SchemaRegistryError

from stream_worker.core.errors import ConfigurationError, StreamWorkerError, Unavailable

_LOGIN = (401, 403)
_PASSING = (408, 425, 429)
_UNKNOWN = range(40_400, 40_500)  # Confluent's own codes of what is not there, which no other server's 404 carries


def is_unknown(fault: Exception) -> bool:
    """Return True if a registry said that it has no such schema, and not some other server that it has no such page."""
    return isinstance(fault, SchemaRegistryError) and fault.error_code in _UNKNOWN


def meaning(fault: Exception, url: str, *, answered: bool) -> StreamWorkerError:
    """Return the error to raise for one of the client's.

    answered: the registry has given a schema before. What else would be a wrong setting is then Unavailable: a server
        or a user that is being changed may be right again later.
    """
    key, why, may_pass = _explained(fault)
    message = f"the registry {url} {why}"
    return Unavailable(message) if may_pass or answered else ConfigurationError(f"{key}: {message}")


def _explained(fault: Exception) -> tuple[str, str, bool]:
    """Return the key to change, what the registry does, and True if waiting alone may help."""
    if isinstance(fault, SchemaRegistryError):
        status = fault.http_status_code
        if status in _LOGIN:
            return "registry.username", f"refuses the login (HTTP {status})", False
        if status >= 500 or status in _PASSING:
            return "registry.url", f"answers HTTP {status}: {fault.error_message}"[:200], True
        return "registry.url", f"answers HTTP {status}, as no Confluent API does; is a path missing?", False
    if certificate := next((cause for cause in _causes(fault) if isinstance(cause, ssl.SSLError)), None):
        return "registry.ca_file", f"can't be spoken to by TLS: {certificate}", "CERT" not in str(certificate).upper()
    if isinstance(fault, ValueError | TypeError | AttributeError | LookupError):
        return "registry.url", "answers something else than a registry's JSON", False
    return "registry.url", f"does not answer: {str(fault) or type(fault).__name__}", True


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__
