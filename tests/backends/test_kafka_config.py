"""Settings are checked where they are made, and secrets stay out of sight. No broker is needed."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from stream_worker.backends.kafka import KafkaConfig, dead_letter_headers
from stream_worker.backends.kafka.config import member_settings, transaction_settings
from stream_worker.backends.kafka.faults import Backoff, Complaints, connect, fatal_error
from stream_worker.core.errors import ConfigurationError, RestartNeeded, SlotTaken
from stream_worker.core.events import DeadLetter, Record


class TestKafkaConfig:
    def test_the_defaults_are_the_documented_names(self) -> None:
        config = KafkaConfig()
        assert config.topics == ("events", "recommendations", "events.dead")
        assert (config.bootstrap_servers, config.group_id) == ("127.0.0.1:9092", "stream-worker")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"bootstrap_servers": " "}, r"kafka\.bootstrap_servers: must not be empty"),
            ({"group_id": ""}, r"kafka\.group_id: must not be empty"),
            ({"input_topic": "a b"}, r"kafka\.input_topic: .* got 'a b'"),
            ({"output_topic": "."}, r"kafka\.output_topic: .* got '\.'"),
            ({"items_topic": "ä"}, r"kafka\.items_topic: .* got 'ä'"),
            ({"output_topic": "events"}, r"kafka: the topics must differ"),
            ({"extra": {"isolation.level": "x"}}, r"kafka\.extra: .* got isolation\.level"),
            ({"extra": {"heartbeat.interval.ms": "1"}}, r"kafka\.extra: .* sets itself, got heartbeat\.interval\.ms"),
            ({"extra": {"test.mock.num.brokers": "3"}}, r"kafka\.extra: .* made-up .* got test\.mock\.num\.brokers"),
            ({"extra": {"default.topic.config": "x"}}, r"kafka\.extra: .* texts, got default\.topic\.config"),
            ({"extra": {"error_cb": "x"}}, r"kafka\.extra: .* texts, got error_cb"),
        ],
    )
    def test_what_can_not_work_is_refused_by_name_and_value(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            KafkaConfig(**settings)

    def test_extra_settings_may_be_secrets_and_are_not_shown(self) -> None:
        config = KafkaConfig(extra={"sasl.password": "hunter2"})
        assert "hunter2" not in repr(config)
        assert member_settings(config, "0")["sasl.password"] == "hunter2"

    @pytest.mark.parametrize("protocol", ["classic", "consumer"])
    def test_librdkafka_takes_the_settings_of_both_protocols(self, protocol: Literal["classic", "consumer"]) -> None:
        """librdkafka refuses the classic settings in a group of the new protocol."""
        config = KafkaConfig(group_protocol=protocol, session_timeout_ms=1_000)
        connect(Consumer, member_settings(config, "0")).close()

    def test_a_slot_has_a_stable_transactional_id_and_instance_id(self) -> None:
        config = KafkaConfig(group_id="shop")
        assert transaction_settings(config, "7")["transactional.id"] == "shop-7"
        assert member_settings(config, "7")["group.instance.id"] == "shop-7"

    def test_a_setting_librdkafka_does_not_know_is_a_configuration_error(self) -> None:
        config = KafkaConfig(extra={"fetch.min.bites": "1"})
        with pytest.raises(ConfigurationError, match=r"fetch\.min\.bites"):
            connect(Producer, transaction_settings(config, "0"))


class TestFaults:
    def test_the_code_of_a_consumers_fatal_error_is_read_from_its_text(self) -> None:
        """librdkafka gives a consumer's fatal error as _FATAL and the cause as words."""
        cause = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
        fenced = KafkaError(KafkaError._FATAL, f"Fatal error: {cause}: Fatal consumer error")
        assert isinstance(fatal_error(fenced), SlotTaken)
        assert isinstance(fatal_error(KafkaError(KafkaError._FATAL, "Fatal error: disk")), RestartNeeded)
        assert isinstance(fatal_error(KafkaError(KafkaError._FENCED, "fenced", fatal=True)), SlotTaken)

    def test_a_failing_thing_is_left_alone_for_longer_and_longer(self) -> None:
        now = 0.0
        backoff = Backoff(1.0, 4.0, lambda: now)
        waits = []
        for _ in range(5):
            assert backoff.ready()
            backoff.fail()
            start = now
            while not backoff.ready():
                now += 0.5
            waits.append(now - start)
        assert waits == [1.0, 2.0, 4.0, 4.0, 4.0]
        backoff.fail()
        backoff.reset()
        assert backoff.ready()

    def test_the_same_complaint_is_not_repeated_all_the_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now, said = 0.0, []
        monkeypatch.setattr("stream_worker.backends.kafka.faults._log.warning", lambda *_, **more: said.append(more))
        complaints = Complaints(lambda: now)
        for _ in range(600):
            complaints.say("down", KafkaError(KafkaError._ALL_BROKERS_DOWN))
            complaints.say("down", KafkaError(KafkaError._TRANSPORT))
            now += 1.0
        assert {line["error"] for line in said} == {"_ALL_BROKERS_DOWN", "_TRANSPORT"}
        assert 2 * 10 <= len(said) <= 2 * 14


@pytest.mark.parametrize(("session_ms", "heartbeat_ms"), [(45_000, 1_000), (6_000, 1_000), (1_500, 500)])
def test_a_member_asks_often_enough_that_a_killed_one_s_users_wait_a_second_beyond_its_session(
    session_ms: int, heartbeat_ms: int
) -> None:
    settings = member_settings(KafkaConfig(session_timeout_ms=session_ms), "a")
    assert settings["heartbeat.interval.ms"] == heartbeat_ms


def test_the_headers_of_a_dead_letter_are_text_whatever_the_reason_holds() -> None:
    letter = DeadLetter(Record(3, 17, 1, b"k", b"\xff"), "WrongType", "got '\ud800'")
    headers = dict(dead_letter_headers(letter, "events", " (dropped)"))
    assert headers == {
        "topic": b"events",
        "partition": b"3",
        "offset": b"17",
        "error": b"WrongType",
        "reason": b"got '\\ud800' (dropped)",
    }
