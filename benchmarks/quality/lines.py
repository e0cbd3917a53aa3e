"""The lists of several workers beside those of one, as `replay --lines` makes them, as shares of its rates.

python -m benchmarks.quality.lines LOG... [--limit ROWS] [--forms one,four,...] [--json FILE]

LOG: a CSV in time order with the columns user, item, ts, type. Users are shared out by their ids. Everything examined:
each worker learns from what it hears as from its own events. Own examined: it only counts what it hears. With weights:
the weights of all are brought together after each step. The first tenth and each user's first event are not scored.
Ends with 1 below a bar. Figures that FILE has of other logs or forms stay there, since a log takes minutes a form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.one_pass import CANONICAL
from benchmarks.quality.rows import Row, exit_with, said
from benchmarks.quality.scored import hit_rate, reciprocal_rank
from benchmarks.record import machine, only_errors, write
from stream_worker.assembly import quiet_torch
from stream_worker.backends.files import FileSink, FileSource, load_mapping
from stream_worker.config import Settings
from stream_worker.core.drift import Alarm
from stream_worker.core.monitor import Monitor
from stream_worker.core.status import NoObserver
from stream_worker.several_lines import Lines, SeveralLines

ONE = "one"


@dataclass(frozen=True)
class Form:
    """A number of workers and what they learn from. hit_rate, mrr: the bars, as shares of one worker's rates."""

    name: str
    lines: Lines
    hit_rate: float = 0.0
    mrr: float = 0.0


FORMS: Mapping[str, Form] = {
    "one": Form("one worker", Lines(1)),
    "two-all": Form("2 workers, everything examined", Lines(2, heard=1), 0.995, 0.995),
    "eight-all": Form("8 workers, everything examined", Lines(8, heard=1), 0.995, 0.995),
    "four-own": Form("4 workers, own examined", Lines(4), 0.965, 0.965),
    "eight-own": Form("8 workers, own examined", Lines(8)),
    "four": Form("4 workers, with weights", Lines(4, weights=True), 0.985, 0.985),
    "eight": Form("8 workers, with weights", Lines(8, weights=True), 0.98, 0.965),
    "four-late": Form("4 workers, with weights, heard 1,000 events late", Lines(4, late=1_000, weights=True)),
}
# The logs for which no more was asked than this share, with weights; and the most of HR@20 that hearing late may cost.
_OF_OTHERS, _MOST_LATE = 0.97, 0.003
_WITH_BARS = ("yoochoose", "ml100k")


@dataclass(frozen=True)
class Rates:
    """HR@20 and MRR@20 of the events that were scored.

    form: a key of `FORMS`.
    """

    log: str
    form: str
    events: int
    hit_rate: float
    mrr: float


def measured(settings: Settings, log: Path, form: str, limit: int | None) -> Rates:
    """Return the rates of a log in one form."""
    source = FileSource([log], load_mapping(CANONICAL), limit=limit)
    replay = SeveralLines(settings, FORMS[form].lines, source, FileSink(topic=source.name))
    replay.monitor = ranks = _Ranks(replay.monitor)
    replay.run(NoObserver())
    rank_E = ranks.scored()
    return Rates(log.stem, form, len(rank_E), hit_rate(rank_E), reciprocal_rank(rank_E))


class _Ranks(Monitor):
    """Keeps the rank of each event, 0: not listed, -1: a user's first one."""

    def __init__(self, monitor: Monitor) -> None:
        super().__init__(monitor.config, monitor.type_names, monitor.proposer_names)
        self.kept: list[NDArray[np.int64]] = []

    def update(self, *scores: Any) -> list[Alarm]:
        ranks_B, _, _, _, first_B = scores[:5]
        self.kept.append(np.where(first_B, -1, ranks_B))
        return []

    def scored(self) -> NDArray[np.int64]:
        """Return the ranks of all events but those of the first tenth and each user's first."""
        rank_E = np.concatenate(self.kept)
        later_E = rank_E[len(rank_E) // 10 :]
        return later_E[later_E >= 0]


def row_of(found: Rates, one: Rates, late_of: Rates | None) -> Row:
    """Return the row of a form's rates beside one worker's, and for one that hears late beside one that does not."""
    form = FORMS[found.form]
    shares = found.hit_rate / one.hit_rate, found.mrr / one.mrr
    told = f"{found.hit_rate:.4f} / {found.mrr:.4f}, {shares[0]:.3f} / {shares[1]:.3f} of one's"
    name = f"{found.log}, {form.name}"
    if form.lines.late and late_of is not None:
        lost = late_of.hit_rate - found.hit_rate
        return Row(name, f"{told}, {lost:.4f} less", f"{_MOST_LATE:.3f} less", lost <= _MOST_LATE)
    bars = bars_of(found.log, form)
    if not any(bars):
        return Row(name, told)
    good = all(share >= bar for share, bar in zip(shares, bars, strict=True))
    return Row(name, told, f"{bars[0]:.3f} / {bars[1]:.3f}", good)


def bars_of(log: str, form: Form) -> tuple[float, float]:
    """Return the least shares of HR@20 and MRR@20; 0 for none."""
    if log.startswith(_WITH_BARS) or form.lines.heard == 1:
        return form.hit_rate, form.mrr
    return (_OF_OTHERS, _OF_OTHERS) if form.lines.weights and form.lines.count == 4 else (0.0, 0.0)


def rows_of(rates: Sequence[Rates]) -> Iterator[Row]:
    """Yield a row for each form of a log that was measured for one worker, too."""
    at = {(found.log, found.form): found for found in rates}
    for found in rates:
        if (one := at.get((found.log, ONE))) is not None:
            yield row_of(found, one, at.get((found.log, "four")))


def kept(path: Path | None) -> dict[tuple[str, str], Rates]:
    """Return what a file has of earlier measurements."""
    if path is None or not path.exists():
        return {}
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rates"]
    return {(rates["log"], rates["form"]): Rates(**rates) for rates in found}


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows of each log.")
@click.option("--forms", default=",".join(FORMS), show_default=True, help="Forms to measure, separated by commas.")
@click.option("--json", "result", type=click.Path(dir_okay=False, path_type=Path), help="File to write figures to.")
def main(logs: tuple[Path, ...], limit: int | None, forms: str, result: Path | None) -> None:
    """Print the shares of all forms. End with 1 below a bar."""
    if unknown := set(forms.split(",")) - FORMS.keys():
        raise click.UsageError(f"no such form: {', '.join(sorted(unknown))}; there are {', '.join(FORMS)}")
    only_errors()
    quiet_torch()
    settings, found = Settings(), kept(result)
    for log in logs:
        for key in forms.split(","):
            found[log.stem, key] = measured(settings, log, key, limit)
            if result is not None:
                names = {name: form.name for name, form in FORMS.items()}
                write(result, {**machine(), "forms": names, "rates": [asdict(rates) for rates in in_order(found)]})
    exit_with(said(rows_of(in_order(found))))


def in_order(found: Mapping[tuple[str, str], Rates]) -> list[Rates]:
    """Return rates by log, in the order of the forms."""
    logs, forms = list(dict.fromkeys(log for log, _ in found)), list(FORMS)
    return sorted(found.values(), key=lambda rates: (logs.index(rates.log), forms.index(rates.form)))


if __name__ == "__main__":
    main()
