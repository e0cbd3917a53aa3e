"""What growth's lists are held against: a search that looks at every item."""

from __future__ import annotations

import numpy as np

from benchmarks.growth import _ExactSearch, best
from tests.model.lines import Line, markov_log


def test_where_the_search_is_exact_the_plainest_one_finds_the_same() -> None:
    """Of a small catalogue; and afterwards the learner searches as before."""
    line = Line()
    line.run(markov_log(1, 160), 16)
    learner, slots = line.learner, np.arange(4)
    usual, exact = best(learner, slots), _ExactSearch(learner)
    plain = exact.instead(lambda: best(learner, slots))
    assert exact.shared == [1.0]
    assert np.array_equal(plain.rows_UK, usual.rows_UK)
    np.testing.assert_allclose(plain.scores_UK, usual.scores_UK, rtol=1e-4)
    assert np.array_equal(best(learner, slots).rows_UK, usual.rows_UK)
    assert len(exact.shared) == 1
