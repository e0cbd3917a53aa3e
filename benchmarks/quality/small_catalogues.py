"""Catalogues of few items that users return to (channels, plans, a bank's products), beside simple counting.

python -m benchmarks.quality.small_catalogues [--items 1,5,40] [--users 20,50] [--events 20000] [--short] [--json FILE]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import DEPTH, baseline_ranks
from benchmarks.quality.one_pass import simulated_pass
from benchmarks.quality.rows import Row, exit_with, said
from benchmarks.record import machine, only_errors, write
from stream_worker.config import Settings
from stream_worker.core.amounts import amount

ITEMS, USERS, EVENTS = (1, 5, 10, 20, 30, 40), (20, 50), 20_000
_FAVOURITES, _FAITHFUL = 3, 0.9  # items of each user, and the share of events with one of them
_STANDARD_ERRORS = 2.0  # the bar: MRR may be so many below the best baseline's
_BAR = "all lists full; HR 1.000 up to 20 items; MRR of every tenth within two standard errors of the best baseline's"


@dataclass(frozen=True)
class Small:
    """Figures of a log of few items.

    hit_rate: of events that are neither the user's nor the item's first
    mrr_T: MRR of each tenth
    baseline_T: the same of the best baseline
    errors_T: standard errors by which our MRR is above the baseline's on the same events
    short: lists with fewer items than were known and had room
    """

    hit_rate: float
    mrr_T: NDArray[np.float64]
    baseline_T: NDArray[np.float64]
    errors_T: NDArray[np.float64]
    short: int


def faithful_users(items: int, users: int, events: int, seed: int = 1) -> list[tuple[int, int]]:
    """Return (user, item) in order: each user has three favourites, which nine of ten events are of."""
    random = Random(seed)
    favourites = [random.sample(range(items), min(_FAVOURITES, items)) for _ in range(users)]
    log = []
    for _ in range(events):
        user = random.randrange(users)
        faithful = random.random() < _FAITHFUL
        log.append((user, random.choice(favourites[user]) if faithful else random.randrange(items)))
    return log


def measured(events: Sequence[tuple[int, int]], settings: Settings) -> Small:
    one = simulated_pass(settings, list(events))
    items = [str(item) for _, item in events]
    baselines = baseline_ranks([str(user) for user, _ in events], items)
    _, firsts = np.unique(items, return_index=True)
    known_E = np.searchsorted(np.sort(firsts), np.arange(len(items)))
    found_E = one.scored_E & (one.age_E >= 0)
    ours = [_reciprocal(one.rank_E[part]) for part in _tenths(one.scored_E)]
    theirs = [[_reciprocal(rank_E[part]) for part in _tenths(one.scored_E)] for rank_E in baselines.values()]
    best = [max(parts, key=lambda part: float(part.mean())) for parts in zip(*theirs, strict=True)]
    return Small(
        hit_rate=float((one.rank_E[found_E] > 0).mean()),
        mrr_T=np.array([part.mean() for part in ours]),
        baseline_T=np.array([part.mean() for part in best]),
        errors_T=np.array([_errors(mine - baseline) for mine, baseline in zip(ours, best, strict=True)]),
        short=int((one.length_E < np.minimum(known_E, settings.model.list_length)).sum()),
    )


def _tenths(scored_E: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the scored events of each tenth of a log."""
    ends = np.linspace(0, len(scored_E), 11).astype(int)
    return [start + np.flatnonzero(scored_E[start:end]) for start, end in itertools.pairwise(ends)]


def _reciprocal(rank_E: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(1.0, rank_E, out=np.zeros(len(rank_E)), where=rank_E > 0)


def _errors(difference_E: NDArray[np.float64]) -> float:
    """Return the mean in standard errors; for equal numbers 0 if they are 0, otherwise infinity."""
    mean, error = float(difference_E.mean()), float(difference_E.std() / np.sqrt(len(difference_E)))
    return mean / error if error > 0 else float(np.copysign(np.inf, mean)) if mean else 0.0


@dataclass(frozen=True)
class WorstTenth:
    """The tenth of a log in which MRR is the most standard errors below (or the fewest above) the best baseline's."""

    tenth: int
    mrr: float
    baseline: float
    standard_errors: float


@dataclass(frozen=True)
class SmallFigures:
    """Figures of one catalogue; `mrr`, `baseline`: means over the tenths; `short`: lists that were too short."""

    items: int
    users: int
    hit_rate: float
    mrr: float
    baseline: float
    worst: WorstTenth
    short: int

    @property
    def good(self) -> bool:
        full = self.items > DEPTH or self.hit_rate == 1.0
        return full and not self.short and self.worst.standard_errors >= -_STANDARD_ERRORS


def figures_of(items: int, users: int, found: Small) -> SmallFigures:
    worst = int(found.errors_T.argmin())
    tenth = WorstTenth(
        1 + worst, float(found.mrr_T[worst]), float(found.baseline_T[worst]), float(found.errors_T[worst])
    )
    means = float(found.mrr_T.mean()), float(found.baseline_T.mean())
    return SmallFigures(items, users, found.hit_rate, *means, tenth, found.short)


def small_figures(
    settings: Settings, items: Sequence[int] = ITEMS, users: Sequence[int] = USERS, events: int = EVENTS
) -> Iterator[SmallFigures]:
    for count, people in itertools.product(items, users):
        yield figures_of(count, people, measured(faithful_users(count, people, events), settings))


def small_row(found: SmallFigures) -> Row:
    worst = found.worst
    text = (
        f"HR {found.hit_rate:.4f}, MRR {found.mrr:.3f}, best baseline {found.baseline:.3f}; "
        f"worst tenth {worst.tenth}: {worst.mrr:.3f}, {worst.baseline:.3f} "
        f"({worst.standard_errors:+.1f} standard errors); {found.short} lists too short"
    )
    return Row(f"{amount(found.items, 'item')}, {found.users} users", text, _BAR, found.good)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


@click.command()
@click.option("--items", default=",".join(map(str, ITEMS)), show_default=True)
@click.option("--users", default=",".join(map(str, USERS)), show_default=True)
@click.option("--events", default=EVENTS, show_default=True)
@click.option("--short", is_flag=True, help="5 and 20 items, 20 users, 4,000 events.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(items: str, users: str, events: int, short: bool, json_path: Path | None) -> None:
    """Print the table; exit code 1 below a bar."""
    only_errors()
    sizes = ([5, 20], [20], 4_000) if short else (_numbers(items), _numbers(users), events)
    rows: list[Row] = []
    figures: list[SmallFigures] = []
    for found in small_figures(Settings(), *sizes):
        figures.append(found)
        rows += said([small_row(found)])
    if json_path is not None:
        write(json_path, {**machine(), "events": sizes[2], "catalogues": [asdict(each) for each in figures]})
    exit_with(rows)


if __name__ == "__main__":
    main()
