"""Tables of docs/quality.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.tables.markdown import count, pair, share, signed, table
from benchmarks.tables.shape import Figures, Table


def _defaults(figures: Mapping[str, Figures]) -> str:
    head = ["log", "events", "HR@20", "bar", "MRR@20", "bar", "best baseline's HR@20"]
    return table(head, map(_default, figures["quality"]["logs"]))


def _default(log: Mapping[str, Any]) -> list[str]:
    rates = [cell for rate in (log["hit_rate"], log["mrr"]) for cell in (_spread(rate), _bar(rate["bar"]))]
    return [log["log"], count(log["events"]), *rates, share(log["hit_rate"]["baseline"])]


def _spread(rate: Mapping[str, float]) -> str:
    return f"{share(rate['mean'], 4)} ({share(rate['least'], 4)} to {share(rate['most'], 4)})"


def _bar(bar: float | None) -> str:
    return "" if bar is None else share(bar)


def _tenths(figures: Mapping[str, Figures]) -> str:
    logs = figures["quality"]["logs"]
    rows = [
        [log["log"], *(f"{share(tenth['hit_rate'])}, {share(tenth['baseline'])}" for tenth in log["tenths"])]
        for log in logs
    ]
    return table(["log", *(str(tenth["tenth"]) for tenth in logs[0]["tenths"])], rows)


def _young(figures: Mapping[str, Figures]) -> str:
    rows = [
        [log["log"], count(young["events"]), share(young["hit_rate"]), share(young["popularity"])]
        for log in figures["quality"]["logs"]
        for young in [log["young"]]
    ]
    return table(["log", "events", "HR@20", "recent popularity's"], rows)


def _cost(figures: Mapping[str, Figures]) -> str:
    logs = [log for log in figures["quality"]["logs"] if log["microseconds"]]
    rows = [[log["log"], *map(count, log["microseconds"].values())] for log in logs]
    return table(["log", *logs[0]["microseconds"]], rows)


def _ablations(figures: Mapping[str, Figures]) -> str:
    """Draw a column per log: the rates of the whole, and below them what changes without each part."""
    found = figures["quality-ablations"]["ablations"]
    logs = list(dict.fromkeys(one["log"] for one in found))
    rates = {(one["log"], one["part"]): (one["hit_rate"], one["mrr"]) for one in found}
    rows = []
    for part in dict.fromkeys(one["part"] for one in found):
        cells = [_lost(rates[log, part], rates[log, "nothing"], part == "nothing") for log in logs]
        rows.append([part, *cells])
    return table(["without", *logs], rows)


def _lost(rates: tuple[float, float], whole: tuple[float, float], itself: bool) -> str:
    if itself:
        return pair(*whole, 4)
    return " / ".join(signed(round(mine - of, 4)) for mine, of in zip(rates, whole, strict=True))


def _small(figures: Mapping[str, Figures]) -> str:
    head = [
        "items",
        "users",
        "HR@20",
        "MRR@20",
        "best baseline's MRR@20",
        "worst tenth: MRR, baseline, standard errors",
    ]
    return table(head, map(_catalogue, figures["quality-small"]["catalogues"]))


def _catalogue(one: Mapping[str, Any]) -> list[str]:
    worst = one["worst"]
    tenth = f"{share(worst['mrr'])}, {share(worst['baseline'])}, {worst['standard_errors']:+.1f}"
    return [
        str(one["items"]),
        str(one["users"]),
        share(one["hit_rate"]),
        share(one["mrr"]),
        share(one["baseline"]),
        tenth,
    ]


def _unseen(figures: Mapping[str, Figures]) -> str:
    rows = [
        [
            log["log"],
            count(log["events"]),
            str(log["seeds"]),
            pair(log["hit_rate"]["mean"], log["mrr"]["mean"], 4),
            pair(log["hit_rate"]["baseline"], log["mrr"]["baseline"], 4),
        ]
        for log in figures["quality-unseen"]["logs"]
    ]
    return table(["log", "events", "seeds", "HR@20 / MRR@20", "best baseline's"], rows)


def _categories(figures: Mapping[str, Figures]) -> str:
    rows = [
        [
            log["log"],
            count(log["events"]),
            *(pair(log[of]["hit_rate"], log[of]["mrr"], 4) for of in ("with", "without")),
        ]
        for log in figures["quality-categories"]["logs"]
    ]
    return table(["log, categories", "events", "with", "without"], rows)


def _content(figures: Mapping[str, Figures]) -> str:
    head = ["log", "events", "with", "without", "events of new items", "with", "without", "standard errors"]
    rows = [
        [
            log["log"],
            count(log["events"]),
            *(pair(log[of]["hit_rate"], log[of]["mrr"], 4) for of in ("with_content", "without")),
            count(log["new_events"]),
            *(pair(log[of]["hit_rate"], log[of]["mrr"], 4) for of in ("new_with", "new_without")),
            f"{log['errors']:+.1f}",
        ]
        for log in figures["quality-content"]["logs"]
    ]
    return table(head, rows)


def _reasons(figures: Mapping[str, Figures]) -> str:
    """Draw a row per kind of reason below that of all."""
    head = ["log", "reasons", "", "falls more", "nats without the named item", "without another"]
    rows = [
        [
            log["log"] if kind["kind"] == "all" else "",
            kind["kind"],
            count(kind["reasons"]),
            share(kind["share"]),
            f"{kind['fall']:.2f}",
            f"{kind['fall_of_other']:.2f}",
        ]
        for log in figures["quality-reasons"]["logs"]
        for kind in log["kinds"]
    ]
    return table(head, rows)


def _on_kafka(figures: Mapping[str, Figures]) -> str:
    """Draw a row per run: the rates by the lists of then, and by those that came later, too."""
    result = figures["quality-on-kafka"]
    pace = f"{count(result['events_per_second'])} of {count(result['full_effort_events_per_second'])} events/s"
    head = [pace, "HR@20 / MRR@20", "HR@20, late ones, too", "behind by an event", "no list", "event to list, ms"]
    return table([*head, "largest lag", "least effort"], map(_run, result["runs"]))


def _run(run: Mapping[str, Any]) -> list[str]:
    return [
        run["run"],
        pair(run["hit_rate"], run["mrr"], 4),
        share(run["hit_rate_whenever"], 4),
        share(run["stale_share"]),
        count(run["no_list"]),
        f"p50 {count(run['wait_ms']['p50'])}, p99 {count(run['wait_ms']['p99'])}",
        count(run["largest_lag"]),
        share(min(run["least_effort"], run["least_heard_share"])),
    ]


def _beside(figures: Mapping[str, Figures]) -> str:
    """Draw the hit rates of two runs on the same events."""
    result = figures["quality-on-kafka"]
    death = result["killed"]
    compared = {
        "one process, two": result["two_beside_one"],
        "two, one of them killed: from the kill on": death["after_kill"],
        "two, one of them killed: from the takeover on": death["after_takeover"],
    }
    head = ["HR@20", "events", "first", "second", "difference ± standard error", "late lists, too"]
    return table(head, ([name, *_change(found)] for name, found in compared.items()))


def _change(found: Mapping[str, Any]) -> list[str]:
    then, whenever = found["rank"], found["rank_whenever"]
    differences = (f"{signed(one['difference'])} ± {share(one['error'], 4)}" for one in (then, whenever))
    return [count(found["events"]), share(then["a"], 4), share(then["b"], 4), *differences]


def _lines(figures: Mapping[str, Figures]) -> str:
    names = figures["quality-lines"]["forms"]
    rates = {(one["log"], one["form"]): one for one in figures["quality-lines"]["rates"]}
    rows: list[list[str]] = []
    for (log, form), found in rates.items():
        one = rates[log, "one"]
        shares = [share(found[rate] / one[rate]) for rate in ("hit_rate", "mrr")] if form != "one" else ["", ""]
        rows.append([log if form == "one" else "", names[form], pair(found["hit_rate"], found["mrr"], 4), *shares])
    return table(["log", "", "HR@20 / MRR@20", "of one worker's HR@20", "of its MRR@20"], rows)


TABLES: Mapping[str, Table] = {
    "defaults": Table(("quality",), _defaults),
    "tenths": Table(("quality",), _tenths),
    "young": Table(("quality",), _young),
    "cost": Table(("quality",), _cost),
    "ablations": Table(("quality-ablations",), _ablations),
    "small": Table(("quality-small",), _small),
    "unseen": Table(("quality-unseen",), _unseen),
    "categories": Table(("quality-categories",), _categories),
    "content": Table(("quality-content",), _content),
    "reasons": Table(("quality-reasons",), _reasons),
    "lines": Table(("quality-lines",), _lines),
    "on-kafka": Table(("quality-on-kafka",), _on_kafka),
    "on-kafka-beside": Table(("quality-on-kafka",), _beside),
}
