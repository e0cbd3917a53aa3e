"""All scenarios, in the order of the table."""

from __future__ import annotations

from tests.chaos import (
    controls,
    cost,
    decided,
    disks,
    failovers,
    fuzz,
    growth,
    kills,
    made_again,
    markers,
    orders,
    outages,
    replays,
    rule,
    soak,
    stalls,
    steps,
    storm,
)
from tests.chaos.scenario import Scenario

SCENARIOS: list[Scenario] = [
    kills.KILLS,
    replays.KILLED_REPLAY,
    stalls.STALLS,
    storm.STORM,
    *outages.OUTAGES,
    *failovers.FAILOVERS,
    *disks.DISKS,
    *growth.GROWTH,
    made_again.MADE_AGAIN,
    markers.EMPTIED,
    steps.SCENARIO,
    fuzz.FUZZED,
    soak.SCENARIO,
    controls.SCENARIO,
    cost.SCENARIO,
    rule.SCENARIO,
    orders.SCENARIO,
    decided.DECIDED,
]
