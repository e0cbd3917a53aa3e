"""The cost of an event, and the memory in use, while users and items grow a hundredfold.

    python -m benchmarks.growth [--items N]... [--users N]... [--rounds R]

Each size runs in its own process, with a state made by `made_state`. It takes turns with the process of the smallest
size, a stretch of events each, since the machine may be shared and its speed varies; only the ratio of two adjacent
stretches counts. Costs are microseconds of processor time per event of the whole loop, from bytes to lists, in one
thread, at full effort and while catching up. Memory is the resident set, including the memory store, which stands in
for Redis in the same process. The overlap compares lists, and the encoder's best items, with those of an exact search
over all items.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.made_state import Universe, fill
from benchmarks.quality.one_pass import STAGES, Stopwatch
from benchmarks.record import machine, only_errors, save
from model.learner import Learner
from model.lists.lists import Lists
from model.pace import Pace
from model.ranking import Top
from stream_worker.assembly import make_line, memory_layout, simulated_worker
from stream_worker.backends.files import FileSink
from stream_worker.backends.in_memory import (
    InMemoryMemoryStore,
    InMemorySource,
    InMemoryTopic,
)
from stream_worker.config import Settings
from stream_worker.core.effort import Effort
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Memory
from stream_worker.loop.memories import Memories
from stream_worker.loop.worker import Worker

SMALLEST, _LARGER = 10_000, (100_000, 1_000_000)  # users, and items
# Thinning -> events of a stretch, for full effort and for catching up.
STRETCH = {1: 1_152, 16: 18_432}
_WARM = 20_480  # events that the line learns from before its state is filled up
_MOST_ITEMS = 1 << 20  # bound of the catalogue: just above the largest size
# Bars: cost at the most users and at the most items, relative to the smallest size; overlap as a share of a list.
_MOST_USERS_RATIO, _MOST_ITEMS_RATIO, _LEAST_OVERLAP = 1.3, 3.0, 0.95
_ASKED = 128  # users whose lists are compared

_Answer = TypeVar("_Answer")


class ProcessorClock:
    """The `Clock` of this process's processor time, which other programs on the machine don't advance."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.process_time()


def settings_for(users: int) -> Settings:
    """Return settings with room for a million users and items, and with no writes while stretches are timed."""
    settings = Settings()
    return replace(
        settings,
        memory=replace(settings.memory, twin_users=max(settings.memory.twin_users, 2 * users), pending_users=10**9),
        model=replace(settings.model, max_items=_MOST_ITEMS),
        effort=replace(settings.effort, thinning=16),
    )


class Subject:
    """A worker in a simulated universe, with the state that the universe's history would have left."""

    def __init__(self, users: int, items: int) -> None:
        self.settings = settings_for(users)
        self.universe = Universe(users, items)
        self.topic = InMemoryTopic()
        self.store = InMemoryMemoryStore(self.settings.memory)
        self.line = make_line(self.settings, "growth")
        self.effort = Effort(self.settings.effort, follows=False)
        self.stopwatch = Stopwatch()
        began = time.process_time()
        self._warm()
        layout, learner = memory_layout(self.settings), self.line.learner
        rebuild = partial(learner.rebuild, ids_of_numbers=self.store.item_ids)
        memories = Memories(self.store, learner.users, rebuild, layout, 1, Memory())
        memories.set_line(self.line.name)
        fill(self.line, self.store, self.universe, layout, memories.line)
        self.worker = self._worker()
        self.making_seconds = time.process_time() - began

    def _worker(self) -> Worker:
        source, sink, clock = InMemorySource(self.topic), FileSink(), ProcessorClock()
        worker = simulated_worker(
            self.settings, source, sink, self.line, store=self.store, clock=clock, effort=self.effort
        )
        worker.observer = self.stopwatch
        worker.start()
        return worker

    def _append(self, events: int) -> None:
        for key, value, timestamp_ms in self.universe.records(events, len(self.topic.partitions[0])):
            self.topic.append(key, value, timestamp_ms)

    def _warm(self) -> None:
        """Let a worker of its own learn from real batches, and end it."""
        worker = self._worker()
        self._append(_WARM)
        while worker.status.consuming.events < _WARM:
            worker.run_once()
        worker.finish()
        self.topic.committed[0] = _WARM

    def stretch(self, thinning: int, events: int) -> dict[str, float]:
        """Return microseconds per event, in all and by stage."""
        self._append(events)
        self.effort.thinning = thinning
        self.stopwatch.seconds.clear()
        before, began = self.worker.status.consuming.events, time.process_time()
        while self.worker.status.consuming.events - before < events:
            self.worker.run_once()
        seconds = {"all": time.process_time() - began, **self.stopwatch.seconds}
        return {name: 1e6 * seconds.get(name, 0.0) / events for name in ("all", *STAGES)}

    def overlap(self) -> dict[str, float]:
        """Return the share of the top 20 that an exact search finds, too, for lists and for the encoder's best items.

        Asked for users on the device.
        """
        learner, slots = self.line.learner, self.line.learner.users.occupied()[:_ASKED]
        own_UK = best(learner, slots).rows_UK
        exact = _ExactSearch(learner)
        exact_UK = exact.instead(lambda: best(learner, slots)).rows_UK
        return {"lists": _shared(own_UK, exact_UK), "encoder": statistics.mean(exact.shared)}

    def snapshot(self) -> dict[str, float]:
        """Return the seconds that a checkpoint holds up the loop, and its size, for the line and for the memory store.

        The line's first checkpoint, which allocates memory, and a later one are timed apart.
        """
        began = time.perf_counter()
        self.line.snapshot(SourceId("growth"), {}, {})
        first_ended = time.perf_counter()
        line = self.line.snapshot(SourceId("growth"), {}, {})
        line_ended = time.perf_counter()
        store = self.store.state_dict()
        return {
            "first_line_seconds": first_ended - began,
            "line_seconds": line_ended - first_ended,
            "line_bytes": sum(array.nbytes for array in line.arrays.values()),
            "store_seconds": time.perf_counter() - line_ended,
            "store_bytes": sum(array.nbytes for array in store.values()),
        }

    def eviction(self) -> dict[str, float]:
        """Return the seconds that the eviction of about a sixteenth of a full catalogue holds up the loop.

        The second eviction is timed: by then everything is compiled.
        """
        self._evict()
        began = time.process_time()
        items = self._evict()
        return {"seconds": time.process_time() - began, "items": items}

    def _evict(self) -> int:
        """Make room in a full catalogue. Return the number of evicted items."""
        catalog = self.line.learner.catalog
        catalog.max_items = before = len(catalog)
        self.line.admit([], 1, self.store.number_items)
        return before - len(catalog)

    def state(self) -> dict[str, float]:
        status = self.worker.status
        return {
            "items": len(self.line.learner.catalog),
            "users": len(self.line.learner.users),
            "recall_misses": status.memory.recall_misses,
            "resident_megabytes": resident_megabytes(),
            "making_seconds": round(self.making_seconds, 1),
        }


