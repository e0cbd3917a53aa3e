"""What a registry may answer, by TLS and to whom: each answer is waited for, or names the setting to change."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stream_worker.backends import registry as registry_package
from stream_worker.backends.registry import RegistryConfig, open_registry
from stream_worker.backends.registry.registry import Registry
from stream_worker.core.errors import ConfigurationError, InvalidEvent, Unavailable
from tests.backends.registry.framed import frame
from tests.support.secured_kafka import Certificates
from tests.support.services import ServiceMissing, free_port

SCHEMA = {"schema": '{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]}'}
RECORD = frame(1, b"\2")


class Answering(ThreadingHTTPServer):
    """Answers with `status` and `body`, and to nobody but `login` where one is set."""

    status, body, login = 200, json.dumps(SCHEMA).encode(), ""
    asked = 0


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        self.server.asked += 1
        wanted = "Basic " + b64encode(self.server.login.encode()).decode()
        is_known = not self.server.login or self.headers.get("Authorization") == wanted
        status, body = (self.server.status, self.server.body) if is_known else (401, b'{"error_code":401}')
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def answering(context: ssl.SSLContext | None = None) -> Iterator[Answering]:
    server = Answering(("127.0.0.1", free_port()), _Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as started:
        yield started


def opened(server: Answering, scheme: str = "http", **settings: Any) -> Registry:
    return open_registry(RegistryConfig(url=f"{scheme}://127.0.0.1:{server.server_port}", **settings))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_may_pass_is_waited_for(server: Answering, status: int) -> None:
    server.status, server.body = status, b'{"error_code":50001,"message":"no leader"}'
    registry = opened(server)
    for _ in range(2):
        with pytest.raises(Unavailable, match=f"answers HTTP {status}: no leader"):
            registry.document(RECORD)
    assert server.asked == 2, "the worker waits between two tries, not the client"
    server.status, server.body = 200, json.dumps(SCHEMA).encode()
    assert registry.document(RECORD) == {"a": 1}
    assert registry.document(RECORD) == {"a": 1}
    assert server.asked == 3, "a schema is asked for once"


@pytest.mark.parametrize(
    ("status", "body", "key"),
    [
        (401, b"{}", "registry.username"),
        (403, b"no", "registry.username"),
        (404, b"<html>", "registry.url"),
        (404, b'{"error_code":404,"message":"HTTP 404 Not Found"}', "registry.url"),
        (302, b"", "registry.url"),
        (200, b"<html>", "registry.url"),
        (200, b"[1]", "registry.url"),
    ],
)
def test_an_answer_that_no_registry_gives_names_the_setting(
    server: Answering, status: int, body: bytes, key: str
) -> None:
    """Before the first schema it ends the worker; later it is waited for, as a registry that is being changed."""
    registry = opened(server)
    server.status, server.body = status, body
    with pytest.raises(ConfigurationError, match=f"{key}: the registry http://127"):
        registry.document(RECORD)
    server.status, server.body = 200, json.dumps(SCHEMA).encode()
    assert registry.document(RECORD) == {"a": 1}
    server.status, server.body = status, body
    with pytest.raises(Unavailable):
        registry.document(frame(2, b"\2"))


def test_an_unknown_id_is_asked_for_again_only_after_a_while(server: Answering) -> None:
    server.status, server.body = 404, b'{"error_code":40403,"message":"Schema not found"}'
    registry = opened(server)
    for number in (1, 1, 1, 2):
        with pytest.raises(InvalidEvent, match=f"UnknownSchema: .*got {number}"):
            registry.document(frame(number, b"\2"))
    assert server.asked == 2


def test_what_is_kept_of_many_ids_is_bounded(server: Answering) -> None:
    """Any id may stand in a record."""
    server.status, server.body = 404, b'{"error_code":40403,"message":"Schema not found"}'
    registry = opened(server)
    for number in range(1_100):
        with pytest.raises(InvalidEvent):
            registry.document(frame(number, b"\2"))
    assert len(registry._unknown) == 1_000


@pytest.mark.parametrize("schema", ["{", '{"type":"nonsense"}', "[" * 100_000, ""])
def test_a_schema_that_is_none_is_a_bad_schema(server: Answering, schema: str) -> None:
    server.body = json.dumps({"schema": schema}).encode()
    with pytest.raises(InvalidEvent, match=r"BadSchema: expected .* got schema 1"):
        opened(server).document(RECORD)


def test_a_type_of_schema_that_is_not_known_is_named(server: Answering) -> None:
    server.body = json.dumps({"schema": "x", "schemaType": "THRIFT"}).encode()
    with pytest.raises(InvalidEvent, match=r"BadSchema: .*THRIFT"):
        opened(server).document(RECORD)


def test_a_user_logs_in_with_a_password(server: Answering) -> None:
    server.login = "worker:hunter2:more"
    assert opened(server, username="worker", password="hunter2:more").document(RECORD) == {"a": 1}
    with pytest.raises(ConfigurationError, match=r"registry.username: .* refuses the login \(HTTP 401\)"):
        opened(server, username="worker", password="wrong").document(RECORD)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    try:
        return Certificates(tmp_path_factory.mktemp("certificates"))
    except ServiceMissing as fault:
        pytest.skip(str(fault))


def test_tls_takes_the_authority_and_the_workers_own_certificate(certificates: Certificates) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.folder / "server.crt", certificates.folder / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    files = {"cert_file": f"{certificates.folder}/client.crt", "key_file": f"{certificates.folder}/client.key"}
    with answering(context) as server:
        assert opened(server, "https", ca_file=certificates.ca, **files).document(RECORD) == {"a": 1}
        for wrong in ({"ca_file": certificates.other_ca, **files}, files):
            with pytest.raises(ConfigurationError, match=r"registry.ca_file: .* can't be spoken to by TLS: .*verify"):
                opened(server, "https", **wrong).document(RECORD)


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_file_that_is_not_there_is_named_by_its_keys(key: str, tmp_path: Path) -> None:
    config = replace(RegistryConfig(url="https://127.0.0.1:1"), **{key: str(tmp_path / "none.pem")})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=rf"registry.{key}.*No such file"):
        open_registry(config)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_package, "_NEEDED", ("fastavro", "no_such_library.at_all"))
    with pytest.raises(ConfigurationError, match=r"needs no_such_library.at_all, .*stream-worker\[registry\]"):
        open_registry(RegistryConfig(url="http://a"))


def test_a_worker_without_a_registry_imports_nothing_of_it() -> None:
    libraries = {"fastavro", "google.protobuf", "grpc_tools", "authlib", "httpx", "httpx2"}
    told = (
        f"import sys, stream_worker.assembly, stream_worker.commands.run; print(sorted({libraries} & {{*sys.modules}}))"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
