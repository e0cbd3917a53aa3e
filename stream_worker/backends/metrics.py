"""What the outside may ask a worker: /metrics, /healthz (does it make progress?), /readyz (does it own its work?).

The server runs on threads of its own, so that it answers while the loop hangs; that is the moment it is there for.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from stream_worker.backends.metric_definitions import WorkerMetrics
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.interfaces import Clock

__all__ = ["Health", "MetricsConfig", "MetricsServer", "WorkerMetrics"]

_App = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(frozen=True)
class MetricsConfig:
    """`[metrics]`: where to serve them. Port 0: nowhere. Any host but a loopback one shows them to the network."""

    host: str = "127.0.0.1"
    port: int = 9100

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("metrics.host: must be a host name or an address, got ''")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"metrics.port: must be between 0 (off) and 65535, got {self.port}")


class Health:
    """*Alive*: the loop has ticked within `stall_seconds`; waiting for records ticks, hanging does not.
    *Ready*: the worker owns its share of the work and is not on its way out."""

    def __init__(self, clock: Clock, stall_seconds: float = 30.0) -> None:
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._ticked = clock.monotonic()
        self._ready = False

    def tick(self) -> None:
        self._ticked = self._clock.monotonic()

    def ready(self, value: bool) -> None:
        self._ready = value

    def alive(self) -> tuple[bool, str]:
        """Whether the loop makes progress, and a sentence about it."""
        age = self._clock.monotonic() - self._ticked
        return age <= self._stall_seconds, f"last tick {age:.1f} s ago, at most {self._stall_seconds:.1f} s allowed"

    def is_ready(self) -> tuple[bool, str]:
        return self._ready, "owns its partitions" if self._ready else "joining, starting or draining"


class MetricsServer:
    """Serves one worker's metrics and health until closed; with port 0 it does nothing."""

    def __init__(self, config: MetricsConfig, metrics: WorkerMetrics, health: Health) -> None:
        self._config = config
        self._app = _route(metrics, health)
        self._server: _Server | None = None

    def start(self) -> None:
        """Bind and serve. Raises ConfigurationError when the address cannot be bound."""
        if not self._config.port:
            return
        host, port = self._config.host, self._config.port
        try:
            self._server = (_Server6 if ":" in host else _Server)((host, port), _Handler)
        except OSError as fault:
            raise ConfigurationError(
                f"metrics.port: cannot listen on {host}:{port} ({fault.strerror or fault}); "
                "choose another port, or 0 to serve no metrics"
            ) from fault
        self._server.set_app(self._app)
        Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _route(metrics: WorkerMetrics, health: Health) -> _App:
    exposition: _App = make_wsgi_app(metrics.registry)
    checks = {"/healthz": health.alive, "/readyz": health.is_ready}

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return exposition(environ, start_response)
        if path not in checks:
            return _answer(start_response, "404 Not Found", "one of /metrics, /healthz, /readyz")
        good, reason = checks[path]()
        return _answer(start_response, "200 OK" if good else "503 Service Unavailable", reason)

    return app


def _answer(start_response: Any, status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return [text.encode() + b"\n"]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # HTTPServer's own looks the host's name up, which takes seconds where there is no name service.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds that a silent client may hold a thread

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""
