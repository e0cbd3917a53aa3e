"""Tables of docs/speed.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tables.markdown import count, share, table
from benchmarks.tables.shape import Figures, Table

_TRAINED_LOGS = ("yoochoose", "ml100k", "globo")
_MOST_MS = "100, 300"  # as in benchmarks/live.py


def _efforts(figures: Mapping[str, Figures]) -> str:
    points = figures["efforts"]["points"]
    thinnings = list(dict.fromkeys(p["thinning"] for p in points))
    rows = []
    for log in dict.fromkeys(p["log"] for p in points):
        own = {p["thinning"]: p for p in points if p["log"] == log}
        rows.append([log, "events/s", *(count(own[t]["events_per_second"]) for t in thinnings)])
        rows.append(
            ["", "HR@20", *(f"{share(own[t]['hit_rate'], 4)} ± {share(own[t]['error'], 4)}" for t in thinnings)]
        )
        rows.append(["", "MRR@20", *(share(own[t]["mrr"], 4) for t in thinnings)])
    return table(["log", "", *(f"1 in {thinning}" for thinning in thinnings)], rows)


def _loops(figures: Mapping[str, Figures]) -> str:
    rows = [
        [
            loop["loop"],
            f"{loop['events_per_second']:,}",
            f"{loop['ratio']}",
            f"{loop['ratio_min']} to {loop['ratio_max']}" if "ratio_min" in loop else "",
        ]
        for loop in figures["throughput"]["loops"]
    ]
    return table(["loop", "events/s", "ratio", "min to max"], rows)


def _growth(figures: Mapping[str, Figures]) -> str:
    head = ["users", "items", "us an event, 1 in 1", "1 in 16", "ratios", "resident MB", "same lists, candidates"]
    head += ["checkpoint MB", "its copy, s", "the first copy, s"]
    return table(head, map(_size, figures["growth"]["sizes"]))


def _size(size: Mapping[str, Any]) -> list[str]:
    return [
        f"{size['users']:,}",
        f"{size['items']:,}",
        *(count(size["microseconds"][thinning]["all"]) for thinning in ("1", "16")),
        ", ".join(f"{size['ratio'][thinning]:.2f}" for thinning in ("1", "16")),
        f"{size['resident_megabytes']:,}",
        ", ".join(share(size["overlap"][of]) for of in ("lists", "encoder")),
        count(size["snapshot"]["line_bytes"] / 1e6),
        *(f"{size['snapshot'][of]:.2f}" for of in ("line_seconds", "first_line_seconds")),
    ]


def _limit(figures: Mapping[str, Figures]) -> str:
    efforts = figures["limit"]["microseconds_an_event"]
    stages = [name for name in next(iter(efforts.values())) if name != "share"]
    rows = [[name, *(count(of[stage]) for stage in stages), f"{of['share']:.0%}"] for name, of in efforts.items()]
    rate = figures["limit"]["gemm_operations_per_second"] / 1e9
    drawn = table(["learned from", *stages, "share of the limit"], rows)
    return f"{drawn}\n\nOne thread multiplied {rate:.0f} billion operations a second then."


def _trainer(figures: Mapping[str, Figures]) -> str:
    logs = {result["log"]: _compared(result) for result in figures.values()}
    loops = sorted(dict.fromkeys(loop for cells in logs.values() for loop in cells), key=_loop_order)
    rows = [[loop, *(cells.get(loop, "") for cells in logs.values())] for loop in loops]
    return table(["loop", *logs], rows)


def _compared(result: Figures) -> dict[str, str]:
    """Return loop -> its events/s, ratios to the trainers of 32 and 192 lanes, and hit rate."""
    cells = {}
    for loop in (*(one for trainers in result["trainers"].values() for one in trainers), *result["worker"]):
        ratios = ", ".join(f"{loop['ratios'][lanes]:.2f}" for lanes in ("32", "192") if loop["ratios"])
        between = f" ({ratios})" if ratios else ""
        cells[loop["loop"]] = f"{count(loop['events_per_second'])}{between}: {share(loop['hit_rate'])}"
    return cells


def _loop_order(loop: str) -> tuple[bool, int]:
    """Sort the worker's efforts by their thinning; trainers stay in front, in their order."""
    worker = loop.startswith("worker")
    return worker, int(loop.rsplit(" ", 1)[1]) if worker else 0


