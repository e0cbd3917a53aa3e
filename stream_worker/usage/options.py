"""The arguments and options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from stream_worker import report

F = TypeVar("F", bound=Callable[..., Any])

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class _NewFile(click.Path):
    """A file to be written, in a folder that exists."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}.", param, ctx)
        return path


NEW_FILE = _NewFile(dir_okay=False, path_type=Path)


class _ReportFile(_NewFile):
    """A page or a picture to be written; the libraries that draw it have to be installed."""

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
        help="Write a report: a page (.html) or a picture (.png); may be given twice. Needs the extra `report`.",
    )(command)


def config_option(command: F) -> F:
    return click.option(
        "--config", "-c", "config_path", type=EXISTING, help="TOML file; STREAM_WORKER__SECTION__KEY overrides it."
    )(command)


def mapping_option(command: F) -> F:
    return _mapping(required=True, more="")(command)


def optional_mapping_option(command: F) -> F:
    return _mapping(required=False, more="; what `record` wrote needs none")(command)


def _mapping(*, required: bool, more: str) -> Callable[[F], F]:
    help_text = f"File that names the log's columns (see examples/){more}."
    return click.option("--mapping", "-m", "mapping_path", type=EXISTING, required=required, help=help_text)


def items_option(command: F) -> F:
    return click.option(
        "--items",
        multiple=True,
        type=EXISTING,
        help="File of what items are (title, category, ...), mapped by [items]; may be given several times.",
    )(command)
