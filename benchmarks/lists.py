"""Processor time of rules: three scenarios with ten rules on 10,000 items, beside one list without any rule.

    python -m benchmarks.lists [--warm N] [--events N] [--rounds R]

Two workers read the same rows in turns in one process, at full effort; only the ratios of a round count, since the
machine may be shared. Reasons and the encoding of records are part of each. What further scenarios cost is told
apart, by a third worker with the same rules on one list.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.record import machine, only_errors, save
from benchmarks.throughput import synthetic_log
from stream_worker.assembly import make_line, simulated_worker
from stream_worker.backends.files import FileItems, FileSource, load_mapping
from stream_worker.config import Settings, settings_of
from stream_worker.core.codec import encode_recommendation
from stream_worker.core.events import Outputs
from stream_worker.loop.worker import Worker

_ROOT = Path(__file__).resolve().parent.parent
_MOST_SHARE = 0.15  # bar: of an event's processor time
_ITEMS = 10_000
_PLAIN = {"lists": {"exclude_bought": "never", "seen_share": 1.0}}
# Ten rules in three scenarios.
_DEFAULT = {
    "exclude_bought": "learned",
    "exclude_cart": True,
    "seen_share": 0.5,
    "filter": "item.price < 90.0",
    "caps": {"category": 4},
    "promotions": [{"filter": "'sale' in item.tags", "share": 0.1}],
}
_HOME = {"exclude_session": True, "exclude_clicks": 5, "boost": "item.price > 50.0 ? 1.2 : 1.0"}
_MAIL = {"length": 10, "fresh_places": 1, "fresh_days": 30.0}
_RULED = {"lists": _DEFAULT, "scenarios": {"home": _HOME, "mail": _MAIL}}
_ONE = {"lists": _DEFAULT}


class _Encoding:
    """A sink that encodes lists, as Kafka's does, and keeps nothing."""

    shortened = 0

    def __init__(self) -> None:
        self.bytes = self.lists = 0

    def commit(self, outputs: Outputs, *_: object, **__: object) -> None:
        for made in outputs.recommendations:
            self.bytes += len(encode_recommendation(made, "bench"))
            self.lists += 1

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: object) -> None: ...

    def close(self) -> None: ...


class _Run:
    """A worker under some rules."""

    def __init__(self, settings: Settings, log: Path, items: Path) -> None:
        mapping = load_mapping(_ROOT / "examples" / "canonical.toml")
        told = FileItems([items], settings.items)
        self._source = FileSource([log], mapping, reach=told.reach)
        self.sink = _Encoding()
        line = make_line(settings, "bench", described=True)
        self._worker: Worker = simulated_worker(settings, self._source, self.sink, line, items=told)
        self._worker.start()
        self._source.published = 0
        self.microseconds: list[float] = []

    def take(self, events: int) -> None:
        """Work on the next `events` events, and note the processor time of one."""
        counts, began = self._worker.status.consuming, time.process_time()
        before = counts.events
        while self._worker.status.consuming.events - before < events and not self._source.exhausted():
            self._worker.run_once()
        done = self._worker.status.consuming.events - before
        self.microseconds.append(1e6 * (time.process_time() - began) / max(1, done))


def _items(path: Path) -> None:
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for k in range(_ITEMS):
            tags = ["sale"] if rng.random() < 0.1 else []
            item = {"item": f"i{k}", "category": f"c{k % 40}", "price": float(rng.uniform(1, 100)), "tags": tags}
            file.write(json.dumps(item) + "\n")


@click.command()
@click.option("--warm", default=20_480, show_default=True, help="Events before anything is timed.")
@click.option("--events", default=4_096, show_default=True, help="Events of a timed stretch.")
@click.option("--rounds", default=7, show_default=True)
def main(warm: int, events: int, rounds: int) -> None:
    """Print shares, and write them to benchmarks/results/lists.json. End with 1 above the bar."""
    only_errors()
    with tempfile.TemporaryDirectory() as folder:
        log, items = Path(folder) / "log.csv", Path(folder) / "items.jsonl"
        synthetic_log(log, warm + (rounds + 2) * events, _ITEMS)
        _items(items)
        given = {"worker": {"threads": 1}}
        runs = {
            name: _Run(settings_of(given | rules), log, items)
            for name, rules in (("plain", _PLAIN), ("one list", _ONE), ("three lists", _RULED))
        }
        for run in runs.values():
            run.take(warm)
        for _ in range(rounds):
            for run in runs.values():
                run.take(events)
    for run in runs.values():
        del run.microseconds[0]
    raise SystemExit(_report(runs))


def _report(runs: dict[str, _Run]) -> int:
    plain, found = runs["plain"].microseconds, list[dict[str, Any]]()
    for name, run in runs.items():
        shares = [ours / theirs - 1 for ours, theirs in zip(run.microseconds, plain, strict=True)]
        found.append(
            {
                "worker": name,
                "microseconds": round(statistics.median(run.microseconds), 1),
                "more": round(statistics.median(shares), 3),
                "more_min": round(min(shares), 3),
                "more_max": round(max(shares), 3),
                "bytes_a_list": round(run.sink.bytes / max(1, run.sink.lists)),
            }
        )
        click.echo(found[-1])
    save("lists", {"items": _ITEMS, "workers": found, "bar": _MOST_SHARE, **machine()})
    return int(found[-1]["more"] > _MOST_SHARE)


if __name__ == "__main__":
    main()