def _live(figures: Mapping[str, Figures]) -> str:
    live = figures["live"]
    burst, at_rest, behind = live["burst"], live["half_of_full_effort"], live["half_of_throughput"]
    return table(
        ["what", "measured", "bar"],
        [
            ["catching up with all of the learning, events/s", f"{live['full_effort_events_per_second']:,}", ""],
            ["half of that rate, with all of the learning: p50, p99 ms", _percentiles(at_rest), ""],
            ["catching up, effort follows the lag, events/s", f"{live['catching_up_events_per_second']:,}", ""],
            [f"a burst of {burst['seconds']:.0f} s, events/s sent", f"{burst['events_per_second']:,}", ""],
            ["events/s done during the burst (the throughput)", f"{burst['throughput']:,}", ""],
            ["seconds from the burst's start until the lag is 0", count(burst["lag_zero_after_seconds"]), ""],
            ["age of the freshest list, at most, s", count(burst["most_freshest_age"]), ""],
            ["events counted twice", f"{burst['counted_twice']}", "0"],
            [
                f"half of the throughput, {behind['events_per_second']:,} events/s: p50, p99 ms",
                _percentiles(behind),
                _MOST_MS,
            ],
        ],
    )


def _percentiles(steady: Mapping[str, float]) -> str:
    return f"{steady['p50_ms']:.0f}, {steady['p99_ms']:.0f}"


def _exactly_once(figures: Mapping[str, Figures]) -> str:
    result = figures["exactly_once"]
    ratios = result["ratios"]
    once, repeating = (result[f"{mode}_events_per_second"] for mode in ("exactly_once", "at_least_once"))
    return table(
        ["what", "exactly once", "at least once"],
        [
            ["events/s", *(f"{min(rates):,} to {max(rates):,}" for rates in (once, repeating))],
            [
                "share of the time in the commit",
                *(f"{100 * result[f'{mode}_commit_share']:.1f} %" for mode in ("exactly_once", "at_least_once")),
            ],
            [
                f"median ratio of {len(ratios)} pairs",
                f"{share(result['ratio_median'])} ({share(min(ratios))} to {share(max(ratios))})",
                "1",
            ],
        ],
    )


def _decoding(figures: Mapping[str, Figures]) -> str:
    rows = [
        [
            form["name"],
            f"{form['bytes']:,}",
            f"{form['microseconds']:.1f}",
            f"{form['ratio']:.2f}",
            f"{form['ratio_min']:.2f} to {form['ratio_max']:.2f}",
            "" if form["most"] is None else f"{form['most']:g}",
        ]
        for form in figures["decoding"]["forms"]
    ]
    return table(["records", "bytes", "us an event", "ratio", "min to max", "bar"], rows)


def _workers(figures: Mapping[str, Figures]) -> str:
    logs = figures["workers"]["logs"]
    head = ["one of several workers", *(cell for log in logs for cell in (f"{log['log']}, us", "share of one's"))]
    names = {"alone": "the only one, everything examined", "heard only": "owns nothing: each event is heard"}
    rows = []
    for run in ("alone", "2", "4", "8", "heard only"):
        cells = (
            cell for log in logs for cell in (f"{log['microseconds'][run]:.1f}", f"1 in {1 / log['shares'][run]:.1f}")
        )
        rows.append([names.get(run, f"one of {run}"), *cells])
    rows += [_calculated(logs, workers) for workers in ("16", "32")]
    ends = (cell for log in logs for cell in ("", f"{count(log['events_per_second']['end'])} events/s"))
    rows.append(["a worker does nothing but hear at", *ends])
    return table(head, rows)


def _calculated(logs: Sequence[Figures], workers: str) -> list[str]:
    shares = (cell for log in logs for cell in ("", f"1 in {1 / log['calculated_shares'][workers]:.1f}"))
    return [f"one of {workers}, calculated", *shares]


def _item_rules(figures: Mapping[str, Figures]) -> str:
    found = figures["item_rules"]
    rows = [[f"ten conditions of {name}", f"{ms:.1f} ms", "50"] for name, ms in found["ms"].items()]
    rows += [[f"`{text}`".replace("|", r"\|"), f"{us:.1f} us", ""] for text, us in found["us_an_expression"].items()]
    return table(["1,000 of 1,000,000 items change; one item, by itself", "processor time", "bar"], rows)


TABLES: Mapping[str, Table] = {
    "efforts": Table(("efforts",), _efforts),
    "loops": Table(("throughput",), _loops),
    "growth": Table(("growth",), _growth),
    "limit": Table(("limit",), _limit),
    "trainer": Table(tuple(f"trainer-{log}" for log in _TRAINED_LOGS), _trainer),
    "live": Table(("live",), _live),
    "exactly-once": Table(("exactly_once",), _exactly_once),
    "decoding": Table(("decoding",), _decoding),
    "item-rules": Table(("item_rules",), _item_rules),
    "workers": Table(("workers",), _workers),
}
