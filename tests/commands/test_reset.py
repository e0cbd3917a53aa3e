"""`stream-worker reset`: what it shows, what it deletes, what it leaves alone, and when it refuses."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_worker.assembly import start_of
from stream_worker.backends.checkpoint import CheckpointConfig, DirectoryCheckpoints, folder_of, newest_of, start_lock
from stream_worker.backends.kafka import KafkaConfig, KafkaSource, look_at_group
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.config import Settings, load_settings
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId
from stream_worker.exit_codes import ExitCode
from tests.backends.contracts_topics import Member, known_identity
from tests.backends.memory_store_contract import record
from tests.conftest import MakeTopic
from tests.test_commands import call

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


class Shop:
    """A group that has committed, remembered and learned something, and its neighbours in the same places."""

    def __init__(self, bootstrap: str, redis_url: str, topic: str, path: Path) -> None:
        self.topic, self.group, self.path, self.redis_url = topic, f"shop-{topic}", path, redis_url
        self.environment = {
            "KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "KAFKA__INPUT_TOPIC": topic,
            "KAFKA__GROUP_ID": self.group,
            "KAFKA__SESSION_TIMEOUT_MS": "6000",
            "MEMORY__REDIS_URL": redis_url,
            "CHECKPOINT__PATH": str(path),
        }
        self.settings: Settings = load_settings(environ={f"STREAM_WORKER__{k}": v for k, v in self.environment.items()})
        with closing(KafkaSource(self.settings.kafka, "0")) as source:
            self.source = known_identity(source)

    def commit(self, *topics: str) -> None:
        consumer = Consumer({"bootstrap.servers": self.settings.kafka.bootstrap_servers, "group.id": self.group})
        for topic in topics or (self.topic,):
            consumer.commit(offsets=[TopicPartition(topic, p, 0) for p in range(4)], asynchronous=False)
        consumer.close()

    def store(self, group: str = "") -> RedisMemoryStore:
        return RedisMemoryStore(MemoryConfig(redis_url=self.redis_url), group or f"{self.group}:{self.topic}")

    def remember(self, group: str = "") -> None:
        with closing(self.store(group)) as store:
            tokens = {partition: claim.token for partition, claim in store.claim([0, 1]).items()}
            for partition, token in tokens.items():
                store.save(partition, token, [("alice", record(3)), ("a}:u:b", record(1))])
                store.set_floor(partition, token, 1)
            store.number_items(["x", "y"])
            store.take_slot("0", "nonce")

    def learn(self, source: SourceId, slot: str = "0") -> None:
        config = CheckpointConfig(str(folder_of(self.path, source)))
        with closing(DirectoryCheckpoints(config, slot, "abc")) as checkpoints:
            checkpoints.save(Snapshot({}, {"source": source.to_json()}))

    def reset(self, *options: str) -> tuple[int, str, str]:
        return call("reset", *options, **self.environment)


@pytest.fixture
def shop(kafka_bootstrap: str, redis_url: str, make_topic: MakeTopic, tmp_path: Path) -> Shop:
    return Shop(kafka_bootstrap, redis_url, make_topic("reset"), tmp_path)


@pytest.fixture
def full(shop: Shop) -> Shop:
    shop.commit()
    shop.remember()
    shop.learn(shop.source)
    shop.learn(shop.source, "1")
    return shop


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def answer(text: str) -> None:
        terminal = io.StringIO(text)
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", terminal)

    return answer


@pytest.fixture
def neighbour(full: Shop) -> Iterator[tuple[str, SourceId]]:
    """Another group whose name only looks alike, in the same Redis and folder."""
    group, source = f"{full.group}:{full.topic}:x", SourceId(full.topic, "t9", full.source.cluster_id, "bakery")
    full.remember(group)
    full.learn(source)
    yield group, source
    with closing(full.store(group)) as store:
        store.wipe()


def test_it_deletes_what_it_shows_and_the_next_start_begins_anew(full: Shop, neighbour: tuple[str, SourceId]) -> None:
    group, source = neighbour
    code, out, err = full.reset("--yes")
    assert code == ExitCode.DONE, err
    assert "offsets      4 partitions, committed in Kafka" in out
    assert "memories     4 memories, 2 partitions, " in out
    assert f"checkpoints  2 of 0.0 MB, in {full.path}" in out
    assert look_at_group(full.settings.kafka).offsets == {}
    with closing(full.store()) as store:
        assert list(store.scan()) == []
        assert sum(store.counted().values()) == 0
        assert store.claim([0])[0].floor is None
        store.wipe()
    assert newest_of(full.path, full.source.is_same) is None
    with closing(full.store(group)) as theirs:
        assert len(list(theirs.scan())) == 4
        assert theirs.item_ids([1, 2]) == ["x", "y"]
    assert newest_of(full.path, source.is_same) is not None
    code, out, _ = full.reset("--yes")
    assert (code, out.splitlines()[-1]) == (ExitCode.DONE, "nothing to delete")


def test_it_asks_first(full: Shop, answering: Callable[[str], None]) -> None:
    answering("n\n")
    code, out, _ = full.reset()
    assert code == ExitCode.FAILED
    assert out.endswith("nothing was deleted\n")
    assert newest_of(full.path, full.source.is_same) is not None
    answering("y\n")
    code, out, err = full.reset()
    assert code == ExitCode.DONE, err
    assert newest_of(full.path, full.source.is_same) is None


def test_where_nobody_can_be_asked_nothing_is_deleted(full: Shop) -> None:
    code, _, err = full.reset()
    assert code == ExitCode.USAGE
    assert "--yes deletes all of this" in err
    assert look_at_group(full.settings.kafka).offsets == {full.topic: 4}


def test_while_the_group_has_a_member_it_refuses(full: Shop) -> None:
    """Wherever that lives."""
    source = KafkaSource(full.settings.kafka, "7")
    member = Member(source)
    try:
        member.poll_until(lambda: bool(member.owner.diary))
        code, _, err = full.reset("--yes")
    finally:
        source.close()
    assert code == ExitCode.SLOT_TAKEN
    assert "are alive (" in err
    assert "-7)" in err
    assert newest_of(full.path, full.source.is_same) is not None


def test_while_a_process_holds_a_slot_it_refuses(full: Shop) -> None:
    """Also before it is a member."""
    with closing(start_lock(*start_of(full.settings))):
        assert full.reset("--yes")[0] == ExitCode.SLOT_TAKEN
    config = CheckpointConfig(str(folder_of(full.path, full.source)))
    with closing(DirectoryCheckpoints(config, "1", "abc")):
        code, _, err = full.reset("--yes")
    assert code == ExitCode.SLOT_TAKEN
    assert "owner.lock" in err
    assert look_at_group(full.settings.kafka).offsets == {full.topic: 4}


def test_a_group_that_reads_other_topics_too_is_left_alone(full: Shop, make_topic: MakeTopic) -> None:
    other = make_topic("other")
    full.commit(other)
    code, _, err = full.reset("--yes")
    assert code == ExitCode.CONFIGURATION
    assert f"has offsets of other topics ({other})" in err
    assert newest_of(full.path, full.source.is_same) is not None


def test_a_kafka_that_does_not_answer_keeps_everything(full: Shop) -> None:
    full.environment["KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    code, _, err = full.reset("--yes")
    assert code == ExitCode.FAILED
    assert err.startswith("stream-worker: kafka:")
    assert newest_of(full.path, full.source.is_same) is not None


def test_a_group_that_was_never_there_has_nothing(kafka_bootstrap: str) -> None:
    config = KafkaConfig(kafka_bootstrap, group_id="nobody")
    assert (look_at_group(config).members, dict(look_at_group(config).offsets)) == ((), {})
