"""The README's ten minutes, word by word, on a topic of nested records in a real Kafka, end with lists."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.services import free_port

ROOT = Path(__file__).parents[1]
_SECTION = re.search(r"^## Your own topic, in ten minutes$(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)
assert _SECTION is not None
[GUESSED] = re.findall(r"```toml\n(.*?)```", _SECTION[1].replace("\n   ", "\n"), re.S)
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", _SECTION[1], re.S)
    for line in block.splitlines()
    if line.strip()
]

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


class Newcomer:
    """Somebody in a folder with the examples, and an environment with the program and the address of a Kafka."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self._folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        self._environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "STREAM_WORKER__METRICS__PORT": str(free_port()),
            "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "STREAM_WORKER__KAFKA__GROUP_ID": "ten-minutes",  # the server is shared with other tests
        }

    def start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen(
                _program(command),
                cwd=self._folder,
                env=self._environment | _variables(command),
                stdout=file,
                stderr=file,
            )

    def type(self, command: list[str]) -> str:
        """Return the screen after a command that ends well."""
        ended = subprocess.run(
            _program(command),
            cwd=self._folder,
            env=self._environment | _variables(command),
            capture_output=True,
            timeout=400,
            check=False,
        )
        assert ended.returncode == 0, (command, ended.stdout.decode(), ended.stderr.decode())
        return ended.stdout.decode()


def _variables(command: list[str]) -> dict[str, str]:
    """The variables that stand before a command."""
    return dict(word.split("=", 1) for word in command[: command.index("stream-worker")])


def _program(command: list[str]) -> list[str]:
    return [sys.executable, "-m", "stream_worker", *command[command.index("stream-worker") + 1 :]]


def _name(command: list[str]) -> str:
    return command[command.index("stream-worker") + 1]


def test_the_section_holds_the_commands_that_are_typed() -> None:
    assert [_name(command) for command in COMMANDS] == ["produce", "guess", "topics", "check", "run", "tail"]


def test_ten_minutes_end_with_lists_on_the_screen(tmp_path: Path, kafka_bootstrap: str) -> None:
    """No other file is needed than the one that was guessed, and that is the one that the README shows."""
    produce, guess, topics, check, run, tail = COMMANDS
    newcomer = Newcomer(tmp_path, kafka_bootstrap)
    assert "2,000 records to clicks" in newcomer.type(produce)
    newcomer.type(guess)
    guessed = tomllib.loads((tmp_path / "worker.toml").read_text())
    assert guessed == tomllib.loads(GUESSED.replace("127.0.0.1:9092", kafka_bootstrap))
    newcomer.type(topics)
    seen = newcomer.type(check)
    assert re.findall(r"^(\w+) +(kafka|memory|checkpoint|device|events):", seen, re.M) == [
        ("ok", part) for part in ("kafka", "memory", "checkpoint", "device", "events")
    ]
    assert len(re.findall(r"^ +customer-\d+ ", seen, re.M)) == 3
    log = tmp_path / "run.log"
    worker = newcomer.start(run, log)
    try:
        lists = newcomer.type(tail).splitlines()
        assert worker.poll() is None, log.read_text()
    finally:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
    assert code == 0, log.read_text()
    assert len(lists) == 5
    assert all(re.search(r"customer-\d+ .*\d%", line) for line in lists), lists
