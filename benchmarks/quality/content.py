"""The default model with and without what is written about the items, on the same events of recorded logs.

python -m benchmarks.quality.content LOG=ITEMS... [--limit ROWS] [--seeds 0,1,2] [--json FILE]

LOG: a CSV in time order with the columns user, item, ts, type. ITEMS: a CSV of what the items are, by the columns item,
title, brand, category, tags (separated by |), known before the first event; `self`: the items' ids are their titles.
New items: the events of an item from its second to its twentieth, of users who have an earlier event.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality.one_pass import CANONICAL, Pass, one_pass
from benchmarks.quality.rows import Row, exit_with, said
from benchmarks.quality.scored import LIMITS, hit_rate, reciprocal_rank
from benchmarks.record import machine, only_errors, write
from model.items.content_table import Descriptions
from model.learner import Learner
from stream_worker.config import Settings

_NEW = 20  # first events of an item that count as those of a new one; its very first can't be predicted
_MOST_LOST, _LEAST_ERRORS = 0.001, 2.0  # the bars


@dataclass(frozen=True)
class Rates:
    """HR@20 and MRR@20, means over the seeds."""

    hit_rate: float
    mrr: float


@dataclass(frozen=True)
class ContentFigures:
    """Figures of one log. `errors`: standard errors by which the hit rate on new items is better with content."""

    log: str
    events: int
    seeds: int
    described: int
    with_content: Rates
    without: Rates
    new_events: int
    new_with: Rates
    new_without: Rates
    errors: float

    @property
    def good(self) -> bool:
        gained = self.with_content.hit_rate - self.without.hit_rate, self.with_content.mrr - self.without.mrr
        return min(gained) >= -_MOST_LOST and self.errors >= _LEAST_ERRORS


def descriptions_of(items: str, log: Path) -> Descriptions:
    """Return what a file says of items, or descriptions of a log's own items, whose ids are their titles."""
    if items == "self":
        with log.open(newline="") as file:
            rows = [
                {"item": item, "title": item} for item in dict.fromkeys(row["item"] for row in csv.DictReader(file))
            ]
    else:
        with Path(items).open(newline="") as file:
            rows = list(csv.DictReader(file))
    count = len(rows)
    return Descriptions(
        ids=[row["item"] for row in rows],
        gone_M=np.zeros(count, np.bool_),
        title=[row.get("title", "") for row in rows],
        brand=[row.get("brand", "") for row in rows],
        category=[row.get("category", "") for row in rows],
        price_M=np.full(count, np.nan, np.float32),
        tags=[tuple(filter(None, row.get("tags", "").split("|"))) for row in rows],
        available_M=np.ones(count, np.bool_),
        blocked_M=np.zeros(count, np.bool_),
        held_M=np.zeros(count, np.bool_),
        vectors=[{} for _ in rows],
    )


def new_events(log: Path, limit: int | None) -> NDArray[np.bool_]:
    """Return True for events of an item from its second to its `_NEW`-th, after the first tenth of the log."""
    with log.open(newline="") as file:
        items = [row["item"] for row in islice(csv.DictReader(file), limit)]
    counts: dict[str, int] = {}
    new_E = np.zeros(len(items), np.bool_)
    for event, item in enumerate(items):
        counts[item] = counts.get(item, 0) + 1
        new_E[event] = 1 < counts[item] <= _NEW
    new_E[: len(items) // 10] = False
    return new_E


def figures_of(log: Path, items: str, limit: int | None, seeds: Sequence[int]) -> ContentFigures:
    descriptions = descriptions_of(items, log)
    ours, theirs = [], []
    for seed in seeds:
        settings = Settings()
        settings = replace(settings, model=replace(settings.model, seed=seed))
        theirs.append(one_pass(settings, log, CANONICAL, limit))
        ours.append(one_pass(settings, log, CANONICAL, limit, lambda learner: _tell(learner, descriptions), True))
    scored_E = ours[0].scored_E.copy()
    scored_E[: len(scored_E) // 10] = False
    new_E = scored_E & new_events(log, limit)
    return ContentFigures(
        log=log.stem,
        events=len(scored_E),
        seeds=len(seeds),
        described=len(descriptions.ids),
        with_content=_rates(ours, scored_E),
        without=_rates(theirs, scored_E),
        new_events=int(new_E.sum()),
        new_with=_rates(ours, new_E),
        new_without=_rates(theirs, new_E),
        errors=_errors(ours, theirs, new_E),
    )


def _tell(learner: Learner, descriptions: Descriptions) -> None:
    learner.change_items(descriptions)


def _rates(passes: Sequence[Pass], of_E: NDArray[np.bool_]) -> Rates:
    ranks = [one.rank_E[of_E] for one in passes]
    return Rates(
        float(np.mean([hit_rate(rank) for rank in ranks])), float(np.mean([reciprocal_rank(r) for r in ranks]))
    )


def _errors(ours: Sequence[Pass], theirs: Sequence[Pass], of_E: NDArray[np.bool_]) -> float:
    """Return the mean difference in hits in standard errors; an event's hits are averaged over the seeds."""
    hits_SE = [
        (mine.rank_E[of_E] > 0) * 1.0 - (other.rank_E[of_E] > 0) for mine, other in zip(ours, theirs, strict=True)
    ]
    difference_E = np.mean(hits_SE, axis=0)
    error = float(difference_E.std() / np.sqrt(len(difference_E)))
    return float(difference_E.mean()) / error if error else 0.0


def rows_of(found: ContentFigures) -> Iterator[Row]:
    yield Row(
        f"{found.log} ({found.events:,} events), all",
        f"{_pair(found.with_content)}, without content {_pair(found.without)}",
        f"at most {_MOST_LOST} lower",
        found.good,
    )
    yield Row(
        f"{found.log}, {found.new_events:,} events of new items",
        f"{_pair(found.new_with)}, without content {_pair(found.new_without)}: {found.errors:+.1f} standard errors",
        f"at least {_LEAST_ERRORS:.0f} standard errors better",
        found.errors >= _LEAST_ERRORS,
    )


def _pair(rates: Rates) -> str:
    return f"{rates.hit_rate:.4f} / {rates.mrr:.4f}"


@click.command()
@click.argument("logs", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first rows; otherwise as in the other tables.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Two passes for each.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(logs: tuple[str, ...], limit: int | None, seeds: str, json_path: Path | None) -> None:
    """Print the table; exit code 1 below a bar."""
    only_errors()
    torch.set_num_threads(1)
    rows: list[Row] = []
    figures: list[ContentFigures] = []
    for given in logs:
        log, _, items = given.partition("=")
        most = limit or LIMITS.get(Path(log).stem)
        figures.append(figures_of(Path(log), items, most, [int(seed) for seed in seeds.split(",")]))
        rows += said(rows_of(figures[-1]))
    if json_path is not None:
        write(json_path, {**machine(), "logs": [asdict(each) for each in figures]})
    exit_with(rows)


if __name__ == "__main__":
    main()
