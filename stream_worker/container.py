"""Runs the program in a container, with exit codes and a health check that suit Docker.

Docker restarts a container that has failed, whatever the exit code. So a worker that must not be started again says why
and ends with 0; `restart: on-failure` then leaves it alone. `/etc/stream-worker/worker.toml` is read if it exists.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import tomllib
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stream_worker.cli import leave, main
from stream_worker.exit_codes import ExitCode

CONFIGURATION = Path("/etc/stream-worker/worker.toml")
_PORT = "STREAM_WORKER__METRICS__PORT"
_NOT_AGAIN = {
    ExitCode.SLOT_TAKEN: "another process runs this slot",
    ExitCode.CONFIGURATION: "a setting has to be changed first",
}


def arguments(given: Sequence[str], configuration: Path = CONFIGURATION) -> list[str]:
    """Return the command line, with the container's configuration file if it exists and no other one is named."""
    named = any(word in ("-c", "--config", "--help", "-h") or word.startswith("--config=") for word in given)
    return [*given] if named or not configuration.exists() else [*given, "--config", str(configuration)]


def told(code: int) -> int:
    """Return the exit code for Docker; if it differs from the program's, print why."""
    if code not in _NOT_AGAIN:
        return code
    print(f"stream-worker: not started again: {_NOT_AGAIN[ExitCode(code)]} (exit code {code})", file=sys.stderr)
    return ExitCode.DONE


def metrics_port(environ: Mapping[str, str], configuration: Path = CONFIGURATION) -> int:
    """Return the port on which the worker in this container serves metrics; 0: it serves none.

    Does not load all settings, which takes seconds.
    """
    if _PORT in environ:
        return int(environ[_PORT])
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # the worker itself reports a faulty file
        found = tomllib.loads(configuration.read_text(encoding="utf-8"))
    return int(found.get("metrics", {}).get("port", 9100))


def healthy(environ: Mapping[str, str], configuration: Path = CONFIGURATION) -> bool:
    """Return True if the worker makes progress. Without a metrics server it can't be told and counts as healthy."""
    port = metrics_port(environ, configuration)
    if port == 0:
        return True
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=4) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def program(given: Sequence[str]) -> None:
    if given == ["healthy"]:
        sys.exit(not healthy(os.environ))
    faulthandler.enable()
    code = main(arguments(given))
    leave(told(code) if given[:1] == ["run"] else code)


if __name__ == "__main__":
    program(sys.argv[1:])