def best(learner: Learner, slots: NDArray[np.int64]) -> Lists:
    """Return lists of the best candidates at full effort."""
    (lists,) = learner.recommend(slots, Pace()).values()
    return lists


class _ExactSearch:
    """An exact search of all items. `shared`: for each batch, the share of its 20 best that the learner found, too."""

    def __init__(self, learner: Learner) -> None:
        self._learner, self._inexact = learner, learner.predictor._asked
        self.shared: list[float] = []

    def instead(self, asked: Callable[[], _Answer]) -> _Answer:
        """Return what `asked` returns while the learner uses this search."""
        self._learner.predictor._asked = self._search  # type: ignore[method-assign]
        try:
            return asked()
        finally:
            self._learner.predictor._asked = self._inexact  # type: ignore[method-assign]

    def _search(self, queries_BD1: Tensor, live_N: NDArray[np.bool_]) -> Top:
        table_ND1, top = self._learner.items.table_ND1[: len(live_N)], self._inexact(queries_BD1, live_N)
        scores_BN = queries_BD1 @ table_ND1.T
        scores_BN[:, torch.from_numpy(~live_N)] = -torch.inf
        scores_BK, rows_BK = scores_BN.topk(top.rows_BK.shape[1], dim=1)
        length = self._learner.config.list_length
        self.shared.append(_shared(top.rows_BK[:, :length].numpy(), rows_BK[:, :length].numpy()))
        return top._replace(scores_BK=scores_BK, rows_BK=rows_BK)


def _shared(one_UK: NDArray[np.integer], other_UK: NDArray[np.integer]) -> float:
    """Return the mean share of a list that the other list has, too."""
    pairs = zip(one_UK, other_UK, strict=True)
    return statistics.mean(len(np.intersect1d(one, other)) / len(other) for one, other in pairs)


def resident_megabytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


def _serve(users: int, items: int) -> None:
    """Answer each line of JSON on standard input with one on standard output: the process of one size."""
    only_errors()
    subject = Subject(users, items)
    print(json.dumps(subject.state()), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = getattr(subject, asked.pop("ask"))(**asked)
        print(json.dumps(answer), flush=True)


class _Process:
    """The process of one size, as seen from the benchmark."""

    def __init__(self, users: int, items: int) -> None:
        command = [sys.executable, "-m", "benchmarks.growth", "--serve", str(users), str(items)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.made = self._answer()

    def ask(self, what: str, **arguments: float) -> Any:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"ask": what, **arguments}) + "\n")
        self._child.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the process of a size has ended; see its standard error")
        return json.loads(line)

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()


