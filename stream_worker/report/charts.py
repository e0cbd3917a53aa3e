"""The contents of a report's charts, before they are drawn: charts of panels, panels of curves over the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.history import History
from stream_worker.core.monitor import NOT_LAST
from stream_worker.core.status import Note

# Colours that colour-blind people can tell apart, also in print (Okabe and Ito 2008; Tol 2021, "muted").
_STRONG = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MUTED = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
_NOWHERE = "#DDDDDD"
_DASHES = ("--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """A curve through P points.

    at_P: events of the monitor at each point.
    values_P: the values there.
    """

    label: str
    at_P: NDArray[np.int64]
    values_P: NDArray[np.float64]
    colour: str
    dashes: str = "-"
    width: float = 1.4


@dataclass(frozen=True)
class Panel:
    """Curves with one vertical axis.

    stacked: the curves are shares that add up to 1.
    steps: a value holds until the next point.
    signed: values may be below 0.
    """

    title: str
    unit: str
    curves: Sequence[Curve]
    stacked: bool = False
    steps: bool = False
    signed: bool = False


@dataclass(frozen=True)
class Chart:
    """Panels side by side. `reading`: how to read them, for a person. Curves with the same label look the same."""

    title: str
    reading: str
    panels: Sequence[Panel]
    notes: Sequence[Note] = ()


def charts_of(history: History) -> list[Chart]:
    """Return the charts of one run, the most important one first, without charts that have no points."""
    chosen = [*_quality_charts(history), _sources_chart(history), _learning_chart(history)]
    return [chart for chart in chosen if any(panel.curves for panel in chart.panels)]


def charts_of_both(a: History, b: History, gains: Sequence[tuple[str, NDArray[np.float64]]]) -> list[Chart]:
    """Return the charts of two runs on the same events: both together, the gain of B over A, then groups of events.

    `gains`: the title of each metric, and B - A at each of the E events that both have scored.
    """
    metrics = _metrics(a)
    both = [("A", a, "all", _STRONG[0], "-", 2.2), ("B", b, "all", _STRONG[1], "--", 1.6), *_baselines(a)]
    charts = [Chart("Both beside the baselines", _WINDOW.format(a.monitor.config.window), _pair(metrics, both))]
    charts.append(Chart("What B has gained so far", _GAINED, [_gained(name, gain_E) for name, gain_E in gains]))
    for title, reading, tracks in _parts(a):
        lines = [
            (f"{name}, {side}", run, track, colour, dashes, 1.4)
            for (track, name), colour in zip(tracks, _cycle(), strict=False)
            for side, run, dashes in (("A", a, "-"), ("B", b, "--"))
        ]
        charts.append(Chart(title, reading, _pair(metrics, lines)))
    return charts


def _gained(metric: str, gain_E: NDArray[np.float64]) -> Panel:
    at_P = np.unique(np.linspace(0, len(gain_E), 501).astype(np.int64))
    gained_P = np.concatenate([[0.0], np.cumsum(gain_E)])[at_P]
    return Panel(metric, "sum of B - A", [Curve("B - A", at_P, gained_P, _STRONG[1], width=1.8)], signed=True)


# Label, run, track of its monitor, colour, dashes, width.
_Line = tuple[str, History, str, str, str, float]

_WINDOW = (
    "Each list was made before its event was seen. A value covers the last {:,} scored events, so a curve's beginning "
    "is of few events. Dashed: the baselines (plain counting) on the same events."
)
_GAINED = (
    "The sum over the events that both have scored, in the order of the log. Where it rises, B was better; where it is "
    "level, they were alike. A steady slope is a lasting difference, a single step is one moment of the log."
)
_TYPES = "Each event type apart; each curve covers the last events of its own type."
_REPEATS = (
    "Repeat: the item is among the user's last ones. New: it is not, which is harder. New and known: new to the user, "
    "but another user has had it before, so it could be found. Dashed: the baselines on the new and known ones."
)
_NOT_LAST = (
    "Events whose item is not the user's last one: what the rates are without, say, the view just before a purchase. "
    "Dashed: the baselines on the same events."
)
_AGES = (
    "Cold: fewer than {:,} events have passed since the item's first; warm: all others that came before. Dashed: the "
    "baselines on the cold ones. The first event of an item is in neither, since no list could contain it."
)
_PROPOSERS = (
    "The proposer of candidates that first proposed the item that came, as a share of the last {:,} scored events. "
    "They propose from the bottom up, so each one is credited only with items that those below it did not propose. "
    "Grey: none proposed it, so no ranking could have found it."
)
_LEARNING = (
    "Encoder and ranker: their training losses, before each step. Log loss: of the lists, over the monitor's window."
)


def _quality_charts(history: History) -> Iterator[Chart]:
    metrics, window = _metrics(history), history.monitor.config.window
    lines = [("worker", history, "all", _STRONG[0], "-", 2.2), *_baselines(history)]
    yield Chart("Hit rate and MRR beside the baselines", _WINDOW.format(window), _pair(metrics, lines), history.notes)
    for title, reading, tracks in _parts(history):
        lines = [(name, history, track, c, "-", 1.4) for (track, name), c in zip(tracks, _cycle(), strict=False)]
        if part := _BASELINE_PARTS.get(title):
            lines += _baselines(history, part)
        yield Chart(title, reading, _pair(metrics, lines), history.notes)


_REPEAT_TITLE, _AGE_TITLE = "Repeats and new items", "Warm and cold items"
_NOT_LAST_TITLE = "Without events of the user's last item"
# The group of events of each chart for which the baselines are drawn, too.
_BASELINE_PARTS = {_REPEAT_TITLE: "new_known", _NOT_LAST_TITLE: NOT_LAST, _AGE_TITLE: "cold"}
_LABELS = {"floor": "", "new_known": ", new and known", NOT_LAST: "", "cold": ", cold"}


def _parts(history: History) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield title, reading, and (track, label) of each group for the charts of groups of events."""
    monitor = history.monitor
    types = [(f"type.{name}", name) for name in monitor.type_names if monitor.tracks[f"type.{name}"].events]
    if len(types) > 1:
        yield "By event type", _TYPES, types
    yield _REPEAT_TITLE, _REPEATS, [("repeat", "repeat"), ("new", "new"), ("new_known", "new and known")]
    others = [(f"{NOT_LAST}.{track}", name) for track, name in types] if len(types) > 1 else []
    yield _NOT_LAST_TITLE, _NOT_LAST, [(NOT_LAST, "all types"), *others]
    yield _AGE_TITLE, _AGES.format(monitor.config.cold_events), [("warm", "warm"), ("cold", "cold")]


