"""Workers that join within a second of being asked to: forked from a process that has imported and compiled already.

Each is a process as in production, with a pid, Kafka clients, a metrics port and a slot of its own, which runs the
command `run` and answers to SIGTERM and `kill -9`; only Python, torch and numba are there before it begins. A start
from nothing takes 4 seconds of a processor: no storm on the two that CI has, beside Kafka.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from tests.support.fleet import Fleet

# The scenarios, too: a forked process imports the module that the program was started with.
_IMPORTED = ["tests.chaos.scenarios", "tests.chaos.warmed"]


class Forked:
    """What `Fleet` needs of a `subprocess.Popen`."""

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        self._process: ForkServerProcess = context.Process(target=_run, args=(dict(environment), folder, log))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise TimeoutExpired("forked worker", timeout or 0.0)
        return code

    def send_signal(self, how: signal.Signals) -> None:
        if self.pid is not None and self.poll() is None:
            os.kill(self.pid, how)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedFleet(Fleet):
    """A fleet whose workers are forked."""

    processes: dict[str, Any]

    def start(self, slot: str, **environment: str) -> None:
        self.processes[slot] = Forked(self._settings(slot, environment), self.folder, self.log_path(slot))


def _run(environment: Mapping[str, str], folder: Path, log: Path) -> None:
    from stream_worker.cli import program

    os.environ.update(environment)
    os.chdir(folder)
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    program(["run"])
