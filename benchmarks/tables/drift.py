"""Tables of docs/drift.md."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.tables.markdown import table
from benchmarks.tables.shape import Figures, Table


def _scenarios(figures: Mapping[str, Figures]) -> str:
    rows = [[row["scenario"], row["measured"], _bar(row)] for row in figures["drift"]["rows"]]
    return table(["scenario", "measured", "bar"], rows)


def _bar(row: Figures) -> str:
    return row["bar"] if row["good"] else f"**below**: {row['bar']}"


TABLES: Mapping[str, Table] = {"drift": Table(("drift",), _scenarios)}