def _baselines(history: History, of: str = "floor") -> Iterator[_Line]:
    for k, name in enumerate(history.monitor.baseline_names):
        label = name.replace("_", " ") + _LABELS[of]
        yield label, history, f"{of}.{name}", _STRONG[2 + k % 5], _DASHES[k % len(_DASHES)], 1.4


def _metrics(history: History) -> list[tuple[str, str, str]]:
    """Return title, unit and name of the two metrics that all charts of quality show."""
    k = history.monitor.config.depth
    return [(f"Hit rate@{k}", "share", f"hit_rate@{k}"), (f"MRR@{k}", "mean of 1 / rank", f"mrr@{k}")]


def _pair(metrics: Sequence[tuple[str, str, str]], lines: Sequence[_Line]) -> list[Panel]:
    """Return a panel for each metric with the same tracks."""
    return [Panel(title, unit, _curves(lines, metric)) for title, unit, metric in metrics]


def _curves(lines: Sequence[_Line], metric: str) -> list[Curve]:
    """Return the curves of one metric, without those that have no points."""
    curves = [
        Curve(label, *history.series(f"{track}/{metric}"), colour, dashes, width)
        for label, history, track, colour, dashes, width in lines
    ]
    return [curve for curve in curves if len(curve.at_P)]


def _sources_chart(history: History) -> Chart:
    nowhere, *proposers = history.monitor.proposers.names
    colours = [*(_MUTED * (1 + len(proposers) // len(_MUTED)))[: len(proposers)], _NOWHERE]
    curves = [
        Curve(name.replace("_", " "), *history.series(f"proposer/{name}"), colour)
        for name, colour in zip([*proposers, nowhere], colours, strict=True)
    ]
    shown = [curve for curve in curves if len(curve.at_P)]
    reading = _PROPOSERS.format(history.monitor.config.window)
    return Chart(
        "Proposers of candidates", reading, [Panel("First to propose what came", "share", shown, stacked=True)]
    )


def _learning_chart(history: History) -> Chart:
    names = sorted(name for name in history.names() if name.startswith("loss/"))
    losses = [
        Curve(name.removeprefix("loss/"), *history.series(name), colour)
        for name, colour in zip(names, _cycle(), strict=False)
    ]
    losses += _curves([("log loss (rolling)", history, "all", "#000000", ":", 1.4)], "log_loss")
    rate = [Curve("encoder", *history.series("learning_rate"), _STRONG[0])] if history.points else []
    panels = [Panel("Losses", "nats", losses), Panel("Learning rate", "per step", rate, steps=True)]
    return Chart("Learning", _LEARNING, panels, history.notes)


def _cycle() -> Iterator[str]:
    while True:
        yield from _STRONG
