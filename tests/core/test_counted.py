"""The numbers of counted events by partition."""

from __future__ import annotations

import numpy as np

from stream_worker.core.counted import Counted


def test_a_start_at_l_leaves_no_gap_in_the_state() -> None:
    """So the counts of a line that was stopped and went on are those of one that was not."""
    counted = Counted()
    counted.begin(0, 0)
    counted.add(np.array([0, 0]), np.array([True, True]))
    before = counted.state_dict()
    counted.skip(0, 2, 2)
    counted.skip(0, 2, 1)
    assert counted.state_dict() == before
    counted.skip(0, 2, 5)
    assert counted.state_dict()["gap"] == {"0": 3}
