"""What a scenario measured, against its bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`bar`: what is asked for, empty where nothing is; `good`: whether `measured` reaches it."""

    scenario: str
    measured: str
    bar: str = ""
    good: bool = True


def printed(rows: Sequence[Row]) -> str:
    """A table as Markdown."""
    lines = ["| scenario | measured | bar | |", "|---|---|---|---|"]
    for row in rows:
        verdict = "" if not row.bar else "good" if row.good else "**below**"
        lines.append(f"| {row.scenario} | {row.measured} | {row.bar} | {verdict} |")
    return "\n".join(lines)
