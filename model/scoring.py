"""Scores of predictions: rank and probability of the item of each event."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch import Batch, Outcome
from model.predictor import Ranking
from model.ranking import rank_of
from model.user_table import Before

# Shares of the probability: of the ranker's candidates, and, evenly, of the whole catalogue, so that no item has a
# probability of 0. Not tuned.
_AMONG_CANDIDATES, _AMONG_ALL = 0.99, 0.01


@torch.no_grad()
def outcome_of(
    batch: Batch,
    before: Before,
    windows_BL: NDArray[np.int32],
    ranking: Ranking,
    predicted_BK: NDArray[np.int32],
    after_BK: NDArray[np.int32],
    listed_B: NDArray[np.int64],
    age_B: NDArray[np.int64],
    items_before: int,
) -> Outcome:
    """Return the outcome of B examined events.

    before: the users' tables before each event
    windows_BL: item rows of the rings before each event, -1: none
    ranking, predicted_BK: the predictions, and rows of the best items of each
    after_BK, listed_B: the lists after the rules, and places in them; see `Outcome`
    age_B: events learned since the item's first event, -1: this is its first
    items_before: number of items before these events
    """
    target_B = torch.from_numpy(batch.row_B).to(ranking.scores_BC.device).long()
    log_probability_B = _log_probability(ranking, target_B, items_before)
    rank_B = rank_of(ranking.scores_BC, ranking.candidates_BC, target_B).cpu().numpy()
    return Outcome(
        rank_B=ranking.found.filling.ranks(rank_B, ranking.found.candidates_BC, batch.row_B),
        proposer_B=ranking.found.proposer_B,
        age_B=age_B,
        log_probability_B=log_probability_B.cpu().numpy().astype(np.float64),
        repeat_B=((before.number_BL == batch.number_B[:, None]) & (before.number_BL > 0)).any(axis=1),
        first_B=(before.number_BL == 0).all(axis=1),
        examined_B=np.ones(len(batch), np.bool_),
        windows_BL=windows_BL,
        list_BK=predicted_BK,
        after_BK=after_BK,
        listed_B=listed_B,
    )


def _log_probability(ranking: Ranking, target_B: Tensor, items: int) -> Tensor:
    """Return log(.99 * P(target among the candidates, by the ranker) + .01 / items)."""
    is_target = ranking.candidates_BC == target_B[:, None]
    among = torch.where(is_target, ranking.scores_BC.softmax(dim=1), 0.0).sum(dim=1).nan_to_num()
    return torch.log(_AMONG_CANDIDATES * among + _AMONG_ALL / max(1, items))
