"""Views of the running demo: a live panel on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from stream_worker import logs
from stream_worker.core.amounts import amount
from stream_worker.core.printable import printable
from stream_worker.demo.scene import Done, Picture
from stream_worker.demo.shop import Taste, parts

_PLAIN_EVERY_SECONDS = 3.0  # between two plain lines (not tuned)
_NAMES = {
    "worker": "this worker",
    "co_visitation": "co-visitation",
    "recent_popularity": "popularity",
    "own_last": "own last items",
    "own_most": "own most frequent",
}
_LEVELS = " ▁▂▃▄▅▆▇█"
_WIDTH = 100  # the widest panel, in columns
_LISTED = 8  # items of the customer's list that are shown


class View(Protocol):
    """A view that shows pictures of the demo while it is open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, picture: Picture) -> None: ...


def make_view(seconds: float) -> View:
    """Return a live panel if standard output is a terminal, else plain lines. `seconds`: how long the shop is open."""
    return LivePanel(seconds) if sys.stdout.isatty() else PlainLines()


class PlainLines:
    """A view by plain lines: one for each new phase, one for the change of taste, and figures every three seconds."""

    def __init__(self) -> None:
        self._phase = ""
        self._said = float("-inf")
        self._changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to close."""

    def show(self, picture: Picture) -> None:
        if picture.phase != self._phase:
            self._phase = picture.phase
            self._say(picture.phase)
        if picture.changed_seconds is not None and not self._changed:
            self._changed = True
            self._say(f"{picture.changed_seconds:.0f} s: half of the customers change their taste")
        if picture.events and time.monotonic() - self._said >= _PLAIN_EVERY_SECONDS:
            self._said = time.monotonic()
            self._say(plain_line(picture))

    def _say(self, text: str) -> None:
        print(f"demo: {text}", flush=True)


def plain_line(picture: Picture) -> str:
    """Return the figures of a picture in one line."""
    p = picture
    rates = ", ".join(f"{_NAMES[name]} {rate:.2f}" for name, rate in p.hit_rates.items())
    losses = ", ".join(f"{name} {loss:.2f}" for name, loss in p.losses.items())
    return (
        f"{p.seconds:.0f} s: {amount(p.events, 'event')} ({p.events_a_second:.0f}/s), lag {p.lag}, "
        f"latency {1000 * p.latency_p50:.0f} ms (p99 {1000 * p.latency_p99:.0f}), "
        f"HR@20 {rates or '-'}, loss {losses or '-'}, drift alarms {len(p.noticed)}"
    )


class LivePanel:
    """A view that draws each picture over the one before. `seconds`: how long the shop is open."""

    def __init__(self, seconds: float) -> None:
        self._of = seconds
        self._live = Live(console=Console(), auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        # The panel shows drift, so the log need not warn of it. Live has replaced standard error, and the log takes the
        # new one only now, so that errors come out above the panel.
        logs.configure("error")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        logs.configure("warning")

    def show(self, picture: Picture) -> None:
        self._live.update(draw(picture, self._of), refresh=True)


def draw(picture: Picture, of_seconds: float) -> RenderableType:
    """Draw the whole panel, at most 23 lines, for terminals of 80 columns or more."""
    if not picture.events:
        return Panel(Text(picture.phase or "starting"), title="stream-worker demo", width=_WIDTH)
    title = f"stream-worker demo: {min(picture.seconds, of_seconds):.0f} of {of_seconds:.0f} s"
    return Panel(
        Group(
            _progress(picture, of_seconds),
            _numbers_and_rates(picture),
            Rule(_course_title(picture), style="dim"),
            _course(picture, of_seconds),
            Rule(f"{picture.customer} now likes: {picture.taste}", style="dim"),
            _customer(picture),
        ),
        title=title,
        width=min(_WIDTH, Console().width),
    )


def _progress(picture: Picture, of_seconds: float) -> Table:
    """Draw the bar of elapsed time, in a grid, since a bar alone does not end its line."""
    grid = Table.grid(expand=True)
    grid.add_row(ProgressBar(total=of_seconds, completed=min(picture.seconds, of_seconds)))
    return grid


def _numbers_and_rates(picture: Picture) -> Table:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=5)
    grid.add_column(ratio=6)
    grid.add_row(_numbers(picture), _rates(picture))
    return grid


def _numbers(picture: Picture) -> Table:
    p = picture
    table = Table.grid(padding=(0, 2))
    table.add_row("events", f"{p.events:,}, {p.events_a_second:.0f}/s")
    table.add_row("lag", amount(p.lag, "event"))
    table.add_row("latency", f"p50 {1000 * p.latency_p50:.0f} ms, p99 {1000 * p.latency_p99:.0f} ms")
    table.add_row("lists", f"{p.lists:,}, from {amount(p.items, 'item')}")
    table.add_row("loss", ", ".join(f"{name} {loss:.1f}" for name, loss in sorted(p.losses.items())))
    return table


def _rates(picture: Picture) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row("hits among 20", Text("last 1,000 events", style="dim"), "")
    best = max(picture.hit_rates.values(), default=0.0)
    for name, rate in sorted(picture.hit_rates.items(), key=lambda pair: -pair[1]):
        style = "bold green" if rate == best and name == "worker" else ""
        bar = ProgressBar(total=1.0, completed=rate, width=20, complete_style="green" if name == "worker" else "cyan")
        table.add_row(Text(_NAMES[name], style=style), bar, Text(f"{rate:.3f}", style=style))
    return table


def _course_title(picture: Picture) -> Text:
    text = Text("hits by the second")
    if picture.changed_seconds is not None:
        text.append(f", taste changed at {picture.changed_seconds:.0f} s", style="bold yellow")
    if (noticed := noticed_after(picture)) is not None:
        text.append(f", drift noticed at {noticed:.0f} s", style="bold magenta")
    return text


def noticed_after(picture: Picture) -> float | None:
    """Return the seconds after the opening at which the first drift alarm since the change came; None: none came."""
    if picture.changed_seconds is None:
        return None
    return next((n.seconds for n in picture.noticed if n.seconds >= picture.changed_seconds), None)


def _course(picture: Picture, of_seconds: float) -> Text:
    """Draw the hit rate of each second as a column of blocks in two lines, yellow from the change on."""
    seconds = int(of_seconds) + 1
    step = max(1, -(-seconds // (min(_WIDTH, Console().width) - 4)))
    upper, lower = Text(), Text()
    for second in range(0, len(picture.history), step):
        changed = picture.changed_seconds is not None and second >= picture.changed_seconds
        style = "yellow" if changed else "green"
        eighths = round(16 * picture.history[second])
        upper.append(_LEVELS[max(0, eighths - 8)], style)
        lower.append(_LEVELS[min(8, eighths)], style)
    return Text("\n").join([upper, lower])


def _customer(picture: Picture) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(ratio=6)
    table.add_column(ratio=5)
    table.add_row(Text("last actions (* was on the list)", style="dim"), Text("the list made from them", style="dim"))
    actions = Group(*(_action(done, picture.taste) for done in picture.actions))
    items = Group(*(_listed(item, score, picture.taste) for item, score in picture.list[:_LISTED]))
    table.add_row(actions, items)
    return table


def _action(done: Done, taste: str) -> Text:
    text = Text(f"{done.type:<9}{'*' if done.listed else ' '} ", no_wrap=True, overflow="ellipsis")
    return text.append(printable(done.item), style=_style(done.item, taste))


def _listed(item: str, score: float, taste: str) -> Text:
    return Text(f"{score:>4.0%}  ", no_wrap=True, overflow="ellipsis").append(
        printable(item), style=_style(item, taste)
    )


def _style(item: str, taste: str) -> str:
    """Return the style of an item: green if it is to the customer's taste."""
    colour, _, theme = taste.partition(" ")
    return "green" if parts(item)[0] and Taste(theme, colour).likes(item) else ""


def summary_lines(picture: Picture, p50_seconds: float, p99_seconds: float) -> list[str]:
    """Return the lines of the summary that the table of metrics does not contain.

    `p50_seconds`, `p99_seconds`: median and 99th percentile of the time from an event to the list that has it.
    """
    return [
        f"{amount(picture.events, 'event')}, {amount(picture.lists, 'list')} published, "
        f"{amount(picture.items, 'item')} live",
        f"from event to readable list: median {1000 * p50_seconds:.0f} ms, p99 {1000 * p99_seconds:.0f} ms",
        *_change(picture),
    ]


def _change(picture: Picture) -> list[str]:
    if picture.changed_seconds is None:
        return []
    at = picture.changed_seconds
    before, after = picture.history[int(at) : int(at) + 1], picture.history[int(at) + 1 :]
    noticed = noticed_after(picture)
    heard = "not noticed" if noticed is None else f"noticed {noticed - at:.1f} s later"
    lines = [f"half of the customers changed their taste after {at:.0f} s: drift {heard}"]
    if before and after:
        lines += [f"HR@20 before it {before[0]:.2f}, then down to {min(after):.2f}, at the end {after[-1]:.2f}"]
    return lines
