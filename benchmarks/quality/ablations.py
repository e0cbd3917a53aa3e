"""Ablations: the default model without one of its parts.

A part is removed from a fresh learner, before its first event: its features are 0 for the ranker, and it proposes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.counting.features import (
    BEHIND,
    CATEGORY,
    CONTEXT,
    COUNTS,
    ENCODER,
    FEATURES,
    OWN_LOGS,
    OWN_SIGNS,
    POPULARITIES,
)
from model.counting.proposers import PROPOSERS
from model.items.starts import ByContext
from model.learner import Learner
from model.ranker.ranker import Ranker
from stream_worker.config import Settings

Change = Callable[[Learner], None]


def _without(features: tuple[str, ...], sources: tuple[str, ...] = ()) -> Change:
    columns = [FEATURES.index(name) for name in features]

    def change(learner: Learner) -> None:
        learner.counting.quota_RS[:, [PROPOSERS.index(name) for name in sources]] = 0
        keep_F = torch.ones(len(FEATURES))
        keep_F[columns] = 0
        for ranker in (learner.ranker, learner.ranker_trainer.optimizer.slow.module):
            _hide(ranker, keep_F)

    return change


def _put(owner: object, method: str, other: Callable[..., Any]) -> None:
    """Replace a method of one object, not of its class."""
    setattr(owner, method, other)


def _hide(ranker: Ranker, keep_F: Tensor) -> None:
    forward = ranker.forward
    _put(ranker, "forward", lambda features, present: forward(features * keep_F, present))


def _amounts(*beginnings: str) -> tuple[str, ...]:
    return tuple(name for name in (*COUNTS, *POPULARITIES, *BEHIND) if name.startswith(beginnings))


def _without_lstm(learner: Learner) -> None:
    queries = learner.encoder.queries
    _put(learner.encoder, "queries", lambda h, *ring: queries(torch.zeros_like(h), *ring))


def _without_attention(learner: Learner) -> None:
    """Let the encoder attend to the newest item only."""
    queries = learner.encoder.queries

    def newest(h: Any, ring: Any, mask: Any) -> Any:
        only = torch.zeros_like(mask)
        only[:, -1] = mask[:, -1]
        return queries(h, ring, only)

    _put(learner.encoder, "queries", newest)


def _without_context_of_new_items(learner: Learner) -> None:
    start = learner.life.start
    assert isinstance(start, ByContext)
    _put(start, "near", lambda windows, noise: F.normalize(noise, dim=-1))


def _unchanged(learner: Learner) -> None:
    """Keep the defaults."""


PARTS: Mapping[str, Change] = {
    "nothing": _unchanged,
    "LSTM": _without_lstm,
    "attention": _without_attention,
    "encoder": _without(ENCODER, ("encoder",)),
    "who follows": _without(_amounts("next", "plain", "forward", "backward"), ("follows", "next")),
    "who goes together": _without(_amounts("cosine", "taste"), ("together",)),
    "two hops": _without(_amounts("two_hop"), ("two_hop",)),
    "own history": _without((*OWN_SIGNS, *OWN_LOGS), ("own",)),
    "popularity": _without((*_amounts("popularity"), "popularity_distance"), ("hot",)),
    "being behind the best": _without(BEHIND),
    "context": _without(CONTEXT),
    "category": _without(CATEGORY),
    "context of new items": _without_context_of_new_items,
    "encoder's replay": _unchanged,
    "ranker's replay": _unchanged,
}
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "encoder's replay": {"replayed": 0.0},
    "ranker's replay": {"ranker_replayed": 0},
}


def settings_without(part: str, settings: Settings) -> Settings:
    """Return settings without `part`, for parts that a setting switches off."""
    return replace(settings, model=replace(settings.model, **_SETTINGS.get(part, {})))