@dataclass(frozen=True)
class Size:
    """Medians of one size: microseconds by thinning and stage, and their ratios to the smallest size."""

    users: int
    items: int
    microseconds: dict[int, dict[str, float]]
    ratio: dict[int, float]
    resident_megabytes: float
    overlap: dict[str, float]
    snapshot: dict[str, float]
    eviction: dict[str, float]


def measure(smallest: _Process, process: _Process, users: int, items: int, rounds: int) -> Size:
    """Time `rounds` stretches at each effort, each after one of the smallest size. The first round is not counted."""
    microseconds, ratio = {}, {}
    for thinning, events in STRETCH.items():
        pairs = [
            [one.ask("stretch", thinning=thinning, events=events) for one in (smallest, process)]
            for _ in range(rounds + 1)
        ][1:]
        microseconds[thinning] = {
            name: round(statistics.median(own[name] for _, own in pairs), 1) for name in ("all", *STAGES)
        }
        ratio[thinning] = round(statistics.median(own["all"] / least["all"] for least, own in pairs), 3)
    return Size(
        users=users,
        items=items,
        microseconds=microseconds,
        ratio=ratio,
        resident_megabytes=process.ask("state")["resident_megabytes"],
        overlap={name: round(share, 4) for name, share in process.ask("overlap").items()},
        snapshot=process.ask("snapshot"),
        eviction=process.ask("eviction"),
    )


def _of_size(smallest: _Process, users: int, items: int, rounds: int) -> Size:
    process = _Process(users, items)
    try:
        return measure(smallest, process, users, items, rounds)
    finally:
        process.close()


def _print_table(sizes: list[Size]) -> None:
    print(
        "| users | items | effort | us an event | ratio | "
        + " | ".join(STAGES)
        + " | resident MB | overlap: lists, encoder |"
    )
    print("|" + "---|" * (len(STAGES) + 7))
    for size in sizes:
        for thinning, stages in size.microseconds.items():
            cells = [f"{size.users:,}", f"{size.items:,}", "full" if thinning == 1 else f"one in {thinning}"]
            cells += [f"{stages['all']:.0f}", f"{size.ratio[thinning]:.2f}", *(f"{stages[s]:.0f}" for s in STAGES)]
            overlap = f"{size.overlap['lists']:.3f}, {size.overlap['encoder']:.3f}" if thinning == 1 else ""
            cells += [f"{size.resident_megabytes:,}", overlap]
            print("| " + " | ".join(cells) + " |")


def missed(sizes: list[Size]) -> list[str]:
    """Return a sentence for each bar that the largest sizes miss."""
    found = []
    for size in sizes:
        most = _MOST_ITEMS_RATIO if size.items > SMALLEST else _MOST_USERS_RATIO
        name = f"{size.users:,} users, {size.items:,} items"
        found += [
            f"{name}, one in {thinning}: {ratio} times, at most {most:g}"
            for thinning, ratio in size.ratio.items()
            if ratio > most
        ]
        if (share := size.overlap["lists"]) < _LEAST_OVERLAP:
            found.append(f"{name}: overlap of lists {share}, at least {_LEAST_OVERLAP:g}")
    return found


@click.command()
@click.option("--users", type=int, multiple=True, help="With 10,000 items; without any size 100,000 and 1,000,000.")
@click.option("--items", type=int, multiple=True, help="With 10,000 users; without any size 100,000 and 1,000,000.")
@click.option("--rounds", default=5, show_default=True, help="Timed stretches of each effort.")
@click.option("--serve", nargs=2, type=int, hidden=True)
def main(users: tuple[int, ...], items: tuple[int, ...], rounds: int, serve: tuple[int, int] | None) -> None:
    """Print the table and write it to benchmarks/results/growth.json. End with 1 where a bar is missed."""
    if serve is not None:
        _serve(*serve)
        return
    if not users and not items:
        users = items = _LARGER
    others = [(count, SMALLEST) for count in users] + [(SMALLEST, count) for count in items]
    smallest = _Process(SMALLEST, SMALLEST)
    sizes = [_of_size(smallest, *other, rounds) for other in [(SMALLEST, SMALLEST), *others]]
    smallest.close()
    _print_table(sizes)
    for size in sizes:
        checkpoint, left = size.snapshot, size.eviction
        print(
            f"{size.users:,} users, {size.items:,} items: a checkpoint's copy {checkpoint['line_seconds']:.2f} s "
            f"(the first {checkpoint['first_line_seconds']:.2f}), "
            f"{checkpoint['line_bytes'] / 1e6:,.0f} MB, of the store {checkpoint['store_seconds']:.2f} s, "
            f"{checkpoint['store_bytes'] / 1e6:,.0f} MB; {left['items']:,.0f} items leave in {left['seconds']:.2f} s"
        )
    save("growth", {**machine(), "sizes": [asdict(size) for size in sizes]})
    words = missed(sizes)
    print("\n".join(words) or "all as it must be")
    raise SystemExit(bool(words))


if __name__ == "__main__":
    main()
