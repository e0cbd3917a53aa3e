"""A web server for a worker's metrics and health: /metrics, /healthz (it makes progress), /readyz (it has its place).

The server runs on threads of its own, so that it still answers when the loop hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Annotated, Any

from annotated_types import Interval, MinLen
from prometheus_client import make_wsgi_app
from pydantic import dataclasses as checked

from stream_worker.backends.health import Health
from stream_worker.backends.metric_definitions import WorkerMetrics
from stream_worker.backends.web_server import WebServer, web_server
from stream_worker.core.errors import ConfigurationError

__all__ = ["Health", "MetricsConfig", "MetricsServer", "WorkerMetrics"]

_App = Callable[[dict[str, Any], Any], Iterable[bytes]]


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class MetricsConfig:
    """`[metrics]`: the address of /metrics, /healthz and /readyz."""

    #: Host name or address. Any but a loopback one shows the metrics to the network.
    host: Annotated[str, MinLen(1)] = "127.0.0.1"
    #: Port; 0 serves nothing. Workers on one machine need a port each.
    port: Annotated[int, Interval(ge=0, le=65535)] = 9100


class MetricsServer:
    """Serves one worker's metrics and health until closed; with port 0 it does nothing."""

    def __init__(self, config: MetricsConfig, metrics: WorkerMetrics, health: Health) -> None:
        self._config = config
        self._app = _route(metrics, health)
        self._server: WebServer | None = None

    def start(self) -> None:
        """Bind and serve. Raises ConfigurationError when the address cannot be bound."""
        if not self._config.port:
            return
        host, port = self._config.host, self._config.port
        try:
            self._server = web_server(host, port)
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
