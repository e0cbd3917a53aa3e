"""The cost of exactly-once: the program with its transactions, against the same program at least once.

    python -m benchmarks.exactly_once [--events N] [--pairs 5] [--log LOG --mapping M]

Both catch up with the same full topic on a real Kafka and Redis, each in its own process, with its own group and
output topics. The two of a pair take turns of about a second (A B B A ...): the machine may be shared and noisy, so
only the ratio counts. The clock runs from the end of the first batch to the last commit, without start and compilation.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from subprocess import PIPE
from typing import Any

import click
import torch

from benchmarks.at_least_once import AtLeastOnceSink, CommittingSource
from benchmarks.record import save
from stream_worker import logs
from stream_worker.assembly import make_checkpoints, make_line, make_store, make_worker, new_nonce
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.kafka import KafkaConfig, KafkaSink, KafkaSource, create_topics, produce_records
from stream_worker.backends.metrics import Health, WorkerMetrics
from stream_worker.backends.metrics_export import MetricsObserver
from stream_worker.config import Settings, load_settings
from stream_worker.core.interfaces import Sink
from stream_worker.loop.outside import Outside
from stream_worker.loop.worker import Worker
from stream_worker.warm_up import warm_up
from tests.chaos.logs import made_up, recorded
from tests.support.fleet import Event
from tests.support.services import KAFKA_VERSION, KafkaCluster, RedisService

_ROOT = Path(__file__).resolve().parent.parent
_PARTITIONS = 8  # of each topic
_MODES = ("exactly_once", "at_least_once")
_TURN = 1_024  # records, about a second


class Steps:
    """Seconds of each step of a commit, measured between the fault points that a sink reaches."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._before = 0.0

    def __call__(self, point: str) -> None:
        now, name = time.perf_counter(), point.removeprefix("transaction.")
        if name != "before":
            self.seconds[name] += now - self._before
        self._before = now


# -- one side, in a process of its own --------------------------------------------------------------------------------


class Side:
    """The program in one of the modes, catching up with `records` records turn by turn."""

    def __init__(self, mode: str, records: int) -> None:
        settings = load_settings()
        warm_up(settings)
        self._records, self._steps, self._stages = records, Steps(), defaultdict[str, float](float)
        self.worker = _worker(settings, mode, self._steps)
        self.worker.start()
        while self.worker.status.consuming.records == 0:
            self.worker.run_once()
        self._steps.seconds.clear()
        status = self.worker.status
        self._events, self._commits = status.consuming.events, status.publishing.transactions_committed
        self._seconds = self._cpu_seconds = 0.0

    def take(self, records: int) -> None:
        """Process the next `records` records, up to the commit of the last one."""
        status, began, cpu_began = self.worker.status, time.perf_counter(), time.process_time()
        end = min(status.consuming.records + records, self._records)
        while status.consuming.records < end:
            self.worker.run_once()
            for name, seconds in status.stage_seconds.items():
                self._stages[name] += seconds
        self._seconds += time.perf_counter() - began
        self._cpu_seconds += time.process_time() - cpu_began

    def seen(self) -> dict[str, Any]:
        status = self.worker.status
        return {
            "done": status.consuming.records >= self._records,
            "events": status.consuming.events - self._events,
            "seconds": self._seconds,
            "cpu_seconds": self._cpu_seconds,
            "commits": status.publishing.transactions_committed - self._commits,
            "aborted": status.publishing.transactions_aborted,
            "stages": dict(self._stages),
            "steps": dict(self._steps.seconds),
        }


def _serve(mode: str, records: int) -> None:
    """Take as many records as each line on standard input says, and answer with a line of JSON on standard output."""
    logs.configure()
    side = Side(mode, records)
    print(json.dumps(side.seen()), flush=True)
    for line in sys.stdin:
        side.take(int(line))
        print(json.dumps(side.seen()), flush=True)
    side.worker.finish()


def _worker(settings: Settings, mode: str, steps: Steps) -> Worker:
    """Make a worker from the same parts as `stream-worker run`, in one of the modes."""
    slot, nonce, clock = settings.worker.slot, new_nonce(), SystemClock()
    store = make_store(settings)
    store.take_slot(slot, nonce)
    sink: Sink
    if mode == "exactly_once":
        sink, source = KafkaSink(settings.kafka, slot, reached=steps), KafkaSource(settings.kafka, slot)
    else:
        sink, source = AtLeastOnceSink(settings.kafka, steps), CommittingSource(settings.kafka, slot)
    checkpoints = make_checkpoints(settings, Path(settings.checkpoint.path), source.identity(), nonce, store)
    outside = Outside(source, sink, store, checkpoints, clock)
    observer = MetricsObserver(WorkerMetrics(clock), Health(clock))
    return make_worker(settings, outside, make_line(settings, f"{slot}-{nonce}"), observer=observer)


# -- pairs of them -----------------------------------------------------------------------------------------------------


