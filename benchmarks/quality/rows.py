"""Rows of a table of scenarios: what was measured, and the bar."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True)
class Row:
    """One measurement. `bar`: empty where there is none; `good`: True if `measured` reaches it."""

    scenario: str
    measured: str
    bar: str = ""
    good: bool = True


def printed(rows: Sequence[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| scenario | measured | bar | |", "|---|---|---|---|"]
    for row in rows:
        verdict = "" if not row.bar else "good" if row.good else "**below**"
        lines.append(f"| {row.scenario} | {row.measured} | {row.bar} | {verdict} |")
    return "\n".join(lines)


def said(rows: Iterable[Row]) -> list[Row]:
    """Print each row as it comes."""
    done = []
    for row in rows:
        done.append(row)
        print(f"{row.scenario}: {row.measured}", file=sys.stderr, flush=True)
    return done


def exit_with(rows: Sequence[Row]) -> NoReturn:
    """Print the table. End the program with 1 below a bar."""
    print(printed(rows))
    sys.exit(not all(row.good for row in rows))
