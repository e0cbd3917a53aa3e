"""`stream-worker items`: writes decisions, says where they stand, and shows all of them and what is in force."""

from __future__ import annotations

import io
import json
from itertools import chain, combinations, product

import numpy as np
import pytest
from confluent_kafka import Producer

from model.items.content_table import BLOCKED, GONE, HELD, UNAVAILABLE
from model.items.decisions import Decisions
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.retention import Retention, retention_of
from stream_worker.backends.kafka.topics import partition_counts
from stream_worker.commands import check
from stream_worker.core.decisions import hidden_by
from stream_worker.exit_codes import ExitCode
from tests.conftest import MakeTopic
from tests.support.fleet import read_all
from tests.support.services import free_port
from tests.test_commands import call

_BITS = {"gone": GONE, "not available": UNAVAILABLE, "blocked": BLOCKED, "on hold": HELD}


@pytest.mark.parametrize("hold_new", [False, True])
def test_what_it_says_is_what_workers_do(hold_new: bool) -> None:
    """Of every decision beside everything that may be told of an item."""
    all_told = chain.from_iterable(combinations(_BITS, size) for size in range(5))
    for decision, told in product(("", "block", "hold", "approve"), all_told):
        decisions = Decisions(hold_new)
        if decision:
            decisions.change(["i"], [decision])
        bits = np.array([sum(_BITS[reason] for reason in told)], np.uint8)
        assert decisions.hides(["i"], bits)[0] == bool(hidden_by(decision, told, hold_new)), (decision, told)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("block", "p7"), ExitCode.USAGE, "block needs --reason"),
        (("block", "p7", "--reason", " "), ExitCode.USAGE, "reason: expected a text of 1 to 1,000 characters"),
        (("block", "p" * 300, "--reason", "x"), ExitCode.USAGE, "item: expected 1 to 256 bytes"),
        (("block", "p7", "--reason", "x", "--by", "y" * 1_001), ExitCode.USAGE, "by: expected a text"),
        (("block",), ExitCode.USAGE, "ID..."),
        (("forbid", "p7"), ExitCode.USAGE, "block"),
        (("block", "p7", "--reason", "x"), ExitCode.FAILED, "kafka"),
        (("show", "p7"), ExitCode.FAILED, "kafka"),
    ],
)
def test_what_it_can_not_do_is_said(arguments: tuple[str, ...], code: ExitCode, said: str) -> None:
    environment = {"KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", "KAFKA__DECISIONS_TOPIC": "decisions"}
    found, out, err = call("items", *arguments, **environment)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_without_a_topic_it_names_the_key_to_set() -> None:
    code, _, err = call("items", "block", "p7", "--reason", "x")
    assert code == ExitCode.CONFIGURATION
    assert "kafka.decisions_topic: names no topic" in err


@pytest.mark.kafka
def test_decisions_are_written_into_a_topic_that_keeps_them_and_shown(
    kafka_bootstrap: str, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_topic("items", 2, cleanup_policy="compact")
    topic = f"{items}.decisions"
    environment = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "KAFKA__DECISIONS_TOPIC": topic, "KAFKA__ITEMS_TOPIC": items,
    }  # fmt: skip

    def say(*arguments: str) -> list[str]:
        code, out, err = call("items", *arguments, **environment)
        assert code == ExitCode.DONE, err
        return out.splitlines()

    made, written = say("block", "p7", "--reason", "recalled", "--by", "ann")
    assert made == f"made   {topic} (1 partition)"
    assert written == f"block    p7: {topic}, partition 0, offset 0"
    config = KafkaConfig(kafka_bootstrap, decisions_topic=topic)
    assert retention_of(config, topic) == Retention()
    assert partition_counts(config)[topic] == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("p8\n\np9\n"))
    assert len(say("hold", "-", "--reason", "pictures are missing")) == 2
    _tell(kafka_bootstrap, topic, "p7", {"item": "p7", "decision": "approve"})
    _tell(kafka_bootstrap, items, "p7", {"item": "p7", "hold": True, "title": "Cup"})
    shown = say("show", "p7", "p10")
    assert shown[0] == "p7"
    assert shown[1].endswith("block     by ann: recalled (partition 0, offset 0)")
    assert "skipped   reason: expected a text" in shown[2]
    assert '(on hold): {"item": "p7", "hold": true, "title": "Cup"}' in shown[3]
    assert shown[4] == "  block is in force; lists leave it out: blocked by decision, on hold"
    assert shown[5:] == ["", "p10", f"  {items}: says nothing of it", "  no decision is in force; lists may name it"]
    say("approve", "p7", "--reason", "mended")
    assert say("show", "p7")[-1] == "  approve is in force; lists may name it"
    found = [json.loads(message.value()) for message in read_all(kafka_bootstrap, topic)]
    assert [(one["item"], one["decision"]) for one in found] == [
        ("p7", "block"), ("p8", "hold"), ("p9", "hold"), ("p7", "approve"), ("p7", "approve"),
    ]  # fmt: skip


@pytest.mark.kafka
def test_check_complains_about_a_topic_that_forgets_decisions(
    kafka_bootstrap: str, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_kafka", lambda settings: "not asked here")

    def line(topic: str) -> str:
        environment = {"KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "KAFKA__DECISIONS_TOPIC": topic}
        _, out, _ = call("check", **environment)
        return next(line for line in out.splitlines() if " decisions: " in line)

    keeps = make_topic("keeps", 1, retention_ms="-1")
    _tell(kafka_bootstrap, keeps, "p7", {"item": "p7", "decision": "approve"})
    good = line(keeps)
    assert good.startswith(f"ok    decisions: {keeps}, which keeps all; its newest 1 record: 0 decisions, 1 can't be")
    for settings, words in (
        ({"cleanup_policy": "compact"}, "is compacted"),
        ({"retention_ms": "600000"}, "deletes records with time"),
    ):
        bad = line(make_topic("forgets", 1, **settings))
        assert bad.startswith("FAIL  decisions: ")
        assert words in bad
        assert "cleanup.policy=delete,retention.ms=-1,retention.bytes=-1" in bad


def _tell(bootstrap: str, topic: str, key: str, value: dict[str, object]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, json.dumps(value).encode(), key.encode())
    assert producer.flush(20) == 0
