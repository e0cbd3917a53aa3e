"""Tables of docs/chaos.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.tables.markdown import table
from benchmarks.tables.shape import Figures, Table

_PROTOCOLS = {"classic": "classic", "consumer": "KIP-848"}
# Name in soak.json -> name and unit in the page.
_SOAKED = {
    "rss_mb": "resident memory, MB",
    "anonymous_mb": "of it without files, MB",
    "files": "open files",
    "threads": "threads",
    "redis_keys": "Redis keys",
    "redis_mb": "Redis memory, MB",
    "checkpoint_files": "checkpoint files",
}


def _scenarios(figures: Mapping[str, Figures]) -> str:
    result = figures["chaos"]
    return table(
        ["", "scenario", "protocol", "result", "seen", "form, day"],
        (_scenario(one, result) for one in result["scenarios"]),
    )


def _scenario(one: Mapping[str, Any], result: Figures) -> list[str]:
    """Return one row; a scenario that was played on another day than the file says so itself."""
    seen = ", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in one["seen"].items())
    played = f"{one.get('form', result['form'])}, {one.get('recorded', result['recorded'])}"
    return [str(one["number"]), one["name"], _PROTOCOLS[one["protocol"]], one["result"], seen, played]


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(_figure, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _soak(figures: Mapping[str, Figures]) -> str:
    soak = figures["soak"]
    rows = [[name, *soak[of].split(" -> ")] for of, name in _SOAKED.items()]
    return table([f"{soak['minutes']:g} minutes at {soak['rate']} events/s", "second quarter", "last quarter"], rows)


TABLES: Mapping[str, Table] = {"scenarios": Table(("chaos",), _scenarios), "soak": Table(("soak",), _soak)}
