"""Functions that several commands share: load the settings and a log's mapping, list the keys that differ, print a
summary."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from stream_worker import logs
from stream_worker.backends.files import load_mapping
from stream_worker.backends.files.mapping import Mapping as LogMapping
from stream_worker.backends.files.recorded_log import is_recorded
from stream_worker.config import Settings, effective, load_settings


def settings_from(config_path: Path | None) -> Settings:
    """Load the settings and set logging up by them."""
    settings = load_settings(config_path)
    logs.configure(settings.log.level)
    return settings


def differing(a: Settings, b: Settings) -> list[tuple[str, str, str]]:
    """Return (key, value in `a`, value in `b`) for all keys that differ, with secrets masked."""
    ours, theirs = dict(effective(a)), dict(effective(b))
    pairs = [(key, ours.get(key, "-"), theirs.get(key, "-")) for key in {**ours, **theirs}]
    return [(key, one, other) for key, one, other in pairs if one != other]


def mapping_of(log: Sequence[Path], path: Path | None) -> LogMapping | None:
    """Return the mapping; None for files of `stream-worker record`, which need none. Raises UsageError for others."""
    if path is not None:
        return load_mapping(path)
    for file in log:
        if not is_recorded(file):
            raise click.UsageError(f"{file} is no file of `stream-worker record`: --mapping must name its columns")
    return None


def speed_of(text: str) -> float | None:
    """Return how many times faster than the log's own time to go; None for `max`. Raises BadParameter."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise click.BadParameter(
            f"must be max or a positive number such as 1 or 60, got {text!r}", param_hint="--speed"
        )
    return speed


def print_summary(rows: Sequence[Mapping[str, str | float]], title: str) -> None:
    """Print a table of metrics on standard output: Rich's on a terminal, aligned text elsewhere."""
    if not rows:
        return
    console = Console(width=None if sys.stdout.isatty() else 110)
    narrow = {"name"} if console.width >= 100 else {"name", "hit_rate@10"}
    names = [name for name in rows[0] if name not in narrow]
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(str(row["name"]), *(_cell(name, row.get(name)) for name in names))
    console.print(table)


def _cell(name: str, value: str | float | None) -> str:
    if value is None:
        return "-"
    return f"{int(value):,}" if name == "events" else f"{float(value):.4f}"
