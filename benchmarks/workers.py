"""Processor time of one of several workers: of an event of its own, of one that it hears, and of the whole stream.

    python -m benchmarks.workers LOG... [--warm N] [--events N] [--rounds 5]

A LOG is a CSV in time order with the columns user, item, ts, type; its events are made records of contract 1. Each
worker is the program's own loop on its part of the log's users and on the rest as heard, which it only counts; a
tick has as many records of its own as at rest. New items start as where weights are shared. One that owns nothing hears
as many in a tick as one of eight workers. All read the same rows, a few in turns in one process, and a ratio is of one
round, since the machine may be shared. The first events of a turn are not timed, since the turns of the others have
emptied the processor's caches, which nobody does to a worker on a machine of its own. Times are of the processor, of
all threads; not in them: Kafka's and Redis' clients.

To be seen, as medians of the rounds: a heard event takes at most 1/45 of a fully examined one (yoochoose; ml100k 1/28),
and one of eight workers 1/6.5 (1/6) of a single worker's time for an event of the whole stream. Ends with 1 where one
is not. Groups of other sizes and rates are calculated from the parts. Leaves benchmarks/results/workers.json.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from benchmarks.quality.one_pass import CANONICAL
from benchmarks.record import machine, only_errors, save
from stream_worker.assembly import make_line, quiet_torch, simulated_worker
from stream_worker.backends.files import FileSource, LogOwner, load_mapping
from stream_worker.backends.in_memory.shared_log import Collected, SharedLog
from stream_worker.config import Settings
from stream_worker.core.codec import encode_event
from stream_worker.core.effort import Effort
from stream_worker.core.events import Record
from stream_worker.loop.worker import Worker

LEAST = 16  # one event in so many is learned from at the least effort
MEASURED, CALCULATED = (2, 4, 8), (16, 32)
_ALONE, _AT_LEAST, _HEARD = "alone", "alone, least effort", "heard only"


@dataclass(frozen=True)
class Bars:
    """The largest shares of a single worker's time that are allowed.

    heard: of an event that is only counted.
    eight: of an event of the whole stream, for one of eight workers.
    """

    heard: float
    eight: float


BARS: Mapping[str, Bars] = {"yoochoose": Bars(1 / 45, 1 / 6.5), "ml100k": Bars(1 / 28, 1 / 6)}


@dataclass
class OneOf:
    """One of several workers.

    workers: how many there are; it owns the users of the first part.
    thinning: one in so many of its own events is learned from.
    owns: False for one whose part is empty, so that it hears everything.
    """

    settings: Settings
    workers: int = 1
    thinning: int = 1
    owns: bool = True
    microseconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        effort = replace(self.settings.effort, thinning=self.thinning, most_thinning=max(self.thinning, LEAST))
        self._log = SharedLog("bench", self.workers if self.owns else 2)
        self._sink = Collected()
        self.worker: Worker = simulated_worker(
            self.settings,
            self._log.parts[0],
            self._sink,
            make_line(self.settings, "bench", hears=len(self._log.parts) > 1),
            effort=Effort(effort, follows=False, heard_one_in=0),
            heard=self._log.heard[0] if len(self._log.parts) > 1 else None,
        )
        if len(self._log.parts) > 1:  # as workers do that share their weights
            learner = self.worker.line.learner
            learner.life.start.share(learner.catalog)
        self.worker.start()
        for _ in range(2):  # it hears all parts, then claims its own
            self.worker.run_once()

    def take(self, records: Sequence[Record], untimed: int = 0) -> None:
        """Work through the next records, and note the processor time of one of those behind the untimed ones."""
        self._seconds(records[:untimed])
        timed = records[untimed:]
        self.microseconds.append(1e6 * self._seconds(timed) / len(timed))

    def _seconds(self, records: Sequence[Record]) -> float:
        """Work through records; return the processor time."""
        seconds = 0.0
        for batch in _batches(records, self.settings.worker.batch_size * self.workers * self.thinning):
            self._append(batch)
            began = time.process_time()
            while not self._is_done():
                self.worker.run_once()
            seconds += time.process_time() - began
            self._sink.take()
        return seconds

    def _append(self, records: Sequence[Record]) -> None:
        if self.owns:
            self._log.append(records)
            return
        self._log.heard[0].queue.extend(replace(record, partition=1) for record in records)
        self._log.end = records[-1].offset + 1

    def _is_done(self) -> bool:
        return not (self._log.parts[0].queue or self._log.heard[0].queue)


def _batches(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    return (records[start : start + size] for start in range(0, len(records), size))


def records_of(settings: Settings, log: Path, most: int) -> list[Record]:
    """Return the first events of a log as records of contract 1, at most so many."""
    source = FileSource([log], load_mapping(CANONICAL))
    source.subscribe(LogOwner())
    decoder, found, names = source.decoder(settings.events), list[Record](), list(settings.events.named)
    while len(found) < most and not source.exhausted():
        events, _ = decoder.decode(source.poll(min(10_000, most - len(found)), 0.0))
        columns = (events.users, events.items, events.type_B.tolist(), events.ts_B.tolist())
        for user, item, kind, ts in zip(*columns, strict=True):
            value = encode_event(user, item, names[kind], ts)
            found.append(Record(0, len(found), int(1_000 * ts), user.encode(), value))
    return found


def measured(settings: Settings, log: Path, warm: int, events: int, rounds: int) -> dict[str, Any]:
    """Return the times of one log: medians of the rounds, and of their ratios to a single worker's."""
    records = records_of(settings, log, warm + rounds * events)
    rounds = min(rounds, (len(records) - warm) // events)
    if rounds < 1:
        raise click.UsageError(f"{log}: has {len(records)} records, fewer than {warm} + {events}")
    *fewer, most = MEASURED
    groups = (
        {
            _ALONE: OneOf(settings),
            str(most): OneOf(settings, most),
            _HEARD: OneOf(settings, most, owns=False),
        },
        {
            _ALONE: OneOf(settings),
            _AT_LEAST: OneOf(settings, thinning=LEAST),
            **{str(workers): OneOf(settings, workers) for workers in fewer},
        },
    )
    times = [_taken_in_turns(runs, records, warm, events) for runs in groups]
    return {"log": log.stem, "events": events, "rounds": rounds, **figures(*times)}


def _taken_in_turns(
    runs: Mapping[str, OneOf], records: Sequence[Record], warm: int, events: int
) -> dict[str, list[float]]:
    """Return the times of an event by run and round."""
    for run in runs.values():
        run.take(records[:warm])
        run.microseconds.clear()
    gc.freeze()  # as `run` does; besides, the log's records are the benchmark's, not a worker's
    for start in range(warm, len(records) - events + 1, events):
        for run in runs.values():
            run.take(records[start : start + events], untimed=events // 4)
    return {name: run.microseconds for name, run in runs.items()}


def figures(*groups: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the figures of a log from the times of an event by run and round, of each group of runs in turns."""
    median: dict[str, float] = {}
    shares: dict[str, float] = {}
    for times in groups:
        for name, rounds in times.items():
            ratios = (mine / single for mine, single in zip(rounds, times[_ALONE], strict=True))
            median.setdefault(name, statistics.median(rounds))
            shares.setdefault(name, statistics.median(ratios))
    heard, least = median[_HEARD], median[_AT_LEAST]
    sizes = (1, *MEASURED, *CALCULATED)
    return {
        "microseconds": {name: round(value, 2) for name, value in median.items()},
        "shares": {name: round(value, 5) for name, value in shares.items()},
        "calculated_shares": {str(n): round(of_whole(1.0, shares[_HEARD], n), 5) for n in sizes},
        "events_per_second": {
            "full": {str(n): round(1e6 / of_whole(median[_ALONE], heard, n)) for n in sizes},
            "least": {str(n): round(1e6 / of_whole(least, heard, n)) for n in sizes},
            "end": round(1e6 / heard),
        },
    }


def of_whole(own: float, heard: float, workers: int) -> float:
    """Return the time that one of so many workers needs for an event of the whole stream."""
    return own / workers + heard * (workers - 1) / workers


def missed(result: Mapping[str, Any]) -> list[str]:
    """Return what a log's figures miss; nothing for a log without bars."""
    bars = next((bars for name, bars in BARS.items() if result["log"].startswith(name)), None)
    if bars is None:
        return []
    checks = [
        ("a heard event", result["shares"][_HEARD], bars.heard),
        ("one of eight", result["shares"]["8"], bars.eight),
    ]
    return [
        f"{result['log']}: {what} takes 1/{1 / share:.1f} of a single worker's time, more than 1/{1 / most:g}"
        for what, share, most in checks
        if share > most
    ]


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--warm", default=22_000, show_default=True, help="Events learned before anything is timed.")
@click.option("--events", default=12_288, show_default=True, help="Events of each timed stretch.")
@click.option("--rounds", default=5, show_default=True)
def main(logs: tuple[Path, ...], warm: int, events: int, rounds: int) -> None:
    """Print the times and write them to benchmarks/results/workers.json. End with 1 where a bar is missed."""
    only_errors()
    quiet_torch()
    settings = Settings()
    results = [measured(settings, log, warm, events, rounds) for log in logs]
    for result in results:
        print(result)
    save("workers", {**machine(), "logs": results})
    misses = [miss for result in results for miss in missed(result)]
    for miss in misses:
        print(f"MISSED {miss}")
    raise SystemExit(bool(misses))


if __name__ == "__main__":
    main()
