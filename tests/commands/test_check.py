"""`stream-worker check`: every key with its value, and every part with what to change where it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_worker.commands import check
from stream_worker.config import effective, load_settings
from stream_worker.core.errors import Unavailable
from stream_worker.exit_codes import ExitCode
from tests.test_commands import call


def _down(_: object) -> str:
    raise Unavailable("kafka: 127.0.0.1:1: no broker")


def test_it_prints_every_key_in_force_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check, "describe_cluster", _down)
    environment = {
        "CHECKPOINT__PATH": str(tmp_path),
        "KAFKA__EXTRA": '{"sasl.username": "me", "sasl.password": "hush", "ssl.key.password": "hush"}',
    }
    _, out, err = call("check", **environment)
    for key, value in effective(load_settings(None, {f"STREAM_WORKER__{k}": v for k, v in environment.items()})):
        assert f"{key} = {value}\n" in out
    assert "hush" not in out + err


def test_a_part_that_fails_names_the_key_to_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line a part; a part that fails does not keep the others from being tried."""
    monkeypatch.setattr(check, "describe_cluster", _down)
    (tmp_path / "file").write_text("in the way")
    code, out, err = call("check", CHECKPOINT__PATH=str(tmp_path / "file"), WORKER__DEVICE="tpu")
    assert code == ExitCode.FAILED
    kafka, memory, checkpoint, device = out.splitlines()[-4:]
    assert kafka == "FAIL  kafka: 127.0.0.1:1: no broker ([kafka])"
    assert memory.startswith("ok    memory: in memory")
    assert checkpoint.startswith("FAIL  checkpoint: ")
    assert checkpoint.endswith("(checkpoint.path)")
    assert device.startswith("FAIL  device: worker.device: must be auto, cpu or a device of this machine, got 'tpu'")
    assert "Traceback" not in err


@pytest.mark.kafka
def test_topics_that_are_missing_fail(kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path) -> None:
    """The worker could neither read nor publish."""
    topic = make_topic(partitions=1)
    code, out, _ = call(
        "check",
        CHECKPOINT__PATH=str(tmp_path),
        KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap,
        KAFKA__INPUT_TOPIC=topic,
        KAFKA__OUTPUT_TOPIC=f"{topic}.lists",
        KAFKA__DEAD_LETTER_TOPIC=f"{topic}.dead",
    )
    assert code == ExitCode.FAILED
    [line] = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert f"missing: {topic}.lists, {topic}.dead" in line
    assert "topics create" in line
