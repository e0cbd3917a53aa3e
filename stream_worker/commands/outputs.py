"""Outputs that would destroy an input, or each other, are refused before anything is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click


def refuse_overwriting(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Paths are compared by where they lead: through links, and whatever they are called. None: not asked for.
    Raises UsageError."""
    read = {_place(path): path for path in inputs if path is not None}
    written: dict[object, Path] = {}
    for path in outputs:
        if path is None:
            continue
        place = _place(path)
        if place in read:
            raise click.UsageError(f"{path} would be overwritten, but it is read, too (as {read[place]})")
        if place in written:
            raise click.UsageError(f"{path} is where two outputs go (the other is {written[place]})")
        written[place] = path


def _place(path: Path) -> object:
    """The file itself, which may have two names; where there is none yet, its place."""
    try:
        found = os.stat(path)
    except OSError:
        return path.resolve()
    return found.st_dev, found.st_ino
