"""All scenarios, in the order of the table."""

from __future__ import annotations

from tests.chaos.scenario import Scenario

SCENARIOS: list[Scenario] = []
