"""A table of the docs: the figures that it needs, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """`results`: names of files in benchmarks/results; `draw`: takes their content by name, returns Markdown."""

    results: tuple[str, ...]
    draw: Callable[[Mapping[str, Figures]], str]
