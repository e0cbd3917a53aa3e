"""What everybody on a machine may see of a process, its command line and the names of its threads, holds no secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import pytest

from stream_worker.cli import cli
from stream_worker.core.masking import is_secret
from tests.support.services import free_port
from tests.test_replay import shoppers, write_log
from tests.test_secrets import pieces

ROOT = Path(__file__).parents[1]
SECRET = "Hush7Sesame9Quartz"
_PATIENCE_SECONDS = 120.0
_MAPPING = ("-m", str(ROOT / "examples" / "canonical.toml"))
_COMMANDS = ("run", "demo", "produce")
# librdkafka's names for the threads of a client, which has its settings by then.
_CLIENT = "rdk:"


@contextmanager
def started(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A process that has one secret in a file and one in a variable, and what it has said."""
    config, told = folder / "worker.toml", folder / "said"
    config.write_text(f'[memory]\nredis_url = "redis://worker:{SECRET}@127.0.0.1:{free_port()}/0"\n')
    environment = {
        **os.environ,
        "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "STREAM_WORKER__KAFKA__EXTRA__SECURITY__PROTOCOL": "SASL_PLAINTEXT",
        "STREAM_WORKER__KAFKA__EXTRA__SASL__MECHANISM": "PLAIN",
        "STREAM_WORKER__KAFKA__EXTRA__SASL__USERNAME": "worker",
        "STREAM_WORKER__KAFKA__EXTRA__SASL__PASSWORD": SECRET,
        "STREAM_WORKER__CHECKPOINT__PATH": str(folder / "checkpoints"),
        "STREAM_WORKER__METRICS__PORT": "0",
        "TMPDIR": str(folder),
    }
    with told.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process, lambda: told.read_text(errors="replace")
    finally:
        process.kill()
        process.wait()


def watched(process: subprocess.Popen[bytes], enough: Callable[[set[str]], bool]) -> set[str]:
    """All that is to be seen of it, its threads and what it starts, from its first moment until `enough` or its end."""
    seen: set[str] = set()
    end = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and not enough(seen):
        assert time.monotonic() < end, seen
        seen |= set(_titles(process.pid))
        time.sleep(0.02)
    return seen


def _titles(pid: int) -> Iterator[str]:
    with suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
        yield Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield (task / "comm").read_text(errors="replace")
            for child in (task / "children").read_text().split():
                yield from _titles(int(child))


def found(seen: set[str]) -> list[str]:
    return [piece for piece in pieces(SECRET) if any(piece in title for title in seen)]


@pytest.mark.parametrize("name", _COMMANDS)
def test_no_secret_stands_in_the_process_list(name: str, tmp_path: Path) -> None:
    """From the first moment on, and once its clients and threads are there."""
    command = [sys.executable, "-m", "stream_worker", name]
    if name == "produce":
        command += [str(write_log(tmp_path / "log.csv", shoppers(10))), *_MAPPING]
    if name != "demo":
        command += ["-c", str(tmp_path / "worker.toml")]
    with started(command, tmp_path) as (process, told):
        seen = watched(process, lambda seen: any(_CLIENT in title for title in seen))
        assert any(_CLIENT in title for title in seen), told()
    assert any(f"stream_worker {name}" in title for title in seen)
    assert found(seen) == []
    assert SECRET not in told()


def test_a_secret_that_stands_there_would_be_found(tmp_path: Path) -> None:
    """The control: given on the command line of what a process starts, all of it is seen."""
    code = "import subprocess as s, sys; s.Popen([sys.executable, '-c', 'input()', sys.argv[1][::-1]], stdin=-1).wait()"
    with started([sys.executable, "-c", code, SECRET[::-1]], tmp_path) as (process, _):
        seen = watched(process, lambda seen: bool(found(seen)))
    assert set(found(seen)) == pieces(SECRET)


def test_no_command_takes_a_secret_or_an_address_on_its_command_line() -> None:
    """Both have their places in a file and in variables, which only their owner may read."""
    for name, command in cli.commands.items():
        for parameter in command.params:
            for word in (parameter.name or "", *parameter.opts):
                asked = is_secret(word) or re.search(r"url|server|host|address|set\b|option\b", word) is not None
                assert not asked, f"stream-worker {name} {word}"
        assert isinstance(command, click.Command)
