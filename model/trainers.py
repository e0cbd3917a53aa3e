"""Builds the trainers of a line, with the examples that they learn again, from its configuration."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.batch import TYPES
from model.encoder.encoder import Encoder
from model.encoder.losses import LOSSES
from model.encoder.replay import Replay
from model.encoder.trainer import EncoderTrainer
from model.encoder.window_starts import WindowStarts
from model.items.item_table import ItemTable
from model.learner_config import LearnerConfig
from model.ranker.ranker import Ranker, RecentChoices
from model.ranker.trainer import RankerTrainer


def of_ranker(config: LearnerConfig, ranker: Ranker, rng: np.random.Generator, device: torch.device) -> RankerTrainer:
    return RankerTrainer(
        ranker,
        RecentChoices(config.ranker_examples, device),
        rng,
        learning_rate=config.ranker_learning_rate,
        steps=config.ranker_steps,
        hard=config.ranker_hard,
        drawn=config.ranker_drawn,
        replayed=config.ranker_replayed,
    )


def of_encoder(
    config: LearnerConfig,
    encoder: Encoder,
    items: ItemTable,
    rng: np.random.Generator,
    is_target_T: NDArray[np.bool_],
) -> EncoderTrainer:
    """Build the encoder's trainer. is_target_T: True for the event types to predict, and those that are not in it."""
    return EncoderTrainer(
        encoder,
        items,
        # The ring of recent examples is an eighth of the reservoir, at least 256; not tuned.
        Replay(config.replay_capacity, recent=max(256, config.replay_capacity // 8)),
        WindowStarts(encoder, items, config.burn_in, config.stale_steps),
        rng,
        is_target_T=np.pad(is_target_T, (0, TYPES - len(is_target_T)), constant_values=True),
        targets=config.targets,
        criterion=LOSSES[config.loss],
        learning_rate=config.encoder_learning_rate,
        full_softmax_items=config.full_softmax_items,
        negatives=config.negatives,
        item_vectors_learned=config.item_vectors == "learned",
    )
