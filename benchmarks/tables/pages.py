"""Blocks of the docs' pages that hold a table: which there are, and how they are filled.

A block stands between `<!-- table: NAME -->` and `<!-- /table -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import chaos, drift, offline, quality, speed
from benchmarks.tables.shape import Table

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
TABLES: Mapping[str, Table] = {**quality.TABLES, **offline.TABLES, **speed.TABLES, **chaos.TABLES, **drift.TABLES}
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
    """Return the origin of each file of figures, the files of one commit together."""
    files: dict[tuple[str, str], list[str]] = {}
    for name, result in figures.items():
        files.setdefault((result["recorded"], result["commit"]), []).append(name)
    return "\n".join(_origin(names, figures) for names in files.values())


def _origin(names: Sequence[str], figures: Mapping[str, Mapping[str, Any]]) -> str:
    links = ", ".join(f"[{name}.json](../benchmarks/results/{name}.json)" for name in names)
    first = figures[names[0]]
    commands = {figures[name]["command"] for name in names}
    told = f"`{first['command']}`" if len(commands) == 1 else "commands in the files"
    return f"{links}: recorded on {first['recorded']} (commit {first['commit']}), {told}."
