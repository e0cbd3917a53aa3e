"""Clients that say nothing, go away or come in crowds: one log line each, and nobody else waits for them."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from typing import Any

import pytest

from stream_worker import logs
from stream_worker.backends import web_server
from stream_worker.backends.web_server import WebServer

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged so far, each line as the JSON that it has to be."""
    stream, root = StringIO(), logging.getLogger()
    before = root.handlers, root.level
    logs.configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers, root.level = before


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> Iterator[WebServer]:
    """A server whose patience is half a second."""
    monkeypatch.setattr(web_server._Handler, "timeout", 0.5)
    server = web_server.web_server("127.0.0.1", 0)
    server.set_app(_app)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("made by the test")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * 30_000_000 if environ["PATH_INFO"] == "/large" else b"well"]


def _connect(server: WebServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port))


def _get(server: WebServer, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_client_that_says_nothing_does_not_keep_others_waiting(server: WebServer) -> None:
    with _connect(server):
        assert _get(server) == "well"


def test_a_silent_client_costs_one_line_and_no_traceback(
    server: WebServer, lines: Lines, capfd: pytest.CaptureFixture[str]
) -> None:
    with _connect(server):
        _until(lambda: bool(lines()))
        time.sleep(0.2)
    [line] = lines()
    assert line["event"] == "metrics: a client was let go"
    assert (line["client"], line["level"]) == ("127.0.0.1", "warning")
    assert "TimeoutError" in line["reason"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", ["takes nothing of it", "goes away"])
def test_a_client_that_does_not_take_its_answer_costs_one_line_at_most(
    server: WebServer, lines: Lines, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    client = _connect(server)
    client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
    if how == "goes away":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    time.sleep(1.0)
    client.close()
    assert [line["event"] for line in lines()] in ([], ["metrics: a client was let go"])
    assert capfd.readouterr().err == ""
    assert _get(server) == "well"


def test_a_crowd_of_silent_clients_neither_grows_the_process_nor_keeps_a_check_waiting(
    server: WebServer, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest make room; the check is answered long before any of them has run out of time."""
    monkeypatch.setattr(web_server._Handler, "timeout", 30)
    before = threading.active_count()
    crowd = [_connect(server) for _ in range(200)]
    began = time.monotonic()
    assert _get(server) == "well"
    assert time.monotonic() - began < 10
    _until(lambda: threading.active_count() - before <= web_server._MOST_CONNECTIONS)
    for client in crowd:
        client.close()
    _until(lambda: threading.active_count() == before)
    assert len(lines()) <= len(crowd)


def test_a_fault_of_our_own_is_an_error_with_its_path(server: WebServer, lines: Lines) -> None:
    with pytest.raises(urllib.error.HTTPError, match="500"):
        _get(server, "/broken")
    _until(lambda: bool(lines()))
    [line] = lines()
    assert (line["level"], line["path"]) == ("error", "/broken")
    assert "made by the test" in json.dumps(line)
