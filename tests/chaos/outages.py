"""Scenario 5: Kafka and Redis are killed, hang, are wiped or fall back while two workers keep up with a stream."""

from __future__ import annotations

from collections.abc import Callable

import redis
from confluent_kafka.admin import AdminClient

from tests.chaos.scenario import Scenario, Seen, Stage
from tests.chaos.under_load import Play, membership_kept, own_services, playing
from tests.support.fleet import Sent, read_all
from tests.support.scene import memories_of
from tests.support.services import KafkaBroker


def _judged_by_log(play: Play, **seen: object) -> Seen:
    """As `Play.judged`, by the log's own word: what a killed broker has written and could not confirm may be in it
    twice, whatever the producer of the stream does about it. All that was confirmed has to be there."""
    scene, logged = play.scene, Sent()
    for message in read_all(scene.bootstrap, scene.topic):
        logged.note(message.key().decode(), message, message.value())
    for key, offsets in scene.sent.valid.items():
        assert set(offsets) <= set(logged.valid[key]), f"{key}: the broker has lost what it had confirmed"
    unconfirmed = logged.events - scene.sent.events
    scene.sent = logged
    return play.judged(**seen, unconfirmed=unconfirmed)


# -- Kafka -----------------------------------------------------------------------------------------------------


def broker_killed(stage: Stage) -> Seen:
    """The only broker: `kill -9`, 5 s of nothing, and back with its data."""
    with own_services(stage, brokers=1) as own, playing(own) as play:
        broker = own.kafka.brokers[0]
        with play.streaming():
            broker.kill()
            play.go_on(5)
            broker.start()
            resumed = play.advance("progress after the broker's restart")
        return _judged_by_log(play, resumed_seconds=resumed)


def one_broker_of_three(stage: Stage) -> Seen:
    """The group's coordinator of three brokers: `kill -9`; the other two go on without it, then it comes back."""
    with own_services(stage, brokers=3) as own, playing(own, replicas=3) as play:
        broker = _coordinator(play)
        with play.streaming():
            broker.kill()
            without = play.advance("progress on two brokers")
            play.go_on(play.seconds(3, 10))
            broker.start()
            resumed = play.advance("progress on three brokers again")
        return _judged_by_log(play, resumed_on_two_seconds=without, resumed_on_three_seconds=resumed)


def _coordinator(play: Play) -> KafkaBroker:
    admin = AdminClient({"bootstrap.servers": play.scene.bootstrap})
    node: int = admin.describe_consumer_groups([play.scene.group])[play.scene.group].result(30).coordinator.id
    return play.stage.kafka.brokers[node - 1]


# -- Redis -----------------------------------------------------------------------------------------------------


def redis_killed(stage: Stage) -> Seen:
    """`kill -9`, 8 s of nothing (longer than the group's sessions), and back with its data."""
    with own_services(stage) as own, playing(own) as play:
        with play.streaming(), membership_kept(play):
            own.redis.kill()
            play.go_on(8)
            own.redis.start()
            resumed = play.advance("progress after Redis' restart")
        return play.judged(resumed_seconds=resumed)


def redis_fallen_back(stage: Stage) -> Seen:
    """Redis loses its last two seconds: it comes back with a copy of its append-only file from then."""
    with own_services(stage) as own, playing(own) as play:
        _never_rewrite(own.redis.url)
        with play.streaming(), membership_kept(play):
            copy, remembered = own.redis.copy_log(), play.scene.floors()
            play.go_on(2)
            lost = sum(play.scene.floors().values()) - sum(remembered.values())
            assert lost > 0, "M did not move in the two seconds"
            own.redis.put_back(copy)
            resumed = play.advance("progress after Redis fell back")
        noticed = play.metric("memories_lost_total")
        assert noticed > 0, "no worker has noticed"
        return play.judged(resumed_seconds=resumed, M_fell_by=lost, noticed=int(noticed))


def _never_rewrite(url: str) -> None:
    """So that files don't change under a copy of them."""
    with redis.Redis.from_url(url) as client:
        client.config_set("auto-aof-rewrite-percentage", 0)


def redis_flushed(stage: Stage) -> Seen:
    """FLUSHALL, and the log is long enough to remember everything again."""
    with own_services(stage) as own, playing(own) as play:
        with play.streaming(), membership_kept(play):
            resumed = _flush(play)
        noticed = play.metric("memories_lost_total")
        return play.judged(resumed_seconds=resumed, noticed=int(noticed))


