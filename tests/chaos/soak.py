"""Scenario 8: one worker for an hour at half its top rate, on users and items that do not grow in number. Then nothing
else may grow, either: memory, open files, threads, Redis keys.

python -m tests.chaos.soak [--minutes 60] [--rate EVENTS_PER_SECOND] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
import redis

from benchmarks.record import write
from stream_worker.core.codec import encode_event
from tests.chaos.scenario import Scenario, Seen, Stage
from tests.support.fleet import Event, Sent, produce
from tests.support.scene import Scene
from tests.support.services import KafkaCluster, RedisService

MINUTES = 60.0
USERS, ITEMS = 20_000, 5_000
SAMPLE_SECONDS, SAY_SECONDS = 30.0, 300.0
_SLOT = "0"
# The topic is full when the top rate is measured; the first events, each of a new user, are left out of it.
_BACKLOG = 60_000
_EVENTS = "stream_worker_events_processed_total"
_KINDS = ("view", "view", "view", "view", "click", "click", "cart", "purchase")

# From the middle of the second quarter to that of the last are 30 of the 60 minutes: a million events, 360 checkpoints.
# Of the 760 MB that are not of files, a leak of 23 bytes an event or 65 KB a checkpoint makes three percent. Single
# samples differ by as much (1176 to 1207 MB in 14 minutes), medians of quarters by 0.3 %. A fall is no leak.
MOST_GROWTH = 0.03
# A checkpoint that is just being written has a file open; a burst of requests to Redis may open a connection.
MOST_HANDLES = 2
# At half the top rate the backlog of a bad minute is worked off in the next; one that stays is no steady state.
MOST_LAG_SECONDS = 60.0


@dataclass(frozen=True)
class Sample:
    """The worker and its Redis at one moment. `lag` in records, `checkpoint_files` those on disk.

    `anonymous_mb`: the part of the resident memory that no file stands behind. Pss would say less: it changes with
    every other process that has the same libraries open.
    """

    minute: float
    rss_mb: float
    anonymous_mb: float
    files: int
    threads: int
    redis_keys: int
    redis_mb: float
    lag: float
    events: float
    checkpoints: float
    checkpoint_files: int


Kept = Callable[[Sample], None]


def soak(stage: Stage, minutes: float, rate: float = 0.0, keep: Kept = lambda _: None) -> Seen:
    """`rate` 0: half of the top rate, which is measured first. Every sample is kept the moment it is taken."""
    samples: list[Sample] = []
    with stage.scene(environment={"CHECKPOINT__INTERVAL_SECONDS": "5"}) as scene:
        clicks = _clicks(np.random.default_rng(stage.seed))
        top = _top_rate(scene, clicks)
        rate = rate or top / 2
        _say(f"top rate {top:.0f} events/s; {minutes:g} minutes at {rate:.0f}")
        for sample in _watched(scene, stage.redis, clicks, rate, 60 * minutes):
            samples.append(sample)
            keep(sample)
        seen: Seen = {"minutes": minutes, "top_rate": round(top), "rate": round(rate), "records": scene.sent.records}
        seen |= _ended(scene)
    return seen | flat(samples) | kept_up(samples, rate)


def _ended(scene: Scene) -> Seen:
    """The rest is worked off, the worker leaves in good order, and every list and memory is right."""
    scene.fleet.wait_for(scene.done, "the rest of the topic", 600)
    code = scene.fleet.stop(_SLOT)
    assert code == 0, f"exit code {code}:\n{scene.fleet.log(_SLOT)[-3000:]}"
    return {"lists": scene.check(), "dead_letters": len(scene.sent.bad), "memories": scene.check_memories()}


# -- what is sent ------------------------------------------------------------------------------------------------------


def _clicks(rng: np.random.Generator) -> Iterator[Event]:
    """All users and items once; then sessions of some ten events, who walk through the items, without end. One record
    in a thousand is no event."""
    for user in range(USERS):
        yield _click(user, user % ITEMS, "view")
    seats, places = rng.integers(0, USERS, size=300), rng.integers(0, ITEMS, size=300)
    while True:
        seat = int(rng.integers(0, 300))
        if rng.random() < 0.1:
            seats[seat], places[seat] = rng.integers(0, USERS), rng.integers(0, ITEMS)
        places[seat] = (places[seat] + rng.integers(1, 4)) % ITEMS
        if rng.random() < 0.001:
            yield f"u{seats[seat]}", b'{"user": "cut o', None, False
        else:
            yield _click(int(seats[seat]), int(places[seat]), _KINDS[rng.integers(0, len(_KINDS))])


def _click(user: int, item: int, kind: str) -> Event:
    return f"u{user}", encode_event(f"u{user}", f"i{item}", kind, time.time()), None, True


def _paced(clicks: Iterator[Event], rate: float, seconds: float) -> Iterator[Event]:
    began = time.monotonic()
    for number, click in enumerate(islice(clicks, int(rate * seconds))):
        ahead = began + number / rate - time.monotonic()
        if ahead > 0.01:
            time.sleep(ahead)
        yield click


def _top_rate(scene: Scene, clicks: Iterator[Event]) -> float:
    """Events a second while the topic is full and all users and items are known."""
    scene.produce(list(islice(clicks, _BACKLOG)))
    scene.fleet.start(_SLOT)
    known = scene.sent.events // 2
    scene.fleet.wait_for(lambda: _processed(scene) >= known, "the users' first events", 600)
    began, before = time.monotonic(), _processed(scene)
    scene.fleet.wait_for(lambda: _processed(scene) >= scene.sent.events, "the full topic", 600)
    return (scene.sent.events - before) / (time.monotonic() - began)


def _processed(scene: Scene) -> float:
    return scene.fleet.metrics(_SLOT).get(_EVENTS, 0.0)


# -- what is seen ------------------------------------------------------------------------------------------------------


def _watched(
    scene: Scene, service: RedisService, clicks: Iterator[Event], rate: float, seconds: float
) -> Iterator[Sample]:
    """A sample every 30 s (of a short run 40 in all) while events are sent at `rate`."""
    every, say_every = min(SAMPLE_SECONDS, seconds / 40), min(SAY_SECONDS, seconds / 6)
    began = said = time.monotonic()
    with ThreadPoolExecutor(1) as thread, redis.Redis.from_url(service.url) as store:
        sending = thread.submit(produce, scene.bootstrap, scene.topic, _paced(clicks, rate, seconds))
        due = began
        while not sending.done():
            sample = _sample(scene, store, began)
            if time.monotonic() - said >= say_every:
                said = time.monotonic()
                _say(", ".join(f"{name} {value:g}" for name, value in asdict(sample).items()))
            yield sample
            due += every
            _wait(scene, sending, due)
        scene.sent.add(sending.result())


def _wait(scene: Scene, sending: Future[Sent], due: float) -> None:
    scene.fleet.wait_for(lambda: sending.done() or time.monotonic() >= due, "the next sample")


def _sample(scene: Scene, store: redis.Redis, began: float) -> Sample:
    process = Path("/proc") / str(scene.fleet.processes[_SLOT].pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    metrics = _metrics(scene)
    return Sample(
        minute=round((time.monotonic() - began) / 60, 2),
        rss_mb=_mb(status["VmRSS"]),
        anonymous_mb=_mb(status["RssAnon"]),
        files=len(os.listdir(process / "fd")),
        threads=int(status["Threads"]),
        redis_keys=int(store.dbsize()),
        redis_mb=round(store.info("memory")["used_memory"] / 2**20, 2),
        lag=sum(value for name, value in metrics.items() if name.startswith("stream_worker_partition_lag")),
        events=metrics[_EVENTS],
        checkpoints=metrics["stream_worker_checkpoint_seconds_count"],
        checkpoint_files=sum(len(names) for _, _, names in os.walk(scene.folder / "checkpoints")),
    )


def _metrics(scene: Scene) -> dict[str, float]:
    """What the worker says of itself, late where the machine is busy."""
    answers: list[dict[str, float]] = []

    def answered() -> bool:
        answers.append(scene.fleet.metrics(_SLOT))
        return bool(answers[-1])

    scene.fleet.wait_for(answered, "the worker's metrics")
    return answers[-1]


def _mb(kilobytes: str) -> float:
    return round(int(kilobytes.split(maxsplit=1)[0]) / 1024, 2)


# -- what must hold ----------------------------------------------------------------------------------------------------


def flat(samples: Sequence[Sample]) -> Seen:
    """The medians of the last quarter are those of the second, within the bounds above."""
    second, last = _medians(samples[len(samples) // 4 : len(samples) // 2]), _medians(samples[-len(samples) // 4 :])
    seen: Seen = {
        name: f"{second[name]:g} -> {last[name]:g}" for name in second if name not in ("minute", "events", "lag")
    }
    for name in ("rss_mb", "anonymous_mb", "redis_mb"):
        growth = last[name] / second[name] - 1
        assert growth <= MOST_GROWTH, f"{name} {seen[name]}: grew by {growth:.1%}, at most {MOST_GROWTH:.0%}"
    for name in ("files", "threads", "checkpoint_files"):
        assert abs(last[name] - second[name]) <= MOST_HANDLES, f"{name} {seen[name]}: more than {MOST_HANDLES} apart"
    assert last["redis_keys"] == second["redis_keys"], f"redis_keys {seen['redis_keys']}: must be equal"
    assert last["checkpoints"] > second["checkpoints"], f"checkpoints {seen['checkpoints']}: none was written"
    return seen


def kept_up(samples: Sequence[Sample], rate: float) -> Seen:
    """What came was done: the lag of the last quarter is short."""
    lag = _medians(samples[-len(samples) // 4 :])["lag"]
    assert lag <= MOST_LAG_SECONDS * rate, f"lag {lag:g}: more than {MOST_LAG_SECONDS:g} s at {rate:.0f} events/s"
    return {"lag": lag}


def _medians(samples: Sequence[Sample]) -> dict[str, float]:
    names = [field.name for field in fields(Sample)]
    return {name: statistics.median(getattr(sample, name) for sample in samples) for name in names}


SCENARIO = Scenario(8, "soak at half the top rate", lambda stage: soak(stage, MINUTES), in_short=False)


# -- by itself ---------------------------------------------------------------------------------------------------------


def _say(line: str) -> None:
    print(f"soak: {line}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second (default: half of the top rate)")
    parser.add_argument("--json", type=Path, help="write summary and samples here")
    given = parser.parse_args(arguments)
    machine = f"{platform.platform()}, {os.cpu_count()} cores, python {platform.python_version()}"
    result: dict[str, object] = {"machine": machine, "held": False}
    samples: list[Sample] = []
    with ExitStack() as services:
        kafka, redis_service = services.enter_context(KafkaCluster()), RedisService(appendonly=True)
        services.enter_context(redis_service)
        folder = Path(services.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        stage = Stage(kafka, redis_service, folder, [], False, "classic")
        try:
            result |= soak(stage, given.minutes, given.rate, samples.append) | {"held": True}
        except AssertionError as broken:
            result["reason"] = str(broken)[:3000]
            raise
        finally:
            for name, value in result.items():
                print(f"{name:18} {value}")
            if given.json:
                written = result | {"samples": [asdict(sample) for sample in samples]}
                write(given.json, written)


if __name__ == "__main__":
    main()
