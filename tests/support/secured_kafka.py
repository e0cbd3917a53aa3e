"""A real Kafka that asks who is there: TLS, SASL and rights in one broker, its certificates made by openssl.

The plain listener is the administrator's (anybody there is a super user); the others know the principals that tests
make, and each may do what the tests say.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.support.services import KafkaBroker, free_port, output_of, program

USER, PASSWORD = "worker", "hunter2"
Right = tuple[str, str, str]  # operation, kind of resource, its name

_SECURITY = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},{listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,\
SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""
_SAN = "subjectAltName=IP:127.0.0.1"


class Certificates:
    """An authority, a server that it knows as 127.0.0.1, a client; and an authority that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for authority in ("ca", "other"):
            _openssl("req", "-x509", *_key(folder, authority), "-days", "2", "-subj", f"/CN={authority}", "-out",
                     f"{folder}/{authority}.pem")  # fmt: skip
        self._sign("server", _SAN)
        self._sign("client", "extendedKeyUsage=clientAuth")
        (folder / "server.pem").write_text(
            "".join((folder / name).read_text() for name in ("server.key", "server.crt", "ca.pem"))
        )

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def other_ca(self) -> str:
        return str(self.folder / "other.pem")

    @property
    def client(self) -> dict[str, str]:
        return {
            "ssl.certificate.location": str(self.folder / "client.crt"),
            "ssl.key.location": str(self.folder / "client.key"),
        }

    def _sign(self, name: str, extension: str) -> None:
        folder, extensions = self.folder, self.folder / f"{name}.ext"
        extensions.write_text(extension + "\n")
        _openssl("req", *_key(folder, name), "-subj", f"/CN={name}", "-out", f"{folder}/{name}.csr")
        _openssl("x509", "-req", "-in", f"{folder}/{name}.csr", "-CA", f"{folder}/ca.pem", "-CAkey",
                 f"{folder}/ca.key", "-CAcreateserial", "-days", "2", "-extfile", str(extensions), "-out",
                 f"{folder}/{name}.crt")  # fmt: skip


def _key(folder: Path, name: str) -> list[str]:
    return ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/{name}.key"]


def _openssl(*arguments: str) -> None:
    output_of([program("openssl"), *arguments])


class SecuredKafka(KafkaBroker):
    """One broker with four listeners; `port` is the administrator's."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = {name: free_port() for name in ("SASL_SSL", "SSL", "SASL_PLAINTEXT")}
        self.certificates = Certificates(self.folder)

    def _settings(self) -> str:
        lines = [line for line in super()._settings().splitlines() if not line.startswith(("listener", "advertised"))]
        return "\n".join(lines) + _SECURITY.format(
            port=self.port,
            controller=self._controllers[0],
            listeners=",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()),
            folder=self.folder,
        )

    def start(self) -> Self:
        super().start()
        mechanism = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(USER, mechanism, PASSWORD.encode())
        for done in self.admin.alter_user_scram_credentials([change]).values():
            done.result(30)
        return self

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap}, logger=logging.getLogger("tests.kafka"))

    def address(self, listener: str, host: str = "127.0.0.1") -> str:
        return f"{host}:{self.ports[listener]}"

    def scram(self, **changes: str) -> dict[str, str]:
        """What `[kafka.extra]` holds for the listener SASL_SSL; `changes` by keys with `_` for `.`."""
        settings = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": self.certificates.ca,
        }
        return settings | {key.replace("_", "."): value for key, value in changes.items()}

    def allow(self, rights: Iterable[Right]) -> None:
        given = list(rights)
        self._each(self.admin.create_acls([_binding(right) for right in given]))
        self._until(lambda: all(self._is_given(right) for right in given))

    def forbid(self, right: Right) -> None:
        """Take a right away that was given."""
        self._each(self.admin.delete_acls([_filter(right)]))
        self._until(lambda: not self._is_given(right))

    def _is_given(self, right: Right) -> bool:
        return bool(self.admin.describe_acls(_filter(right)).result(30))

    @staticmethod
    def _until(holds: Callable[[], bool]) -> None:
        """The broker answers before its authorizer has heard of it."""
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end, "the broker's rights do not change"
            time.sleep(0.05)

    def _each(self, futures: Any) -> None:
        for done in futures.values():
            done.result(30)


def _binding(right: Right) -> AclBinding:
    operation, kind, name = right
    return AclBinding(
        ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation[operation],
        AclPermissionType.ALLOW,
    )  # fmt: skip


def least_rights(input_topic: str, output_topic: str, dead_letter_topic: str, group: str, slot: str) -> list[Right]:
    """Exactly what `run` needs."""
    return [
        ("READ", "TOPIC", input_topic),
        ("WRITE", "TOPIC", output_topic),
        ("WRITE", "TOPIC", dead_letter_topic),
        ("READ", "GROUP", group),
        ("WRITE", "TRANSACTIONAL_ID", f"{group}-{slot}"),
    ]


__all__ = ["PASSWORD", "USER", "Certificates", "Right", "SecuredKafka", "least_rights"]


def _filter(right: Right) -> AclBindingFilter:
    operation, kind, name = right
    return AclBindingFilter(
        ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation[operation],
        AclPermissionType.ALLOW,
    )  # fmt: skip
