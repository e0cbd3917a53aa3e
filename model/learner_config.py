"""`[model]` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Interval
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import dataclasses as checked

from model.counting.walk import CountingConfig
from model.encoder.encoder import EncoderConfig


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class LearnerConfig:
    """`[model]`: sizes, rates and losses of the model. One set of defaults serves all logs.

    Pages named here are in docs/experiments.
    """

    #: Units: width of item vectors and of the LSTM's state (D and H). Records in Redis and users on the device grow
    #: with it. Not tuned.
    dim: Annotated[int, Ge(4)] = 64
    #: Events of one step of the weights. 192 cost up to .003 of the hit rate, 96 cost time (mini-batches).
    mini_batch: PositiveInt = 128
    #: Events of a user that are remembered, the last ones: how much is remembered of a user. A byte counts them. 255
    #: instead of 50 gains .017 of the hit rate on ml100k (ring); take 50 where Redis has to be small.
    ring_size: Annotated[int, Interval(ge=2, le=255)] = 255
    #: Events that attention and training windows see, the newest of a ring; at most `ring_size`. 8 is as good as 10 and
    #: cheaper; 6 lost .005 on ml100k (smaller).
    window: PositiveInt = 8
    #: Events before a training window that its LSTM state is computed from; at most `ring_size` - `window`. With 0 the
    #: state begins at zero. 10 to 40 gained nothing and cost up to half of the learning's time (window-starts).
    burn_in: NonNegativeInt = 0
    #: Steps of the weights after which the state before a training window is computed again. Acts only with `burn_in`.
    stale_steps: NonNegativeInt = 1_000
    #: Items of a published list; at most `candidates`. Hit rates keep the k of `monitor.hit_rate_k`.
    list_length: PositiveInt = 20
    #: Items in the catalogue. When it is full, those not seen for longest leave. At least twice `worker.batch_size`. A
    #: row takes about 1 KB, so the default at most 500 MB (ADR 0008).
    max_items: Annotated[int, Ge(64)] = 500_000
    #: Items that stay in the catalogue however old they are, so that a long silence does not empty it (ADR 0008).
    min_items: NonNegativeInt = 1_000
    #: Days of event time without an event after which an item leaves the catalogue; 0: never (ADR 0008).
    item_expiry_days: NonNegativeFloat = 0.0
    #: Items that left, the last ones, whose vector and popularity are kept for their return; about 200 bytes each
    #: (ADR 0008).
    attic_items: NonNegativeInt = 100_000
    #: Items in a row of the table that counts which item follows which. 64 lost .012 of the hit rate on ml100k; 1,024
    #: gained .001 for twice the time (neighbours).
    neighbours: Annotated[int, Ge(4)] = 256
    #: Items that the ranker orders for one list. 112 lost .012 on uci before the second round; 144 gained nothing
    #: (candidates-in-two-rounds, smaller).
    candidates: PositiveInt = 128
    #: Items among the candidates that the encoder proposes. 64 gained nothing (encoder-steps).
    encoder_candidates: NonNegativeInt = 32
    #: Items that the encoder searches: of a larger catalogue those seen last. An event of a million items then costs
    #: 1.8 times the time of a small catalogue instead of 28 times (ADR 0014).
    encoder_items: PositiveInt = 32_768
    #: Share of the LSTM's output that is zeroed while learning. .2 made no difference (encoder-steps).
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.4
    #: Step size of Adam for the encoder and the item vectors. One step at 7e-3 is as good as two at 3.5e-3
    #: (encoder-steps).
    encoder_learning_rate: PositiveFloat = 7e-3
    #: Step size of Adam for the ranker. Not tuned alone.
    ranker_learning_rate: PositiveFloat = 2e-3
    #: Steps of the ranker per mini-batch. The third gained .0005 of MRR on globo for 30 microseconds an event (ranker).
    ranker_steps: PositiveInt = 3
    #: Loss of the encoder. bpr_max lost .002 to .003 of the hit rate (loss).
    loss: Literal["softmax", "bpr_max"] = "softmax"
    #: Replayed predictions per new event: how often the encoder learns from earlier windows again. 2 lost .001 on
    #: yoochoose (encoder-steps).
    replayed: NonNegativeFloat = 2.5
    #: Events that one training window predicts; a byte counts them. 3 instead of 1 makes learning 9 to 24 % cheaper at
    #: the same quality; 4 lost .003 on ml100k (ADR 0011, predictions-a-window).
    targets: Annotated[int, Interval(ge=1, le=255)] = 3
    #: Candidates, the strongest rivals, that a choice of the ranker is learned against. 20 were no better, 8 lost .003
    #: on ml100k (ranker, smaller).
    ranker_hard: NonNegativeInt = 12
    #: Candidates, drawn from the other rivals, that a choice of the ranker is learned against; each stands for its
    #: share of them (ranker).
    ranker_drawn: PositiveInt = 7
    #: Choices, earlier ones, that each step of the ranker learns again. 32 lost .0015 on ml100k, 96 gained nothing
    #: (loss).
    ranker_replayed: NonNegativeInt = 64
    #: Choices kept to be learned again, the last ones. Not tuned.
    ranker_examples: PositiveInt = 2_048
    #: Items up to which the encoder's loss compares a target with the whole catalogue. 8,000 gained nothing (ranker).
    full_softmax_items: NonNegativeInt = 4_000
    #: Items drawn to compare a target with, in catalogues above `full_softmax_items`. 2,048 are no better (loss).
    negatives: PositiveInt = 1_024
    #: Training windows kept to be learned again, the last ones. Not tuned.
    replay_capacity: PositiveInt = 20_000
    #: Whether the weights take steps. Counting and remembering go on without.
    learning: bool = True
    #: "hashed": an item's vector follows from its id alone and is never learned. With `learning` off as well, the LSTM
    #: state follows from a user's events and `seed` alone.
    item_vectors: Literal["learned", "hashed"] = "learned"
    #: Seed of the first weights and of every random draw.
    seed: int = 0

    def __post_init__(self) -> None:
        if self.window > self.ring_size:
            raise ValueError(f"model.window: must be at most ring_size ({self.ring_size}), got {self.window}")
        if self.burn_in > self.ring_size - self.window:
            most = self.ring_size - self.window
            raise ValueError(f"model.burn_in: must be at most ring_size - window ({most}), got {self.burn_in}")
        if self.list_length > self.candidates:
            raise ValueError(
                f"model.list_length: must be at most candidates ({self.candidates}), got {self.list_length}"
            )

    @property
    def encoder(self) -> EncoderConfig:
        return EncoderConfig(dim=self.dim, window=self.window, dropout=self.dropout)

    @property
    def counting(self) -> CountingConfig:
        return CountingConfig(neighbours=self.neighbours, candidates=self.candidates)