class Process:
    """A side as seen from the benchmark. `seen`: its newest answer."""

    def __init__(self, mode: str, records: int, settings: Mapping[str, str], log: Path) -> None:
        self._log = log
        command = [sys.executable, "-m", "benchmarks.exactly_once", "--alone", mode, "--events", str(records)]
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=os.environ | settings, stdin=PIPE, stdout=PIPE, stderr=errors, text=True
            )
        self.seen = self._answer()

    def take(self, records: int) -> None:
        assert self._process.stdin is not None
        print(records, file=self._process.stdin, flush=True)
        self.seen = self._answer()

    def finish(self) -> dict[str, Any]:
        self._process.communicate()
        return self.seen

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"ended with {self._process.wait()}:\n{self._log.read_text()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Bench:
    """A full topic, and pairs of processes that read it."""

    def __init__(self, kafka: KafkaCluster, redis: RedisService, folder: Path, log: list[Event]) -> None:
        self._kafka, self._redis, self._folder = kafka, redis, folder
        self._topic = f"bench-{token_hex(3)}"
        config = KafkaConfig(bootstrap_servers=kafka.bootstrap, input_topic=self._topic)
        create_topics(config, [self._topic], _PARTITIONS)
        rows = ((user, value, at_ms or 0) for user, value, at_ms, _ in log)
        self.records = produce_records(config, self._topic, rows)

    def pair(self, first: int) -> dict[str, dict[str, Any]]:
        """Run two sides in the order A B B A ..., or B A A B ..., until both have caught up."""
        sides = [self._side(mode) for mode in _MODES]
        order = [sides[first], sides[1 - first]]
        while not all(side.seen["done"] for side in sides):
            for side in order:
                side.take(_TURN)
            order.reverse()
        return {mode: side.finish() for mode, side in zip(_MODES, sides, strict=True)}

    def _side(self, mode: str) -> Process:
        name = f"{mode}-{token_hex(3)}"
        environment = {
            "KAFKA__BOOTSTRAP_SERVERS": self._kafka.bootstrap,
            "KAFKA__INPUT_TOPIC": self._topic,
            "KAFKA__OUTPUT_TOPIC": f"{name}.lists",
            "KAFKA__DEAD_LETTER_TOPIC": f"{name}.dead",
            "KAFKA__GROUP_ID": name,
            "MEMORY__REDIS_URL": self._redis.url,
            "CHECKPOINT__PATH": str(self._folder / name),
        }
        settings = {f"STREAM_WORKER__{key}": value for key, value in environment.items()}
        kafka = load_settings(None, settings).kafka
        create_topics(kafka, [kafka.output_topic, kafka.dead_letter_topic], _PARTITIONS)
        return Process(mode, self.records, settings, self._folder / f"{name}.log")


@click.command()
@click.option("--events", default=30_000, show_default=True, help="Events in the topic.")
@click.option("--pairs", default=5, show_default=True)
@click.option("--log", type=click.Path(exists=True, path_type=Path), help="A recorded log [default: a made-up one].")
@click.option("--mapping", type=click.Path(exists=True, path_type=Path), default=_ROOT / "examples" / "canonical.toml")
@click.option("--alone", type=click.Choice(_MODES), hidden=True, help="This process is one run.")
def main(events: int, pairs: int, log: Path | None, mapping: Path, alone: str | None) -> None:
    """Print every pair and the median ratio, and write them to benchmarks/results/exactly_once.json."""
    if alone is not None:
        _serve(alone, events)
        return
    rows = recorded(log, mapping, events) if log else made_up(0, events)
    done: list[dict[str, dict[str, Any]]] = []
    with KafkaCluster() as kafka, RedisService() as redis, tempfile.TemporaryDirectory() as folder:
        bench = Bench(kafka, redis, Path(folder), rows)
        for number in range(pairs):
            done.append(bench.pair(number % 2))
            once, repeating = (_rate(done[-1][mode]) for mode in _MODES)
            print(
                f"pair {number + 1}: {once:.0f} and {repeating:.0f} events/s, ratio {once / repeating:.3f}", flush=True
            )
        _report(done, "made up" if log is None else log.name, bench.records)


def _rate(run: dict[str, Any]) -> float:
    return float(run["events"] / run["seconds"])


def _report(pairs: list[dict[str, dict[str, Any]]], log: str, events: int) -> None:
    runs = {mode: [pair[mode] for pair in pairs] for mode in _MODES}
    once, repeating = runs.values()
    ratios = [_rate(a) / _rate(b) for a, b in zip(once, repeating, strict=True)]
    result: dict[str, Any] = {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, python {platform.python_version()}",
        "versions": f"kafka {KAFKA_VERSION}, confluent-kafka {version('confluent-kafka')}, torch {torch.__version__}",
        "log": log,
        "events": events,
        "exactly_once_events_per_second": [round(_rate(run)) for run in once],
        "at_least_once_events_per_second": [round(_rate(run)) for run in repeating],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio_median": round(statistics.median(ratios), 3),
        "transactions_aborted": sum(run["aborted"] for run in once),
    }
    for mode in _MODES:
        result[f"{mode}_commit_share"] = round(statistics.median(_share(run) for run in runs[mode]), 3)
        result[f"{mode}_cpu_ms_per_event"] = round(statistics.median(_cpu_ms(run) for run in runs[mode]), 3)
        result[f"{mode}_commit_ms"] = _commit_ms(runs[mode])
        result[f"{mode}_stage_seconds"] = _sums(runs[mode], "stages")
    for name, value in result.items():
        print(f"{name:32} {value}")
    save("exactly_once", result)


def _share(run: dict[str, Any]) -> float:
    """Return the share of the time that the loop spent in its commit stage."""
    return float(run["stages"]["commit"] / run["seconds"])


def _cpu_ms(run: dict[str, Any]) -> float:
    return float(1000 * run["cpu_seconds"] / run["events"])


def _commit_ms(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean milliseconds of each step of a commit."""
    commits = sum(run["commits"] for run in runs)
    return {name: round(1000 * seconds / commits, 2) for name, seconds in _sums(runs, "steps").items()}


def _sums(runs: list[dict[str, Any]], what: str) -> dict[str, float]:
    names = runs[0][what]
    return {name: round(sum(run[what][name] for run in runs), 2) for name in names}


if __name__ == "__main__":
    main()
