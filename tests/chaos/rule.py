"""Scenario 11: the rule of the four offsets against a model that crashes at every step, longer than in the tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.scenario import Scenario, Seen, Stage
from tests.core.test_offsets_model import EverythingDies


def rule(stage: Stage) -> Seen:
    """Random histories of deaths, takeovers, stalls, losses of the store, torn checkpoints and unknown outcomes."""
    histories, steps = (100, 50) if stage.short else (1_000, 100)
    run_state_machine_as_test(
        EverythingDies,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return {"histories": histories, "steps at most": steps}


SCENARIO = Scenario(11, "the rule of the four offsets", rule)
