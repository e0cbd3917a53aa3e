"""Explains where an item stands in a user's list, or what keeps it out: for one user and one item, at any cost of time.

Shape suffixes as in `encoder.encoder`; also S steps of a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.counting import returns
from model.counting.features import FEATURES
from model.counting.proposers import NO_PROPOSER, PROPOSERS
from model.items.content_table import BLOCKED, GONE, HELD, UNAVAILABLE
from model.items.decisions import APPROVE, WORDS
from model.items.likeness import LIKENESS
from model.learner import Learner
from model.lists.arranging import REASONS
from model.lists.lists import Lists
from model.pace import Pace
from model.ranker.ranker import Ranker
from model.reasons import KINDS

# Points of a path at which slopes are taken, so that the parts add up to the score within about a hundredth.
_STEPS = 512
_HIDDEN = {UNAVAILABLE: "not available", BLOCKED: "blocked", GONE: "gone", HELD: "on hold"}
_DECIDED = {"block": "blocked by decision", "hold": "held by decision"}
LEFT_OUT = "had already: users hardly ever return to an item after such an event"


class Part(NamedTuple):
    """The amount that a feature adds to an item's score, compared with the mean of the user's candidates."""

    feature: str
    value: float
    adds: float


@dataclass(frozen=True)
class Why:
    """The fate of an item in a user's list.

    proposer: who made it a candidate; empty for nobody
    rank, candidates: rank of the item by the ranker, 0 if it is no candidate, and the number of candidates
    score: its probability among the candidates
    place: place in the list, 0: it is not in it
    rule: the rule that keeps it out; empty if none does
    kind, cause: the reason, as it is published, and the catalogue row of the item that it names, -1: none
    weight: share of this reason
    parts: features by what they add, the largest first
    """

    proposer: str = ""
    rank: int = 0
    candidates: int = 0
    score: float = 0.0
    place: int = 0
    rule: str = ""
    kind: str = ""
    cause: int = -1
    weight: float = 0.0
    parts: tuple[Part, ...] = ()


def why(learner: Learner, slot: int, row: int) -> Why:
    """Return why an item is where it is in the list that the user would get now, at full effort."""
    predictor = learner.predictor
    context, ranking = predictor.stand(np.array([slot]), Pace(), learner.clock_ts)
    learner.list_maker.refresh(learner.events)
    lists = predictor.lists(context, ranking, learner.clock_ts)[learner.list_maker.default]
    at = np.flatnonzero(ranking.found.candidates_BC[0] == row)
    places = np.flatnonzero(lists.rows_UK[0] == row)
    found: dict[str, object] = {
        "candidates": int((ranking.found.candidates_BC[0] >= 0).sum()),
        "place": int(places[0]) + 1 if len(places) else 0,
        "rule": _rule(learner, context.users.windows_BL[0], context.users.types_BL[0], row),
    }
    if len(at):
        found |= _of_candidate(learner.ranker_trainer.optimizer.slow.module, ranking, int(at[0]))
    if not len(places) and not found["rule"] and 0 < found.get("rank", 0) <= lists.rows_UK.shape[1]:  # type: ignore[operator]
        found["rule"] = _left_out(lists)
    if len(places):
        because, k = lists.because, int(places[0])
        assert because is not None
        found |= {
            "kind": KINDS[because.kind_UK[0, k]],
            "cause": int(because.row_UK[0, k]),
            "weight": float(because.weight_UK[0, k]),
        }
    return Why(**found)  # type: ignore[arg-type]


def _left_out(lists: Lists) -> str:
    """Return that a rule of the list keeps a well-ranked item out, with how many each rule keeps out."""
    counts = zip(REASONS, lists.left_UR[0].tolist(), strict=True)
    told = ", ".join(f"{reason}: {count}" for reason, count in counts if count)
    return f"a rule of the list leaves it out, or its quotas are full (left out {told or 'nothing'})"


def _of_candidate(ranker: Ranker, ranking, at: int) -> dict[str, object]:  # type: ignore[no-untyped-def]
    scores_C, present_C = ranking.scores_BC[0], ranking.candidates_BC[0] >= 0
    proposer = int(ranking.found.proposers_BC[0, at])
    return {
        "proposer": "" if proposer == NO_PROPOSER else PROPOSERS[proposer],
        "rank": _rank(scores_C, at),
        "score": float(scores_C.softmax(dim=0)[at]),
        "parts": _parts(ranker, ranking.features_BCF[0, at], ranking.features_BCF[0][present_C].mean(dim=0)),
    }


def _rank(scores_C: Tensor, at: int) -> int:
    """Return the rank of a candidate in the order in which lists take them."""
    order_C = scores_C.topk(len(scores_C)).indices
    return int((order_C == at).nonzero()[0, 0]) + 1


def _parts(ranker: Ranker, x_F: Tensor, usual_F: Tensor) -> tuple[Part, ...]:
    """Return what each feature adds: integrated gradients (Sundararajan et al., 2017) from the usual candidate on."""
    shares_S1 = (torch.arange(_STEPS, device=x_F.device) + 0.5)[:, None] / _STEPS
    slope_F = ranker.slopes(usual_F + shares_S1 * (x_F - usual_F)).mean(dim=0)
    adds_F = ((x_F - usual_F) * slope_F).tolist()
    names = (*FEATURES, *LIKENESS)
    parts = [Part(names[f], value, adds_F[f]) for f, value in enumerate(x_F.tolist())]
    return tuple(sorted(parts, key=lambda part: -abs(part.adds)))


def _hidden_by(learner: Learner, bits: int, row: int) -> list[str]:
    """Return why no list may name an item. `bits`: the reasons in what is told of it."""
    decided = "" if learner.decisions is None else learner.decisions.of(learner.catalog.ids_of_rows(np.array([row])))[0]
    if decided == WORDS[APPROVE]:
        bits &= ~HELD
    words = [_DECIDED[decided]] if decided in _DECIDED else []
    if learner.decisions is not None and learner.decisions.hold_new and not decided:
        words.append("not approved yet")
    return words + [text for bit, text in _HIDDEN.items() if bits & bit]


def _rule(learner: Learner, window_L: NDArray[np.int32], type_L: NDArray[np.uint8], row: int) -> str:
    """Return the rule that keeps an item out; empty if there is none."""
    content = learner.content
    if content is not None and content.hidden_N[row]:
        return " and ".join(_hidden_by(learner, int(content.table.hidden_N[content.slot_N[row]]), row))
    own = np.flatnonzero(window_L == row)
    items = int(np.count_nonzero(learner.catalog.live_N))
    if len(own) and returns.are_over(learner.counting.tables.returns, int(type_L[own[-1]]), items):
        return LEFT_OUT
    return ""
