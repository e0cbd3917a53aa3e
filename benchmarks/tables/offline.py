"""Tables of docs/offline-models.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from benchmarks.tables.markdown import pair, share, table
from benchmarks.tables.shape import Figures, Table

_LOGS = ("yoochoose", "ml100k", "globo", "uci")
_MODELS = {"gru4rec": "GRU4Rec", "sasrec": "SASRec"}
_FIRST_TENTH = 3  # the worker settles in those before


def _compared(figures: Mapping[str, Figures]) -> str:
    defaults = {log["log"]: log for log in figures["quality"]["logs"]}
    rows = [row for log in _LOGS for row in _log_rows(log, defaults[log], figures)]
    head = ["log", "model", "HR@20 / MRR@20", *map(str, range(_FIRST_TENTH, 11)), "CPU seconds"]
    return f"{table(head, rows)}\n\n{_lead(defaults, figures)}"


def _lead(defaults: Mapping[str, Any], figures: Mapping[str, Figures]) -> str:
    """Say in how many tenths the defaults hit more often than a model, and where a model comes nearest."""
    margins = []
    for log, model in product(_LOGS, _MODELS):
        others = {tenth["tenth"]: tenth["hit_rate"] for tenth in figures[f"offline-{log}-{model}"]["tenths"]}
        for tenth in defaults[log]["tenths"]:
            mine, other = tenth["hit_rate"], others[tenth["tenth"]]
            margins.append((mine - other, f"{_MODELS[model]} on {log}, tenth {tenth['tenth']}", mine, other))
    ahead = sum(margin[0] > 0 for margin in margins)
    _, where, mine, other = min(margins)
    nearest = f"{where}: {share(mine)} beside {share(other)}"
    return f"The defaults lead in {ahead} of {len(margins)} tenths; nearest is {nearest}."


def _log_rows(log: str, defaults: Mapping[str, Any], figures: Mapping[str, Figures]) -> Iterator[list[str]]:
    tenths = [share(tenth["hit_rate"]) for tenth in defaults["tenths"]]
    yield [log, "**defaults**", pair(defaults["hit_rate"]["mean"], defaults["mrr"]["mean"]), *tenths, ""]
    for model, name in _MODELS.items():
        result = figures[f"offline-{log}-{model}"]
        tenths = [share(tenth["hit_rate"]) for tenth in result["tenths"] if tenth["tenth"] >= _FIRST_TENTH]
        whole = result["all"]
        yield ["", name, pair(whole["hit_rate"], whole["mrr"]), *tenths, f"{whole['seconds']:,.0f}"]


def _published(figures: Mapping[str, Figures]) -> str:
    rows = [
        [f"{_MODELS[result['model']]}, {whose}", *map(share, result[whose].values())]
        for result in figures.values()
        for whose in ("published", "ours")
    ]
    return table(["", *next(iter(figures.values()))["ours"]], rows)


TABLES: Mapping[str, Table] = {
    "compared": Table(("quality", *(f"offline-{log}-{model}" for log in _LOGS for model in _MODELS)), _compared),
    "published": Table(tuple(f"offline-published-{model}" for model in _MODELS), _published),
}
