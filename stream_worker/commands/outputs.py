"""Refuses outputs that would destroy an input or each other, before any file is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click


def refuse_overwriting(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Raise UsageError if an output is also an input, or is given twice. None: a file that was not asked for.

    Paths are compared by the files that they lead to, through links and under any name.
    """
    read = {_place(path): path for path in inputs if path is not None}
    written: dict[object, Path] = {}
    for path in outputs:
        if path is None:
            continue
        place = _place(path)
        if place in read:
            raise click.UsageError(f"{path} would be overwritten, but it is also an input (as {read[place]})")
        if place in written:
            raise click.UsageError(f"{path} is given for two outputs (the other is {written[place]})")
        written[place] = path


def _place(path: Path) -> object:
    """Return the identity of the file, which may have several names; of a file to be made, its resolved path."""
    try:
        found = os.stat(path)
    except OSError:
        return path.resolve()
    return found.st_dev, found.st_ino
