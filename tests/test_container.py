"""What Docker is told: codes that mean "do not", the port that is configured, the file that is mounted."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stream_worker import container
from stream_worker.backends.metrics import MetricsConfig
from stream_worker.exit_codes import ExitCode


@pytest.mark.parametrize("code", [ExitCode.SLOT_TAKEN, ExitCode.CONFIGURATION])
def test_what_must_not_be_started_again_ends_with_0_and_says_why(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert container.told(code) == 0
    assert f"exit code {code}" in capsys.readouterr().err


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.FAILED, ExitCode.RESTART, ExitCode.INTERRUPTED])
def test_other_codes_are_left_to_docker(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert container.told(code) == code
    assert capsys.readouterr().err == ""


def test_a_wrong_configuration_ends_run_with_0_and_check_with_its_own_code() -> None:
    for command, code in (("run", ExitCode.DONE), ("check", ExitCode.CONFIGURATION)):
        ended = subprocess.run(
            [sys.executable, "-m", "stream_worker.container", command],
            capture_output=True, text=True, check=False, env={"STREAM_WORKER__METRICS__PORT": "x"},
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr
        assert "metrics.port" in ended.stderr
        assert ("not started again" in ended.stderr) is (command == "run")


def test_the_file_of_the_container_is_read_unless_another_is_named(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    assert container.arguments(["run"], path) == ["run"]
    path.write_text("")
    assert container.arguments(["run"], path) == ["run", "--config", str(path)]
    for other in (["run", "-c", "x"], ["run", "--config=x"], ["run", "--help"]):
        assert container.arguments(other, path) == other


def test_health_is_asked_for_at_the_configured_port(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    assert container.metrics_port({}, path) == MetricsConfig().port
    path.write_text("[metrics]\nport = 9300\n")
    assert container.metrics_port({}, path) == 9300
    assert container.metrics_port({"STREAM_WORKER__METRICS__PORT": "9400"}, path) == 9400
    path.write_text("no TOML")
    assert container.metrics_port({}, path) == MetricsConfig().port


class _Answers(BaseHTTPRequestHandler):
    code = 200

    def do_GET(self) -> None:
        self.send_response(self.code if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize(("code", "healthy"), [(200, True), (503, False)])
def test_a_worker_is_as_healthy_as_it_says(code: int, healthy: bool, tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"code": code}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        environ = {"STREAM_WORKER__METRICS__PORT": str(server.server_port)}
        assert container.healthy(environ, tmp_path / "none") is healthy
    finally:
        server.shutdown()
        server.server_close()
    assert not container.healthy(environ, tmp_path / "none"), "nobody answers"


def test_without_metrics_a_worker_counts_as_healthy(tmp_path: Path) -> None:
    assert container.healthy({"STREAM_WORKER__METRICS__PORT": "0"}, tmp_path / "none")
