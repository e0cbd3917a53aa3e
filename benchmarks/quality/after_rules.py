"""Lists under the default rules, on what users find that is new to them, beside baselines under the same rules.

    python -m benchmarks.quality.after_rules LOG... [--limit N]

Rules: at most half of the places for what the user has seen, nothing that the user bought unless it is bought again and
again. Before every event the list is made that would be published, here of all events instead of one in eight; scored
are the events whose item is new to the user and seen by somebody before, without the first tenth of the log. Whether a
bought item is left out does not change whether a new one is listed but by the place that it leaves; so each baseline is
ranked both with all items of the user's history left out and with none, and the better one counts.
"""

from __future__ import annotations

import csv
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import (
    DEPTH,
    HISTORY,
    Baseline,
    CoVisitation,
    OwnLast,
    OwnMost,
    RecentPopularity,
    rank_after_rules,
)
from benchmarks.quality.one_pass import one_pass
from benchmarks.quality.scored import hit_rate, parts_of
from benchmarks.record import machine, save
from model.learner import Learner
from stream_worker.config import Settings, load_settings

# Bars: how many times the best baseline's hit rate the lists' is at least, by log.
BARS = {"yoochoose": 1.10, "ml100k": 1.10, "uci": 1.10, "globo": 1.08}
_PART = "new and known"


def measured(settings: Settings, log: Path, limit: int | None) -> dict[str, Any]:
    """Return hit rates before the rules and after them, and those of the baselines under the same rules."""
    with log.open(newline="") as file:
        rows = [(row["user"], row["item"], row.get("type", "")) for row in islice(csv.DictReader(file), limit)]
    users, items, types = zip(*rows, strict=True)
    chosen_E = parts_of(users, items, types)[_PART]
    chosen_E[: len(chosen_E) // 10] = False
    one = one_pass(settings, log, limit=limit, change=_measure_all)
    chosen_E &= one.scored_E
    most_seen = int(settings.lists.seen_share * DEPTH)
    floors = baselines_after_rules(users, items, chosen_E, most_seen)
    best = max(floors, key=floors.__getitem__)
    after = hit_rate(one.listed_E[chosen_E])
    return {
        "log": log.stem,
        "events": len(users),
        "scored": int(chosen_E.sum()),
        "before": hit_rate(one.rank_E[chosen_E]),
        "after": after,
        "baselines": floors,
        "best": best,
        "times": after / max(floors[best], 1e-9),
    }


def _measure_all(learner: Learner) -> None:
    learner.list_maker.measured_one_in = 1


def baselines_after_rules(
    users: Sequence[str], items: Sequence[str], chosen_E: NDArray[np.bool_], most_seen: int
) -> dict[str, float]:
    """Return each baseline's hit rate on some events, with the better one of the two ways to leave out own items.

    most_seen: places at most for items of the user's history
    """
    popularity = RecentPopularity()
    markov = CoVisitation(1, popularity)
    ranked: dict[str, Baseline] = {
        "recent popularity": popularity, "Markov": markov, "co-visitation": CoVisitation(5, popularity),
        "own last items": OwnLast(markov), "own most frequent": OwnMost(popularity),
    }  # fmt: skip
    hits = {name: np.zeros(2, np.int64) for name in ranked}
    histories: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=HISTORY))
    for k, (user, item) in enumerate(zip(users, items, strict=True)):
        history = list(histories[user])
        popularity.rank(history)
        if chosen_E[k]:
            for name, baseline in ranked.items():
                for way, excluded in enumerate((frozenset[str](), frozenset(history))):
                    hits[name][way] += item in rank_after_rules(baseline, history, excluded, most_seen)
        for baseline in ranked.values():
            baseline.learn(history, item)
        histories[user].append(item)
    return {name: float(both.max() / max(1, chosen_E.sum())) for name, both in hits.items()}


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=int, help="Only the first N events of each log.")
def main(logs: tuple[Path, ...], limit: int | None) -> None:
    """Print hit rates, and write them to benchmarks/results/quality-after-rules.json. End with 1 below a bar."""
    settings, found = load_settings(None, {}), []
    for log in logs:
        found.append(row := measured(settings, log, limit))
        click.echo(
            f"{row['log']}: HR@20 {row['after']:.4f} after the rules, {row['before']:.4f} before, best baseline "
            f"{row['best']} {row['baselines'][row['best']]:.4f}, {row['times']:.2f} times, {row['scored']:,} events"
        )
    save("quality-after-rules", {"part": _PART, "logs": found, **machine()})
    raise SystemExit(any(row["times"] < BARS.get(row["log"], 1.0) for row in found))


if __name__ == "__main__":
    main()
