"""Markdown tables, and figures as the docs write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Raise ValueError where a row has another number of cells than the head."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"a table: expected {len(head)} cells, got {len(row)}: {row}")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def share(value: float, places: int = 3) -> str:
    """Return a share without the zero in front, for instance .701, and 1.000 as it is."""
    text = f"{value:.{places}f}"
    return text.removeprefix("0") if value >= 0 else "-" + text.removeprefix("-").removeprefix("0")


def signed(value: float, places: int = 4) -> str:
    return ("+" if value >= 0 else "") + share(value, places)


def pair(hit_rate: float, mrr: float, places: int = 3) -> str:
    return f"{share(hit_rate, places)} / {share(mrr, places)}"


def count(value: float) -> str:
    return f"{value:,.0f}"
