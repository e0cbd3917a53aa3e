"""A broker that asks who is there: every mistake is named, every right that `run` needs is tried, and nobody is fenced
by the trying."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.cimpl import NewTopic

from stream_worker.backends.kafka import (
    KafkaConfig,
    KafkaHeard,
    KafkaSink,
    KafkaSource,
    create_topics,
    describe_cluster,
    messages,
    missing_topics,
    produce_records,
    require_protocol,
    require_rights,
    rights,
)
from stream_worker.backends.kafka.faults import fatal_error
from stream_worker.core.errors import ConfigurationError, RightMissing, TransactionAborted, Unavailable
from stream_worker.core.events import Outputs
from tests.backends.contracts_heard import Listener
from tests.backends.contracts_topics import Member, list_for, retry, until, values
from tests.support.secured_kafka import PASSWORD, USER, Right, SecuredKafka, least_rights
from tests.support.services import KafkaBroker, free_port

_NUMBERS = count()


@dataclass(frozen=True)
class Mistake:
    """Where to and how somebody connects, and what the answer has to name."""

    name: str
    address: Callable[[SecuredKafka], str]
    extra: Callable[[SecuredKafka], dict[str, str]]
    named: str


def _at(listener: str, host: str = "127.0.0.1") -> Callable[[SecuredKafka], str]:
    return lambda kafka: kafka.address(listener, host)


def _tls(kafka: SecuredKafka, **more: str) -> dict[str, str]:
    return {"security.protocol": "SSL", "ssl.ca.location": kafka.certificates.ca, **more}


MISTAKES = [
    Mistake("wrong password", _at("SASL_SSL"), lambda k: k.scram(sasl_password="wrong"), r"password .*sasl\.password"),
    Mistake(
        "wrong mechanism",
        _at("SASL_SSL"),
        lambda k: k.scram(sasl_mechanism="PLAIN"),
        r"another mechanism: SCRAM-SHA-256 \(kafka\.extra sasl\.mechanism",
    ),
    Mistake(
        "no authority",
        _at("SASL_SSL"),
        lambda k: {key: value for key, value in k.scram().items() if key != "ssl.ca.location"},
        r"no authority of this machine .*ssl\.ca\.location",
    ),
    Mistake(
        "wrong authority",
        _at("SASL_SSL"),
        lambda k: k.scram(ssl_ca_location=k.certificates.other_ca),
        r"not signed by .*other\.pem \(kafka\.extra ssl\.ca\.location",
    ),
    Mistake(
        "wrong host name",
        _at("SASL_SSL", "localhost"),
        SecuredKafka.scram,
        r"name localhost \(kafka\.bootstrap_servers",
    ),
    Mistake("plain to a TLS port", _at("SSL"), lambda k: {}, r"speaks TLS \(kafka\.extra security\.protocol"),
    Mistake("plain to a SASL port", _at("SASL_PLAINTEXT"), lambda k: {}, r"asks for a user \(.*security\.protocol"),
    Mistake("TLS to a plain port", lambda k: k.bootstrap, _tls, r"does not speak TLS \(.*security\.protocol"),
    Mistake(
        "a user to a port that asks for none",
        lambda k: k.bootstrap,
        lambda k: k.scram(security_protocol="SASL_PLAINTEXT"),
        r"asks for no user \(.*security\.protocol",
    ),
    Mistake("no client certificate", _at("SSL"), _tls, r"asks for a certificate .*ssl\.certificate\.location"),
    Mistake(
        "nobody there", lambda k: f"127.0.0.1:{free_port()}", lambda k: {}, r"nobody listens .*kafka\.bootstrap_servers"
    ),
]


@pytest.fixture
def config(secured_kafka: SecuredKafka) -> KafkaConfig:
    """Fresh topics, group and transactional id, and nothing allowed on any of them."""
    number = next(_NUMBERS)
    topics = events, lists, dead = [f"{name}-{number}" for name in ("events", "lists", "dead")]
    for made in secured_kafka.admin.create_topics([NewTopic(topic, 2, 1) for topic in topics]).values():
        made.result(30)
    return KafkaConfig(
        bootstrap_servers=secured_kafka.address("SASL_SSL"),
        input_topic=events,
        output_topic=lists,
        dead_letter_topic=dead,
        group_id=f"group-{number}",
        session_timeout_ms=2_000,
        extra=secured_kafka.scram(),
    )


def least(config: KafkaConfig) -> list[Right]:
    return least_rights(config.input_topic, config.output_topic, config.dead_letter_topic, config.group_id, "a")


@pytest.mark.kafka
class TestConnections:
    @pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
    def test_a_mistake_is_named_with_the_key_to_change(self, secured_kafka: SecuredKafka, mistake: Mistake) -> None:
        """And without the password."""
        config = KafkaConfig(mistake.address(secured_kafka), extra=mistake.extra(secured_kafka))
        with pytest.raises(Unavailable, match=mistake.named) as fault:
            describe_cluster(config)
        assert PASSWORD not in str(fault.value)

    @pytest.mark.parametrize("use", ["produce", "tail"])
    def test_produce_and_tail_name_it_too(self, secured_kafka: SecuredKafka, use: str) -> None:
        config = KafkaConfig(secured_kafka.address("SASL_SSL"), extra=secured_kafka.scram(sasl_password="wrong"))
        calls: dict[str, Callable[[], object]] = {
            "produce": lambda: produce_records(config, "clicks", [("u", b"x", 1)]),
            "tail": lambda: next(messages(config, "lists")),
        }
        with pytest.raises(Unavailable, match=r"sasl\.password"):
            calls[use]()

    def test_what_is_right_connects(self, secured_kafka: SecuredKafka) -> None:
        certificates = secured_kafka.certificates
        assert "1 broker at" in describe_cluster(
            KafkaConfig(secured_kafka.address("SASL_SSL"), extra=secured_kafka.scram())
        )
        mutual = KafkaConfig(secured_kafka.address("SSL"), extra=_tls(secured_kafka, **certificates.client))
        assert "1 broker at" in describe_cluster(mutual)


@pytest.mark.kafka
class TestRights:
    def test_exactly_the_documented_rights_are_enough(self, secured_kafka: SecuredKafka, config: KafkaConfig) -> None:
        """To be told so, to read, and to publish in a transaction."""
        secured_kafka.allow(least(config))
        require_rights(config, "a")
        assert missing_topics(config) == []
        with Running(secured_kafka, config) as worker:
            worker.publish(1)

    def test_they_are_enough_to_hear_what_others_own(self, secured_kafka: SecuredKafka, config: KafkaConfig) -> None:
        """With the same password and certificates."""
        secured_kafka.allow(least(config))
        produce_records(KafkaConfig(secured_kafka.bootstrap), config.input_topic, [(b"u", b"x", 1)])
        with closing(KafkaHeard(config, "a")) as source:
            assert retry(source.alone)
            bounds = retry(source.bounds)
            listener = Listener(source, *(low for low, _ in bounds.values()))
            listener.poll_until(lambda: bool(listener.records))

    def test_without_any_right_all_are_named_and_no_topic_is_called_missing(self, config: KafkaConfig) -> None:
        assert missing_topics(config) == []
        with pytest.raises(RightMissing) as fault:
            require_rights(config, "a")
        for operation, kind, name in least(config):
            words = kind.lower().replace("_", " ")
            assert f"{operation} on {words} {name}" in str(fault.value)
            option = f"--operation {operation.capitalize()} --{words.replace(' ', '-')} {name}"
            assert f"--allow-principal User:{USER} {option}" in str(fault.value)

    @pytest.mark.parametrize("place", range(5))
    def test_each_missing_right_is_named_alone(
        self, secured_kafka: SecuredKafka, config: KafkaConfig, place: int
    ) -> None:
        operation, kind, name = least(config)[place]
        secured_kafka.allow(right for number, right in enumerate(least(config)) if number != place)
        with pytest.raises(RightMissing) as fault:
            require_rights(config, "a")
        words = f"{operation} on {kind.lower().replace('_', ' ')} {name}"
        assert f"lacks {words}. " in str(fault.value)

    def test_a_topic_that_may_be_seen_and_not_read_is_told_from_a_missing_one(
        self, secured_kafka: SecuredKafka, config: KafkaConfig
    ) -> None:
        secured_kafka.allow([*least(config)[1:], ("DESCRIBE", "TOPIC", config.input_topic)])
        with pytest.raises(RightMissing, match=f"READ on topic {config.input_topic}"):
            require_rights(config, "a")
        with pytest.raises(RightMissing, match=f"{config.input_topic} may not be read"):
            list(messages(config, config.input_topic, from_beginning=True, idle_seconds=5.0))

    def test_trying_a_transactional_id_fences_no_live_worker_of_it(
        self, secured_kafka: SecuredKafka, config: KafkaConfig
    ) -> None:
        """In the middle of a transaction, and also where the group does not know it yet."""
        secured_kafka.allow(least(config))
        producer = Producer(
            {"bootstrap.servers": config.bootstrap_servers, **config.extra, "transactional.id": f"{config.group_id}-a"},
            logger=logging.getLogger("tests.kafka"),
        )
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(config.output_topic, b"one")
        require_rights(config, "a")
        producer.produce(config.output_topic, b"two")
        producer.commit_transaction(20)

    def test_a_transactional_id_that_is_not_allowed_ends_the_start(
        self, secured_kafka: SecuredKafka, config: KafkaConfig
    ) -> None:
        secured_kafka.allow(least(config)[:-1])
        with pytest.raises(RightMissing, match=f"--operation Write --transactional-id {config.group_id}-a"):
            KafkaSink(config, "a")

    @pytest.mark.parametrize("place", [1, 3, 4], ids=["output", "group", "transactional id"])
    def test_a_right_that_is_taken_away_meanwhile_is_waited_for(
        self, secured_kafka: SecuredKafka, config: KafkaConfig, place: int
    ) -> None:
        secured_kafka.allow(least(config))
        with Running(secured_kafka, config) as worker:
            worker.publish(1)
            secured_kafka.forbid(least(config)[place])
            worker.refused(2)
            secured_kafka.allow([least(config)[place]])
            worker.publish(2)

    def test_a_topic_that_may_not_be_read_any_more_is_trouble_until_it_may(
        self, secured_kafka: SecuredKafka, config: KafkaConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client hears of it once; that the brokers answer is no sign that it is over."""
        monkeypatch.setattr("stream_worker.backends.kafka.source._LOOK_SECONDS", 0.5)
        secured_kafka.allow([*least(config), ("DESCRIBE", "TOPIC", config.input_topic)])
        with Running(secured_kafka, config) as worker:
            secured_kafka.forbid(least(config)[0])
            until(lambda: f"READ on topic {config.input_topic}" in worker.source.trouble(), worker.member)
            secured_kafka.allow([least(config)[0]])
            until(lambda: worker.source.trouble() == "", worker.member)


