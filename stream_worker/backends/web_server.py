"""A small web server for metrics and health that misbehaving clients can't block.

A silent client is disconnected after a timeout, with one log line. The number of connections, and so of threads, is
bounded: only Prometheus, an orchestrator and a person connect. When the bound is reached the oldest connection is
closed, because the newest one may be the health check that decides whether the process lives.
"""

from __future__ import annotations

import socket
import socketserver
import sys
from threading import Lock
from typing import IO, Any, cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from stream_worker.logs import get_logger

# Connections, each with a thread. Not tuned.
_MOST_CONNECTIONS = 32
# Bytes of a request line: the bound of Python's own `http.server`.
_MOST_LINE_BYTES = 65_536

_log = get_logger(__name__)


class WebServer(socketserver.ThreadingMixIn, WSGIServer):
    """Accepts connections on one address, each in a thread of its own, at most `_MOST_CONNECTIONS` at a time."""

    daemon_threads = True
    request_queue_size = 32  # connections that the system holds before they are accepted; not tuned

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._open: dict[int, socket.socket] = {}
        self._lock = Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer.server_bind looks up the host's name, which takes seconds if no name service answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= _MOST_CONNECTIONS:
                self._let_go(next(iter(self._open)))
            self._open[id(request)] = request
        super().process_request(request, client_address)

    def _let_go(self, oldest: int) -> None:
        try:
            self._open.pop(oldest).shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the client has closed the connection already

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(id(request), None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _say(client_address, sys.exc_info()[1])


class _WebServer6(WebServer):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds after which a silent client is disconnected; not tuned

    def handle(self) -> None:
        """Answer one request like the inherited method, but log a line, not a traceback, if the client disconnects."""
        self.raw_requestline = self.rfile.readline(_MOST_LINE_BYTES + 1)
        if len(self.raw_requestline) > _MOST_LINE_BYTES:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
            return
        if not self.raw_requestline or not self.parse_request():
            return
        answer = _Answer(
            cast(IO[bytes], self.rfile),
            cast(IO[bytes], self.wfile),
            self.get_stderr(),
            self.get_environ(),
            multithread=False,
        )
        answer.request_handler = self  # type: ignore[attr-defined]
        answer.run(self.server.get_app())  # type: ignore[attr-defined]

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: a log line for each scrape would hide the others."""


class _Answer(ServerHandler):
    def log_exception(self, exc_info: Any) -> None:
        handler: WSGIRequestHandler = self.request_handler  # type: ignore[attr-defined]
        if isinstance(exc_info[1], OSError):
            _say(handler.client_address, exc_info[1])
        else:
            _log.error("metrics: a request failed", path=handler.path, exc_info=exc_info)


def _say(client_address: Any, fault: BaseException | None) -> None:
    _log.warning(
        "metrics: a client was let go", client=str(client_address[0]), reason=f"{type(fault).__name__}: {fault}"
    )


def web_server(host: str, port: int) -> WebServer:
    """Create a server that is bound to the address but does not serve yet. Raises OSError."""
    return (_WebServer6 if ":" in host else WebServer)((host, port), _Handler)
