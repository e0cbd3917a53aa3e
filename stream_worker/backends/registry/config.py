"""`[registry]` of the configuration, and the settings of the client that fetches schemas."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

from annotated_types import Interval
from pydantic import dataclasses as checked

_NEEDS = {"password": "username", "key_file": "cert_file", "username": "url", "ca_file": "url", "cert_file": "url"}


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class RegistryConfig:
    """`[registry]`: the schema registry of records that are Avro, Protobuf or JSON Schema (docs/formats.md).

    Needs the extra `registry`: `pip install 'stream-worker[registry]'`.
    """

    #: Address of the registry's Confluent API, `http://host:8081`, several separated by commas; Apicurio's ends in
    #: `/apis/ccompat/v7`. User and password have keys of their own. Empty: such records are dead letters.
    url: str = ""
    #: User of the registry, or a Confluent Cloud API key. Empty: nobody logs in.
    username: str = ""
    #: Password of the user, or the API key's secret. It is never shown.
    password: str = field(default="", repr=False)
    #: File of the authorities that may sign the registry's certificate. Empty: those that everybody trusts.
    ca_file: str = ""
    #: File of this worker's own certificate, where the registry asks for one.
    cert_file: str = ""
    #: File of the key to `cert_file`. Empty: it is in the same file.
    key_file: str = ""
    #: Seconds until a registry that says nothing counts as away; a worker waits for it then, as for Kafka.
    timeout_seconds: Annotated[float, Interval(gt=0, le=60)] = 5.0

    def __post_init__(self) -> None:
        for address in filter(None, self.url.split(",")):
            if not address.strip().startswith(("http://", "https://")):
                raise ValueError("registry.url: must begin with http:// or https://")
        if "@" in self.url:
            raise ValueError(
                "registry.url: takes no user and password; they are registry.username and registry.password"
            )
        if ":" in self.username:
            raise ValueError("registry.username: must be a name without a colon, which ends it in a login")
        for name, other in _NEEDS.items():
            if getattr(self, name) and not getattr(self, other):
                raise ValueError(f"registry.{name}: needs registry.{other}, got none")


def client_settings(config: RegistryConfig) -> dict[str, Any]:
    """Return the settings of `SchemaRegistryClient`. It tries once: whoever asks waits and tries again."""
    settings: dict[str, Any] = {"url": config.url, "timeout": config.timeout_seconds, "max.retries": 0}
    files = {"ca": config.ca_file, "certificate": config.cert_file, "key": config.key_file}
    settings |= {f"ssl.{name}.location": path for name, path in files.items() if path}
    if config.username:
        settings["basic.auth.user.info"] = f"{config.username}:{config.password}"
    return settings