class Running:
    """A source and a sink of one slot, which own everything."""

    def __init__(self, kafka: SecuredKafka, config: KafkaConfig) -> None:
        administrator = replace(config, bootstrap_servers=kafka.bootstrap, extra={})
        produce_records(
            administrator, config.input_topic, [(f"u{n}", value, 1) for n, value in enumerate(values("ab"))]
        )
        self.sink, self.source = KafkaSink(config, "a"), KafkaSource(config, "a")
        self.member = Member(self.source)

    def __enter__(self) -> Running:
        self.member.poll_until(lambda: len(self.member.owner.owned) == 2 and len(self.member.records) == 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.sink.close()
        self.source.close()

    def _commit(self, offset: int) -> None:
        self.sink.commit(Outputs([list_for("u", offset)]), {0: offset}, self.source.membership())

    def publish(self, offset: int) -> None:
        retry(lambda: self._commit(offset), self.source.serve)

    def refused(self, offset: int) -> None:
        """Until the refusal has come: brokers hear of a lost right with some delay."""
        said: list[str] = []

        def attempt() -> bool:
            nonlocal offset
            try:
                self._commit(offset)
                offset += 1
            except (Unavailable, TransactionAborted) as fault:
                said.append(str(fault) if isinstance(fault, Unavailable) else "")
            return any("authorization failed" in words or "lacks" in words for words in said)

        until(attempt, self.member)


@pytest.fixture
def classic_kafka() -> Iterator[str]:
    """The address of a Kafka that has KIP-848 switched off."""

    class Classic(KafkaBroker):
        def _settings(self) -> str:
            return super()._settings() + "\ngroup.coordinator.rebalance.protocols=classic\n"

    with Classic() as broker:
        yield f"127.0.0.1:{broker.port}"


class TestConsumerProtocol:
    @pytest.mark.kafka
    def test_brokers_that_have_it_switched_off_end_the_worker_with_the_key_to_change(self, classic_kafka: str) -> None:
        config = KafkaConfig(classic_kafka, group_protocol="consumer")
        create_topics(config, config.topics, 1)
        member = Member(KafkaSource(config, "a"))
        with pytest.raises(ConfigurationError, match=r"kafka\.group_protocol: .*KIP-848.* classic"):
            member.poll_until(lambda: False)
        member.source.close()

    @pytest.mark.parametrize(("apis", "refused"), [({0, 3, 18}, True), ({0, 3, 18, 68}, False), (set(), False)])
    def test_older_brokers_are_refused_before_anything_waits(
        self, monkeypatch: pytest.MonkeyPatch, apis: set[int], refused: bool
    ) -> None:
        """Where nobody says what they speak, they are given the benefit of the doubt."""
        monkeypatch.setattr(rights, "_apis", lambda config: apis)
        require_protocol(KafkaConfig(group_protocol="classic"))
        if not refused:
            return require_protocol(KafkaConfig(group_protocol="consumer"))
        with pytest.raises(ConfigurationError, match=r"kafka\.group_protocol: .*KIP-848"):
            require_protocol(KafkaConfig(group_protocol="consumer"))

    @pytest.mark.kafka
    def test_what_brokers_speak_is_known(self, kafka_bootstrap: str) -> None:
        """Produce, metadata, API versions and KIP-848's heartbeat."""
        assert {0, 3, 18, 68} <= rights._apis(KafkaConfig(kafka_bootstrap))


@pytest.mark.parametrize(
    "code", [KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED]
)
def test_a_fatal_error_about_rights_is_cured_by_no_new_process(code: int) -> None:
    behind: Any = KafkaError(KafkaError._FATAL, f"Fatal error: {KafkaError(code).str()}: heartbeat", True)
    assert isinstance(fatal_error(behind), RightMissing)
    assert isinstance(fatal_error(KafkaError(code, "made by the test", True)), RightMissing)


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_trouble_for_as_long_as_it_is_not(kafka_bootstrap: str) -> None:
    """Polls in vain do not make it forgotten."""
    member = Member(KafkaSource(KafkaConfig(kafka_bootstrap, "nowhere", group_id="nowhere"), "a"))
    until(lambda: "Unknown topic" in member.source.trouble(), member)
    for _ in range(20):
        member.poll()
        assert "Unknown topic" in member.source.trouble()
    assert not member.source.standing().ready
    member.source.close()
