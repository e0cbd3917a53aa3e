"""The README's ten minutes, word by word from its second step, on a real Kafka and a real Redis, end with lists."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.services import free_port

ROOT = Path(__file__).parents[1]
_SECTION = re.search(r"^## Your own topic, in ten minutes$(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)
assert _SECTION is not None
[CONFIGURATION] = re.findall(r"```toml\n(.*?)```", _SECTION[1], re.S)
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", _SECTION[1], re.S)
    for line in block.splitlines()
    if line.strip()
]

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]


class Newcomer:
    """Somebody in a folder with the examples and a `worker.toml`, and an environment with the program."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self._folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        (folder / "worker.toml").write_text(configuration)
        self._environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "STREAM_WORKER__METRICS__PORT": str(free_port()),
        }

    def start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen(
                self._program(command), cwd=self._folder, env=self._environment, stdout=file, stderr=file
            )

    def type(self, command: list[str], tries: int = 1) -> str:
        """Return the screen after a command that ends well, at the latest when it is typed for the last time."""
        for _ in range(tries):
            ended = subprocess.run(
                self._program(command),
                cwd=self._folder,
                env=self._environment,
                capture_output=True,
                timeout=400,
                check=False,
            )
            if ended.returncode == 0:
                break
            time.sleep(1)
        assert ended.returncode == 0, (command, ended.stdout.decode(), ended.stderr.decode())
        return ended.stdout.decode()

    @staticmethod
    def _program(command: list[str]) -> list[str]:
        assert command[0] == "stream-worker"
        return [sys.executable, "-m", "stream_worker", *command[1:]]


def test_the_section_holds_the_commands_that_are_typed() -> None:
    assert [command[1] for command in COMMANDS] == ["produce", "check", "run", "tail", "memory"]


def test_ten_minutes_end_with_lists_on_the_screen(tmp_path: Path, kafka_bootstrap: str, redis_url: str) -> None:
    produce, check, run, tail, memory = COMMANDS
    # Names of their own: the servers are shared with other tests.
    configuration = CONFIGURATION.replace("127.0.0.1:9092", kafka_bootstrap).replace(
        "redis://127.0.0.1:6379/0", redis_url
    )
    configuration = configuration.replace("[kafka]", '[kafka]\ngroup_id = "ten-minutes"', 1)
    newcomer = Newcomer(tmp_path, configuration)
    assert "2,000 records to clicks" in newcomer.type(produce)
    assert re.findall(r"^(\w+) +(kafka|memory|checkpoint|device):", newcomer.type(check), re.M) == [
        ("ok", part) for part in ("kafka", "memory", "checkpoint", "device")
    ]
    log = tmp_path / "run.log"
    worker = newcomer.start(run, log)
    try:
        lists = newcomer.type(tail).splitlines()
        remembered = newcomer.type(memory, tries=60)  # the worker may not have come to that user yet
        assert worker.poll() is None, log.read_text()
    finally:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
    assert code == 0, log.read_text()
    assert len(lists) == 5
    assert all(re.search(r"customer-\d+ .*\d%", line) for line in lists), lists
    assert "customer-048" in remembered
