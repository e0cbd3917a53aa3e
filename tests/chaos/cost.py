"""Scenario 10: what exactly-once costs, by the benchmark of its own. A speed, so no part of the short form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.chaos.scenario import Scenario, Seen, Stage

LEAST_RATIO = 0.9
_ROOT = Path(__file__).parents[2]


def cost(stage: Stage) -> Seen:
    """Five pairs, interleaved; the median of events/s with transactions over events/s without."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.exactly_once"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((_ROOT / "benchmarks" / "results" / "exactly_once.json").read_text())
    assert result["ratio_median"] >= LEAST_RATIO, f"the ratio is {result['ratio_median']}, of {result['ratios']}"
    return {"pairs": len(result["ratios"]), "median ratio": result["ratio_median"]}


SCENARIO = Scenario(10, "what exactly-once costs", cost, in_short=False)
