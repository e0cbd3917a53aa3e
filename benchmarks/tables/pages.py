"""Blocks of the docs' pages that hold a table: which there are, and how they are filled.

A block stands between `<!-- table: NAME -->` and `<!-- /table -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.tables import chaos, speed
from benchmarks.tables.shape import Table

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
TABLES: Mapping[str, Table] = {**speed.TABLES, **chaos.TABLES}
_BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def blocks(text: str) -> list[str]:
    """Return the names of the tables of a page."""
    return [name for _, name, _ in _BLOCK.findall(text)]


def filled(text: str, results: Path = RESULTS) -> str:
    """Return a page with all of its tables made anew. Raise KeyError where a name has no table."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{drawn(block[2], results)}\n\n{block[3]}", text)


def drawn(name: str, results: Path = RESULTS) -> str:
    """Return one table, and below it when and how its figures were measured."""
    found = TABLES[name]
    figures = {of: read(of, results) for of in found.results}
    return f"{found.draw(figures)}\n\n{_origins(figures)}"


def read(name: str, results: Path = RESULTS) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    return figures


def _origins(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the origin of each file of figures, files of one command and day together."""
    files: dict[str, list[str]] = {}
    for name, result in figures.items():
        said = f"recorded on {result['recorded']} (commit {result['commit']}), `{result['command']}`"
        files.setdefault(said, []).append(f"[{name}.json](../benchmarks/results/{name}.json)")
    return "\n".join(f"{', '.join(names)}: {said}." for said, names in files.items())
