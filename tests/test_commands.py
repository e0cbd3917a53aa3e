"""The program from the outside: help that helps, exit codes, one clear line for what is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import click
import pytest

from stream_worker.cli import cli, main
from stream_worker.exit_codes import ExitCode
from tests.support.fleet import Fleet, committed, produce
from tests.support.services import free_port
from tests.test_replay import MAPPING, shoppers, write_log

COMMANDS = (
    "run",
    "replay",
    "compare",
    "produce",
    "record",
    "guess",
    "topics",
    "tail",
    "memory",
    "why",
    "items",
    "reset",
    "demo",
    "check",
)


def call(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command within this process."""
    with (
        mock.patch.dict(os.environ, {f"STREAM_WORKER__{key}": value for key, value in environment.items()}),
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        code = main(list(arguments))
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_in_commands_that_work(name: str) -> None:
    """Every example names a command and options that exist."""
    code, text, _ = call(name, "--help")
    assert code == ExitCode.DONE
    examples = re.findall(r"^\s*(?:\S+=\S+ )*stream-worker (.+)$", text.split("Examples:")[1], flags=re.MULTILINE)
    assert examples
    for example in examples:
        command, *arguments = shlex.split(example.split(">")[0])
        known = cli.get_command(click.Context(cli), command)
        assert known is not None, example
        options = {option for parameter in known.params for option in parameter.opts}
        assert {a for a in arguments if re.match("--?[a-z]", a)} <= options, example


def test_a_wrong_command_line_is_usage() -> None:
    assert call("replay")[0] == ExitCode.USAGE
    assert call("nonsense")[0] == ExitCode.USAGE
    assert call("demo", "--seconds", "soon")[0] == ExitCode.USAGE


def test_a_wrong_configuration_is_one_line_and_its_own_code(tmp_path: Path) -> None:
    code, _, err = call("check", KAFKA__BOOTSTRAP="x")
    assert code == ExitCode.CONFIGURATION
    assert "did you mean kafka.bootstrap_servers?" in err
    assert len(err.strip().splitlines()) == 1
    log = write_log(tmp_path / "log.csv", shoppers(10))
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(MAPPING.read_text().replace("[fields]", "[feilds]"))
    code, _, err = call("replay", str(log), "--mapping", str(mapping))
    assert code == ExitCode.CONFIGURATION
    assert "did you mean 'fields'?" in err


def test_check_says_what_does_not_answer(tmp_path: Path) -> None:
    """One clear line a part, and failure."""
    code, out, _ = call(
        "check",
        KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}",
        MEMORY__REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
        CHECKPOINT__PATH=str(tmp_path),
    )
    assert code == ExitCode.FAILED
    lines = [line for line in out.splitlines() if line.startswith(("ok ", "FAIL"))]
    assert [line[:16].split(":")[0] for line in lines] == [
        "FAIL  kafka",
        "FAIL  memory",
        "ok    checkpoint",
        "ok    device",
    ]


def test_memory_without_redis_says_where_memories_are() -> None:
    code, _, err = call("memory")
    assert code == ExitCode.CONFIGURATION
    assert "memory.redis_url" in err


