"""Documents from Avro, Protobuf and JSON Schema records, by the schemas of a registry with Confluent's API.

Needs the extra `registry`; nothing of it is imported unless a registry is configured.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from stream_worker.backends.registry.config import RegistryConfig
from stream_worker.core.errors import ConfigurationError

if TYPE_CHECKING:
    from stream_worker.backends.registry.registry import Registry

# The packages of the extra, and those that confluent-kafka's client needs.
_NEEDED = ("fastavro", "grpc_tools", "google.protobuf", "google.type", "authlib", "cachetools", "attrs")


def open_registry(config: RegistryConfig) -> Registry:
    """Return the registry; it is asked when the first record needs a schema.

    Raises ConfigurationError, which names the extra, if a library is not installed.
    """
    if missing := [name for name in _NEEDED if not _is_there(name)]:
        raise ConfigurationError(
            f"registry.url: needs {' and '.join(missing)}, which the extra `registry` installs: "
            "pip install 'stream-worker[registry]'"
        )
    from stream_worker.backends.registry.registry import Registry

    return Registry(config)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


__all__ = ["RegistryConfig", "open_registry"]
