"""The program before a Kafka that asks who is there: it waits and says why, runs on the least rights, and ends with 78
without them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka.cimpl import NewTopic

from stream_worker.core.codec import encode_event
from stream_worker.exit_codes import ExitCode
from tests.support.fleet import Fleet, produce, read_all
from tests.support.secured_kafka import PASSWORD, SecuredKafka, least_rights

pytestmark = pytest.mark.kafka
TOPICS = ("secured-events", "secured-lists", "secured-dead")
GROUP = "secured-group"


def fleet_of(kafka: SecuredKafka, folder: Path, extra: dict[str, str]) -> Fleet:
    return Fleet(
        folder,
        KAFKA__BOOTSTRAP_SERVERS=kafka.address("SASL_SSL"), KAFKA__INPUT_TOPIC=TOPICS[0], KAFKA__OUTPUT_TOPIC=TOPICS[1],
        KAFKA__DEAD_LETTER_TOPIC=TOPICS[2], KAFKA__GROUP_ID=GROUP, KAFKA__EXTRA=json.dumps(extra),
        KAFKA__SESSION_TIMEOUT_MS="6000", CHECKPOINT__PATH=str(folder / "checkpoints"),
    )  # fmt: skip


def get(fleet: Fleet, slot: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{fleet._ports[slot]}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def send(kafka: SecuredKafka, users: int) -> None:
    events = ((f"u{n}", encode_event(f"u{n}", "i1", "view", 1_700_000_000), None, True) for n in range(users))
    produce(kafka.bootstrap, TOPICS[0], events)


def test_a_wrong_password_is_waited_for_and_everybody_who_asks_is_told(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    """The log, /readyz and a metric; /healthz has no reason to have the worker killed."""
    with fleet_of(secured_kafka, tmp_path, secured_kafka.scram(sasl_password="wr0ng")) as fleet:
        fleet.start("0")
        waiting = "stream_worker_waiting_seconds"
        fleet.wait_for(lambda: fleet.metrics("0").get(waiting, 0) > 0, "the wait in the metrics")
        assert get(fleet, "0", "/healthz")[0] == 200
        status, reason = get(fleet, "0", "/readyz")
        assert status == 503
        assert "sasl.password" in reason
        assert fleet.metrics("0")["stream_worker_ready"] == 0
        [said, *_] = [entry for entry in fleet.entries("0") if entry["event"] == "waiting"]
        assert "kafka.extra sasl.username, sasl.password" in said["reason"]
        assert "wr0ng" not in fleet.log("0")
        assert fleet.stop("0") == ExitCode.DONE


def test_the_least_rights_are_enough_and_less_is_a_configuration_error(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    """Only the first slot's transactional id is allowed. `check` beside the running worker fences nobody."""
    for made in secured_kafka.admin.create_topics([NewTopic(topic, 1, 1) for topic in TOPICS]).values():
        made.result(30)
    secured_kafka.allow(least_rights(*TOPICS, GROUP, "0"))
    send(secured_kafka, 20)
    with fleet_of(secured_kafka, tmp_path, secured_kafka.scram()) as fleet:
        fleet.start("0")
        published = "stream_worker_lists_published_total"
        fleet.wait_for(lambda: fleet.metrics("0").get(published) == 20, "all lists")
        assert "ok    kafka: 1 broker at" in fleet.command("check")
        send(secured_kafka, 20)
        fleet.wait_for(lambda: fleet.metrics("0").get(published) == 40, "more lists after the check")
        status, words = get(fleet, "0", "/readyz")
        assert (status, words) == (200, "owns 1 of the partitions\n")
        fleet.start("1")
        assert fleet.ended("1", 120) == ExitCode.CONFIGURATION
        assert f"--operation Write --transactional-id {GROUP}-1" in fleet.log("1")
        assert "Traceback" not in fleet.log("0") + fleet.log("1")
        assert PASSWORD not in fleet.log("0") + fleet.log("1")
        assert fleet.stop("0") == ExitCode.DONE
    assert len(list(read_all(secured_kafka.bootstrap, TOPICS[1]))) == 40
