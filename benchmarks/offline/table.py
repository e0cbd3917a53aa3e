"""The results kept in benchmarks/results as docs/quality.md shows them.

python -m benchmarks.offline.table
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
Result = Mapping[str, Any]


def results(folder: Path = RESULTS) -> list[Result]:
    """One for each log and model that was run, published checks left out."""
    read = (json.loads(path.read_text()) for path in sorted(folder.glob("offline-*.json")))
    return [result for result in read if "tenths" in result]


def lines(found: Iterable[Result]) -> Iterator[str]:
    """A Markdown table: hit rate / MRR of all scored events, and of each tenth."""
    yield "| log | model | HR@20 / MRR@20 | " + " | ".join(str(n) for n in range(2, 11)) + " | CPU seconds |"
    yield "|---|---|---|" + "---|" * 10
    for result in found:
        tenths = " | ".join(_pair(tenth) for tenth in result["tenths"])
        head = f"| {result['log']} | {result['model']} | {_pair(result['all'])} "
        yield f"{head}| {tenths} | {result['all']['seconds']:.0f} |"


def _pair(rates: Mapping[str, float]) -> str:
    return f"{rates['hit_rate']:.3f} / {rates['mrr']:.3f}".replace("0.", ".")


if __name__ == "__main__":
    print("\n".join(lines(results())))