@pytest.mark.kafka
@pytest.mark.redis
def test_a_day_in_the_life_of_a_worker(
    kafka_bootstrap: str, redis_url: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    """produce, check, run (with its health and metrics), a second process on its slot, tail, memory, why, SIGTERM."""
    import urllib.request

    topic = make_topic(partitions=2)
    output, dead, port = make_topic(partitions=1), make_topic(partitions=1), free_port()
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "KAFKA__INPUT_TOPIC": topic,
        "KAFKA__OUTPUT_TOPIC": output,
        "KAFKA__DEAD_LETTER_TOPIC": dead,
        "KAFKA__GROUP_ID": f"group-{topic}",
        "MEMORY__REDIS_URL": redis_url,
        "CHECKPOINT__PATH": str(tmp_path / "checkpoints"),
        "CHECKPOINT__INTERVAL_SECONDS": "1",
        "METRICS__PORT": str(port),
    }
    log = write_log(tmp_path / "log.csv", shoppers(600))
    code, out, err = call("produce", str(log), "--mapping", str(MAPPING), **settings)
    assert (code, out.startswith("600 records to")) == (ExitCode.DONE, True), err
    code, out, _ = call("check", **settings)
    assert code == ExitCode.DONE, out

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    with Fleet(tmp_path, **settings) as fleet:
        fleet.start("0", METRICS__PORT=str(port))
        fleet.wait_for(lambda: committed(kafka_bootstrap, f"group-{topic}", topic, 2) >= 600, "all events")
        assert "last tick" in get("/healthz")
        assert "owns" in get("/readyz")
        # They are told once the tick is over, a moment after its commit.
        counted = re.compile(r"^stream_worker_events_processed_total 588\.0$", flags=re.MULTILINE)
        fleet.wait_for(lambda: counted.search(get("/metrics")) is not None, "all events in the metrics")
        metrics = get("/metrics")
        assert re.search(
            r'^stream_worker_dead_letters_total\{error="MissingField"\} 12\.0$', metrics, flags=re.MULTILINE
        )
        assert re.search(r'^stream_worker_partition_lag\{partition="0"\} 0\.0$', metrics, flags=re.MULTILINE)
        code, _, err = call("run", **(settings | {"METRICS__PORT": "0"}))
        assert code == ExitCode.SLOT_TAKEN, err
        code, out, _ = call("tail", "--from-beginning", "--count", "3", **settings)
        assert (code, len(out.splitlines())) == (ExitCode.DONE, 3)
        assert fleet.stop("0", timeout=15) == ExitCode.DONE
    code, out, _ = call("memory", **settings)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == ExitCode.DONE
    assert sum(record["events"] for record in records) == 588
    assert all(list(record) == ["user", "partition", "events", "ring", "next_offset"] for record in records)
    code, out, _ = call("memory", "u1", **settings)
    assert [json.loads(line)["user"] for line in out.splitlines()] == ["u1"]
    code, out, err = call("why", "u1", "i5", "--json", **settings)
    assert code == ExitCode.DONE, err
    told = json.loads(out)
    assert told["memory"]["events"] == records[[record["user"] for record in records].index("u1")]["events"]
    assert told["published"]["step"] >= 0
    assert told["published"]["age_seconds"] > 0


@pytest.mark.kafka
def test_without_redis_a_restart_loses_nothing(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    """One machine, no Redis: memories are in the checkpoint, and a kill -9 repeats and loses no list."""
    from tests.support.fleet import check_contract
    from tests.test_real_kafka import shoppers as records

    topic, output, dead = make_topic(partitions=2), make_topic(partitions=1), make_topic(partitions=1)
    sent = produce(kafka_bootstrap, topic, records(6_000, 97, 5))
    total = sent.events + len(sent.bad)
    group = f"group-{topic}"
    with Fleet(
        tmp_path,
        KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap, KAFKA__INPUT_TOPIC=topic, KAFKA__OUTPUT_TOPIC=output,
        KAFKA__DEAD_LETTER_TOPIC=dead, KAFKA__GROUP_ID=group, KAFKA__SESSION_TIMEOUT_MS="6000",
        CHECKPOINT__PATH=str(tmp_path / "checkpoints"), CHECKPOINT__INTERVAL_SECONDS="0.5", METRICS__PORT="0",
    ) as fleet:  # fmt: skip
        fleet.start("0")
        fleet.wait_for(lambda: committed(kafka_bootstrap, group, topic, 2) > total // 3, "a third")
        fleet.kill("0")
        fleet.start("0")
        fleet.wait_for(lambda: committed(kafka_bootstrap, group, topic, 2) >= total, "all")
        assert fleet.stop("0") == ExitCode.DONE
    assert check_contract(kafka_bootstrap, output, dead, sent) > 0