def redis_flushed_short_memory(stage: Stage) -> Seen:
    """FLUSHALL, and only the last 20 records of every partition are remembered again: the log line says from where."""
    with own_services(stage) as own, playing(own, environment={"MEMORY__REBUILD_RECORDS": "20"}) as play:
        with play.streaming(), membership_kept(play):
            resumed = _flush(play)
        play.finish()
        starts = _last_starts(play, "a", "b")
        assert all(starts.values()), f"rebuilt from the very beginning: {starts}"
        memories = _check_memories_since(play, starts)
        return {"resumed_seconds": resumed, "lists": play.scene.check(), "memories": memories, "from": starts}


def _flush(play: Play) -> float:
    with redis.Redis.from_url(play.scene.redis_url) as client:
        client.flushall()
    resumed = play.advance("progress after FLUSHALL")
    play.fleet.wait_for(lambda: play.metric("memories_lost_total") > 0, "that somebody notices", 30)
    play.fleet.wait_for(lambda: len(play.scene.floors()) == play.scene.partitions, "a new M everywhere", 60)
    return resumed


def _last_starts(play: Play, *slots: str) -> dict[int, int]:
    """Where each partition was last read from, by the workers' own word."""
    entries = [entry for slot in slots for entry in play.logged(slot, "partitions claimed")]
    starts: dict[int, int] = {}
    for entry in sorted(entries, key=lambda entry: entry["timestamp"]):
        starts |= {int(partition): offset for partition, offset in entry["start"].items()}
    return starts


def _check_memories_since(play: Play, starts: dict[int, int]) -> int:
    """Counters and rings hold exactly what the log has from `starts` on; returns the number of records."""
    sent = play.scene.sent
    later = {
        key: [item for offset, item in zip(offsets, sent.items[key], strict=True) if offset >= starts[key[1]]]
        for key, offsets in sent.valid.items()
    }
    return play.scene.check_memories(memories_of(later))


def redis_hangs(stage: Stage) -> Seen:
    """SIGSTOP for 10 s: its port is open, and nothing answers."""
    with own_services(stage) as own, playing(own) as play:
        with play.streaming(), membership_kept(play):
            own.redis.pause()
            try:
                play.go_on(10)
            finally:
                own.redis.resume()
            resumed = play.advance("progress after SIGCONT")
        return play.judged(resumed_seconds=resumed)


def both_killed(stage: Stage) -> Seen:
    """Broker and Redis at once: `kill -9`, 5 s of nothing, and both back with their data."""
    with own_services(stage, brokers=1) as own, playing(own) as play:
        with play.streaming():
            own.redis.kill()
            own.kafka.brokers[0].kill()
            play.go_on(5)
            own.redis.start()
            own.kafka.brokers[0].start()
            resumed = play.advance("progress after both restarts")
        return _judged_by_log(play, resumed_seconds=resumed)


def _scenario(name: str, run: Callable[[Stage], Seen], in_short: bool = False) -> Scenario:
    return Scenario(5, name, run, in_short=in_short)


BROKER_KILLED = _scenario("broker killed", broker_killed)
ONE_BROKER_OF_THREE = _scenario("one of three brokers killed", one_broker_of_three)
REDIS_KILLED = _scenario("Redis killed", redis_killed)
REDIS_FALLEN_BACK = _scenario("Redis fallen back by two seconds", redis_fallen_back, in_short=True)
REDIS_FLUSHED = _scenario("Redis flushed", redis_flushed, in_short=True)
REDIS_FLUSHED_SHORT_MEMORY = _scenario("Redis flushed, short log to rebuild", redis_flushed_short_memory)
REDIS_HANGS = _scenario("Redis hangs", redis_hangs)
BOTH_KILLED = _scenario("broker and Redis killed", both_killed)
OUTAGES = [
    BROKER_KILLED, ONE_BROKER_OF_THREE, REDIS_KILLED, REDIS_FALLEN_BACK, REDIS_FLUSHED, REDIS_FLUSHED_SHORT_MEMORY,
    REDIS_HANGS, BOTH_KILLED,
]  # fmt: skip
