"""Lists of items for users, and what they are made of.

Shape suffixes: U users, C candidates, M rows that may stand in a list, K places of a list, R reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.counting.proposers import NO_PROPOSER
from model.lists.arranging import REASONS


class Because(NamedTuple):
    """The cause of each item of U lists.

    kind_UK: place in `counting.causes.KINDS`, -1 behind the last item
    row_UK: row of the item of the user's history that it came from, -1: of none
    weight_UK: share of this cause among all that speak for the item
    """

    kind_UK: NDArray[np.int8]
    row_UK: NDArray[np.int32]
    weight_UK: NDArray[np.float32]

    @staticmethod
    def joined(parts: Sequence[Because]) -> Because:
        """Concatenate the causes of several groups of users."""
        return Because(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Lists:
    """The K best items of each user, best first.

    rows_UK: catalogue rows, -1 behind the last item
    scores_UK: probabilities among the candidates
    proposer_UK: places in `proposers.PROPOSERS`, NO_PROPOSER for items that only fill a list up
    promoted_UK: True for items that a promotion asked for
    left_UR: how many items were left out, by reason (`arranging.REASONS`)
    because: why each item is in its list; None where nobody asks
    """

    rows_UK: NDArray[np.int32]
    scores_UK: NDArray[np.float32]
    proposer_UK: NDArray[np.int8]
    promoted_UK: NDArray[np.bool_]
    left_UR: NDArray[np.int32]
    because: Because | None = None

    def short(self, user: int) -> dict[str, int]:
        """Return how many items a user's list lacks, and how many were left out, by reason."""
        missing = int((self.rows_UK[user] < 0).sum())
        left = zip(REASONS, self.left_UR[user].tolist(), strict=True)
        return {"missing": missing} | {reason: count for reason, count in left if count}

    @staticmethod
    def joined(parts: Sequence[Lists]) -> Lists:
        """Concatenate lists of several groups of users."""
        names = "rows_UK", "scores_UK", "proposer_UK", "promoted_UK", "left_UR"
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        reasons = [part.because for part in parts if part.because is not None]
        return Lists(**columns, because=Because.joined(reasons) if reasons else None)


@dataclass(frozen=True)
class Ranked:
    """Candidates of U users, best first, and the items that fill lists up: what may stand in their lists.

    rows_UM: catalogue rows, -1: none
    value_UM: log-probability among the candidates, -inf for items that fill up
    proposer_UM: places in `proposers.PROPOSERS`, or NO_PROPOSER
    """

    rows_UM: NDArray[np.int32]
    value_UM: NDArray[np.float64]
    proposer_UM: NDArray[np.int8]

    def at(
        self,
        rows_UM: NDArray[np.int32],
        picks_UK: NDArray[np.int32],
        promoted_UK: NDArray[np.bool_],
        left_UR: NDArray[np.int32],
    ) -> Lists:
        """Return the lists of the items at some places.

        rows_UM: the rows, those of the reserve behind them
        picks_UK: places of the lists' items, -1: none
        """
        none_UK = picks_UK < 0
        own_UK = ~none_UK & (picks_UK < self.rows_UM.shape[1])
        places_UK = np.where(own_UK, picks_UK, 0)
        value_UK = np.take_along_axis(self.value_UM, places_UK, axis=1)
        proposer_UK = np.take_along_axis(self.proposer_UM, places_UK, axis=1)
        rows_UK = np.take_along_axis(rows_UM, np.maximum(picks_UK, 0), axis=1)
        return Lists(
            rows_UK=np.where(none_UK, -1, rows_UK).astype(np.int32),
            scores_UK=np.where(own_UK, np.exp(value_UK), 0.0).astype(np.float32),
            proposer_UK=np.where(own_UK, proposer_UK, NO_PROPOSER).astype(np.int8),
            promoted_UK=promoted_UK,
            left_UR=left_UR,
        )
