"""Scenario 5, the topic and the fleet change their size, and retention overtakes the reader."""

from __future__ import annotations

import json
import logging
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from stream_worker.core.codec import encode_event
from stream_worker.exit_codes import ExitCode
from tests.chaos.logs import START_TS
from tests.chaos.scenario import Scenario, Seen, Stage
from tests.chaos.under_load import Play, playing
from tests.support.fleet import Event, Sent
from tests.support.scene import RING, Memories

_NOTICED_SOON = json.dumps({"topic.metadata.refresh.interval.ms": "1000"})


# -- more partitions ---------------------------------------------------------------------------------------------


def topic_grows(stage: Stage) -> Seen:
    """From 4 to 6 partitions while two workers run. The group begins at the end of its topic, and yet misses nothing of
    partitions that come later; users who move take their rings along, and begin to count anew."""
    environment = {"KAFKA__START": "latest", "KAFKA__EXTRA": _NOTICED_SOON}
    with playing(stage, environment=environment, partitions=4) as play:
        scene = play.scene
        with play.streaming():
            pass
        play.fleet.wait_for(
            lambda: sum(play.scene.floors().values()) >= scene.sent.records, "every memory written", 240
        )
        before = _copied(scene.sent)
        scene.grow(6)
        # Before any worker knows of the new partitions.
        scene.produce(_newcomers(120))
        noticed = play.timed(lambda: play.metric("partitions_owned") == 6, "all six partitions owned")
        with play.streaming():
            pass
        play.finish()
        expected, moved = _moved_memories(before, scene.sent)
        assert moved > 0, "nobody moved: the scenario shows nothing"
        memories = scene.check_memories(expected)
        return {"noticed_seconds": noticed, "moved": moved, "lists": scene.check(), "memories": memories}


def _newcomers(users: int) -> list[Event]:
    events = [(f"new{n % users}", f"i{n}", START_TS + n) for n in range(3 * users)]
    return [(user, encode_event(user, item, "view", ts), ts * 1000, True) for user, item, ts in events]


def _copied(sent: Sent) -> dict[tuple[str, int], list[str]]:
    return {key: list(items) for key, items in sent.items.items() if items}


def _moved_memories(before: dict[tuple[str, int], list[str]], sent: Sent) -> tuple[Memories, int]:
    """Memories as they have to be, and how many users moved. `before`: the items of every (user, partition) when all
    was remembered and the topic grew; since then each user is in one partition."""
    olds = {user: (partition, items) for (user, partition), items in before.items()}
    expected, moved = {}, 0
    for (user, partition), items in sent.items.items():
        old_partition, old = olds.get(user, (partition, []))
        inherited = old if partition != old_partition else []
        moved += bool(inherited)
        expected[user, partition] = len(items), (inherited + items)[-RING:]
    return expected, moved


# -- fewer workers ---------------------------------------------------------------------------------------------


def fewer_workers(stage: Stage) -> Seen:
    """Three workers, then one: of the others, one is stopped and one killed, and neither comes back."""
    with playing(stage, ("a", "b", "c")) as play:
        with play.streaming():
            assert play.fleet.stop("c") == ExitCode.DONE
            play.fleet.kill("b")
            taken = play.timed(lambda: play.metric("partitions_owned") == play.scene.partitions, "one owns all")
            play.advance("progress of all partitions", 500)
        return play.judged(taken_over_seconds=taken)


# -- retention -------------------------------------------------------------------------------------------------


@dataclass
class _Retention:
    """Deletes what the group has not read, and remembers that nobody will."""

    play: Play
    lost: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def overtake(self, records: int, spared: int) -> None:
        """Send that many records, and delete them but for the last `spared` of each partition."""
        scene = self.play.scene
        ends = scene.sent.ends()
        scene.produce([next(self.play.events) for _ in range(records)])
        lows = {partition: max(ends[partition], end - spared) for partition, end in scene.sent.ends().items()}
        admin = AdminClient({"bootstrap.servers": scene.bootstrap}, logger=logging.getLogger("tests.kafka"))
        cuts = [TopicPartition(scene.topic, partition, low) for partition, low in lows.items()]
        for deleted in admin.delete_records(cuts).values():
            deleted.result(30)
        for partition, low in lows.items():
            self.lost[partition] |= set(range(ends[partition], low))

    def forget(self) -> None:
        """Expect no more of what was deleted before it was read."""
        sent = self.play.scene.sent
        for key, offsets in sent.valid.items():
            kept = [place for place, offset in enumerate(offsets) if offset not in self.lost[key[1]]]
            sent.items[key] = [sent.items[key][place] for place in kept]
            sent.valid[key] = [offsets[place] for place in kept]


def offset_lost(stage: Stage) -> Seen:
    """Retention overtakes the committed offset: `fail` ends with a clear error; `earliest` goes on where the topic
    begins, also while the worker runs; `latest` where it ends."""
    with playing(stage, ("a",), partitions=4) as play:
        retention = _Retention(play)
        with play.streaming():
            pass
        play.finish()
        retention.overtake(2_000, spared=100)
        said = _fails(play)
        play.start("a", KAFKA__ON_LOST_OFFSET="earliest")
        play.fleet.wait_for(play.scene.done, "what is left of the topic")
        with _stopped(play, "a"):
            retention.overtake(2_000, spared=100)
        play.fleet.wait_for(play.scene.done, "what is left of the topic, once more")
        play.finish()
        retention.overtake(2_000, spared=100)
        # `latest` leaves out the spared ones, too.
        retention.lost |= {p: lost | set(range(max(lost), max(lost) + 101)) for p, lost in retention.lost.items()}
        play.start("a", KAFKA__ON_LOST_OFFSET="latest")
        with play.streaming():
            pass
        play.finish()
        lines = play.logged("a", "offset lost")
        assert {line["level"] for line in lines} == {"error"}
        retention.forget()
        lists, memories = play.scene.check(), play.scene.check_memories()
        lost = sum(map(len, retention.lost.values()))
        return {"said": said, "lost": lost, "said_times": len(lines), "lists": lists, "memories": memories}


def _fails(play: Play) -> str:
    """The exit code and the reason, which names partition, offsets and policy."""
    play.fleet.start("a", KAFKA__ON_LOST_OFFSET="fail")
    code = play.fleet.ended("a", 120)
    reason = play.fleet.log("a").splitlines()[-1]
    assert code == ExitCode.FAILED
    assert "kafka.on_lost_offset = fail" in reason
    assert play.scene.topic in reason
    return f"{reason.partition(': ')[2].removeprefix(play.scene.topic).strip()} (exit code {code})"


@contextmanager
def _stopped(play: Play, slot: str) -> Iterator[None]:
    play.fleet.signal(slot, signal.SIGSTOP)
    yield
    play.fleet.signal(slot, signal.SIGCONT)


TOPIC_GROWS = Scenario(5, "topic grows from 4 to 6 partitions", topic_grows)
FEWER_WORKERS = Scenario(5, "three workers, then one", fewer_workers, in_short=False)
OFFSET_LOST = Scenario(5, "offset overtaken by retention", offset_lost, in_short=False)
GROWTH = [TOPIC_GROWS, FEWER_WORKERS, OFFSET_LOST]
