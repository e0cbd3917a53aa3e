"""Options and reports that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from stream_worker import logs, report
from stream_worker.config import Settings, effective, load_settings

F = TypeVar("F", bound=Callable[..., Any])

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class _NewFile(click.Path):
    """A file to be written, in a folder that is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}.", param, ctx)
        return path


NEW_FILE = _NewFile(dir_okay=False, path_type=Path)


class _ReportFile(_NewFile):
    """A page or a picture; what draws them has to be installed, too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if path.suffix not in report.SUFFIXES:
            self.fail(f"a report's name ends in {' or '.join(report.SUFFIXES)}, got {path.name!r}.", param, ctx)
        report.require()
        return path


def report_option(command: F) -> F:
    return click.option(
        "--report",
        "reports",
        multiple=True,
        type=_ReportFile(dir_okay=False, path_type=Path),
        help="Draw it: a page (.html) or a picture (.png); may be given twice. Needs the extra `report`.",
    )(command)


def config_option(command: F) -> F:
    return click.option(
        "--config", "-c", "config_path", type=EXISTING, help="TOML file; STREAM_WORKER__SECTION__KEY goes before it."
    )(command)


def mapping_option(command: F) -> F:
    return click.option(
        "--mapping", "-m", "mapping_path", type=EXISTING, required=True, help="Which column is what (see examples/)."
    )(command)


def settings_from(config_path: Path | None) -> Settings:
    """Load the settings and set logging up by them."""
    settings = load_settings(config_path)
    logs.configure(settings.log.level)
    return settings


def differing(a: Settings, b: Settings) -> list[tuple[str, str, str]]:
    """(key, value in `a`, value in `b`) of all keys that differ; secrets masked."""
    ours, theirs = dict(effective(a)), dict(effective(b))
    pairs = [(key, ours.get(key, "-"), theirs.get(key, "-")) for key in {**ours, **theirs}]
    return [(key, one, other) for key, one, other in pairs if one != other]


def speed_of(text: str) -> float | None:
    """`max` is None, everything else how many times faster than the log's own time."""
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
    """A table of metrics on standard output: rich on a terminal, aligned text elsewhere."""
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
