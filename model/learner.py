"""The line: everything that learns, and the order in which it does. Predict, score, remember, then learn.

Legend in `encoder.encoder`; also X examined events, S slots or sampled rows, L ring entries.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch import TYPES, Batch, Outcome, Places
from model.counting.features import FEATURES
from model.counting.popularity import HALF_LIVES
from model.counting.walk import Counting, MapSlices, Users, WalkedEvents
from model.encoder.encoder import Encoder
from model.encoder.losses import LOSSES
from model.encoder.prefixes import fewest_windows
from model.encoder.remembering import IdsOfNumbers, Remembering
from model.encoder.replay import Replay
from model.encoder.trainer import EncoderTrainer
from model.encoder.window_starts import WindowStarts
from model.items.attic import Attic
from model.items.catalog import Catalog
from model.items.item_table import ItemTable
from model.items.lifecycle import ItemLife
from model.items.starts import ByContext, ByHash, Start
from model.learner_config import LearnerConfig
from model.optimizers.slow_copy import Referee
from model.optimizers.step_guard import StepGuard
from model.pace import Pace
from model.predictor import Context, Lists, Predictor, Ranking, users_of
from model.ranker.ranker import Ranker, RecentChoices
from model.ranker.trainer import RankerTrainer
from model.scoring import outcome_of
from model.state import (
    Arrays,
    generator_state,
    joined,
    load_generator,
    load_module,
    load_or_begin,
    load_parts,
    module_state,
    state_below,
    state_of_parts,
)
from model.user_table import Before, UserTable

# Parts of a state that may not fit: see `Learner.load_state_dict`.
ENCODER_WEIGHTS, ITEM_VECTORS, TRAINING_WINDOWS = "encoder", "item vectors", "training windows"
RANKER, TRAINING_CHOICES = "ranker", "training choices"
# Share of a mini-batch that is enough for a step: how many of so many events are drawn is random.
_ENOUGH = 0.75
_NO_ROWS = np.zeros(0, np.int32)
_HOT = HALF_LIVES.tolist().index(2_000.0)  # by which negatives are drawn
# Told when a stage of the tick, by name, begins and ends; the clock is the caller's.
Stage = Callable[[str], AbstractContextManager[None]]


def untimed(name: str) -> AbstractContextManager[None]:
    """The stage of a caller who has no clock."""
    return nullcontext()


class _Taken(NamedTuple):
    """B events that were taken in: their users before them, the rows of the rings then, and the LSTM's h then."""

    before: Before
    windows_BL: NDArray[np.int32]
    h_BH: Tensor


class Learner:
    """Encoder, ranker, counting, catalogue, replay and user table of one line, and their optimizers."""

    def __init__(
        self,
        config: LearnerConfig,
        device: torch.device,
        max_users: int,
        is_target_T: NDArray[np.bool_],
    ) -> None:
        """`is_target_T`: which types of events are to be predicted; types beyond those are."""
        self.config = config
        self.device = device
        torch.manual_seed(config.seed)
        self.events = 0
        self.steps = 0
        self.collected = 0  # events that were examined and not yet learned from
        self.clock_ts = 0.0
        self.rng = np.random.default_rng(config.seed)
        self.catalog = Catalog(config.max_items, config.min_items, config.item_expiry_days * 86_400)
        self.attic = Attic(config.attic_items)
        self.users = UserTable(max_users, config.ring_size, config.dim, device)
        self.encoder = Encoder(config.encoder).to(device)
        self.ranker = Ranker(len(FEATURES)).to(device)
        self.counting = Counting(config.counting, self.catalog.capacity)
        self.items = ItemTable(self.catalog.capacity, config.dim, device)
        self.life = ItemLife(self.catalog, self.items, self.counting, self.attic, self._start())
        hashed = config.item_vectors == "hashed"
        self.remembering = Remembering(self.encoder, self.items, self.catalog, self.users, hashed)
        self.ranker_trainer = self._ranker_trainer()
        self.encoder_trainer = self._encoder_trainer(is_target_T)
        self.predictor = Predictor(
            config, self.encoder, self.items, self.catalog, self.counting, self.users, self.ranker_trainer
        )

    def _start(self) -> Start:
        if self.config.item_vectors == "hashed":
            return ByHash(self.catalog, self.config.dim)
        return ByContext(self.items, self.config.window, self.rng)

    def _ranker_trainer(self) -> RankerTrainer:
        config = self.config
        return RankerTrainer(
            self.ranker,
            RecentChoices(config.ranker_examples, self.device),
            self.rng,
            learning_rate=config.ranker_learning_rate,
            steps=config.ranker_steps,
            hard=config.ranker_hard,
            drawn=config.ranker_drawn,
            replayed=config.ranker_replayed,
        )

    def _encoder_trainer(self, is_target_T: NDArray[np.bool_]) -> EncoderTrainer:
        config = self.config
        return EncoderTrainer(
            self.encoder,
            self.items,
            Replay(config.replay_capacity, recent=max(256, config.replay_capacity // 8)),
            WindowStarts(self.encoder, self.items, config.burn_in, config.stale_steps),
            self.rng,
            is_target_T=np.pad(is_target_T, (0, TYPES - len(is_target_T)), constant_values=True),
            targets=config.targets,
            criterion=LOSSES[config.loss],
            learning_rate=config.encoder_learning_rate,
            full_softmax_items=config.full_softmax_items,
            negatives=config.negatives,
            item_vectors_learned=config.item_vectors == "learned",
        )

    # -- one tick ----------------------------------------------------------------------------------------------

    def learn(self, batch: Batch, pace: Pace, stage: Stage = untimed) -> Outcome:
        """Predict each event from what came before it and remember it; then collect what is to be learned from it.

        A mini-batch at a time, which is larger the fewer of its events are examined; weights make their step before
        the next one, or when `step` is called: lists need not wait for it."""
        size = self.config.mini_batch * pace.thinning
        starts = range(0, max(1, len(batch)), size)
        return Outcome.joined([self._learn(batch, slice(at, at + size), pace, stage) for at in starts])

    def step(self, pace: Pace, unborn: NDArray[np.int32] = _NO_ROWS, stage: Stage = untimed) -> dict[str, float]:
        """Learn from what was collected, as soon as it is enough. Returns the losses, by part.

        The encoder learns from `replayed` times as many older targets as there were events. `unborn`: rows of items
        that come only later."""
        if self.collected < _ENOUGH * self.config.mini_batch:
            return {}
        with stage("learn"):
            losses = {"ranker": self.ranker_trainer.learn(self.events, pace.rate_factor)}
            losses["encoder"] = self._step_encoder(pace, unborn)
            self.collected = 0
            self.steps += 1
        return {name: loss for name, loss in losses.items() if loss is not None}

    def _step_encoder(self, pace: Pace, unborn: NDArray[np.int32]) -> float | None:
        replayed = int(self.collected * self.config.replayed * pace.replay_share)
        live = self.catalog.live_rows()
        if len(unborn):
            live = np.setdiff1d(live, unborn, assume_unique=True)
        hot_N = self.counting.tables.popularity.weight_PN[_HOT]
        return self.encoder_trainer.learn(replayed, live, hot_N, self.catalog, pace.rate_factor)

    def _learn(self, whole: Batch, piece: slice, pace: Pace, stage: Stage) -> Outcome:
        """Learn one mini-batch. Items that the rest of the whole batch brings have rows already, which nobody may name
        or learn yet."""
        batch, unborn = whole.piece(piece), whole.new_rows(piece.start)
        losses = self.step(pace, unborn, stage)
        places = self._drawn(len(batch), pace)
        with stage("remember"):
            taken = self._take_in(whole, piece)
            queries_XD = self.predictor.queries(taken.h_BH[places], taken.windows_BL[places])
        events = WalkedEvents(batch.row_B, batch.category_B, batch.learn_B, _mask(places, len(batch)))
        with stage("predict"):
            context = Context(self._users_before(batch, taken), queries_XD)
            ranking = self.predictor.rank(context, events, pace, unborn)
            outcome = self._score(batch, taken, places, ranking, len(self.catalog) - len(unborn))
        with stage("learn"):
            if self.config.learning:
                self._collect(batch.piece(places), taken.before.at(places), taken.windows_BL[places], ranking)
        outcome.losses.update(losses)
        self._count(batch)
        return outcome.among(events.examine_B, taken.windows_BL)

    def _drawn(self, count: int, pace: Pace) -> Places:
        """Which of so many events are examined."""
        if pace.thinning == 1:
            return slice(None)
        return np.flatnonzero(self.rng.random(count) * pace.thinning < 1)

    def _take_in(self, whole: Batch, piece: slice) -> _Taken:
        """Remember the events of one piece."""
        batch = whole.piece(piece)
        before = self.users.push(batch)
        windows_BL = whole.born(self.catalog.rows_of_numbers(before.number_BL), piece.start)
        self.life.begin(batch, windows_BL, self.events)
        return _Taken(before, windows_BL, self.remembering.read(batch, before))

    def _users_before(self, batch: Batch, taken: _Taken) -> Users:
        before = taken.before
        clock_B = np.maximum.accumulate(np.concatenate([[self.clock_ts], batch.ts_B]))[:-1]
        return users_of(taken.windows_BL, before.type_BL, before.gap_BL, clock_B, before.ts_B)

    def _score(self, batch: Batch, taken: _Taken, places: Places, ranking: Ranking, items_before: int) -> Outcome:
        age_B = np.where(batch.new_B, -1, self.events + np.cumsum(batch.learn_B) - self.catalog.born_N[batch.row_B])
        lists = self.predictor.lists(ranking)
        return outcome_of(
            batch.piece(places), taken.before.at(places), taken.windows_BL[places], ranking, lists, age_B[places],
            items_before,
        )  # fmt: skip

    def _count(self, batch: Batch) -> None:
        """Move the line's clocks past a mini-batch."""
        self.clock_ts = max(self.clock_ts, float(batch.ts_B.max(initial=0.0)))
        self.catalog.see(batch.row_B[batch.learn_B], self.events, self.clock_ts)
        self.events += int(batch.learn_B.sum())
        self.life.add_back(batch, self.events)

    def remember(self, batch: Batch, stage: Stage = untimed) -> None:
        """Only bring the memories up to date, with events that were learned before."""
        with stage("remember"):
            self._take_in(batch, slice(0, len(batch)))
        self.life.add_back(batch, self.events)

    def rebuild(self, slots: NDArray[np.int64], ids_of_numbers: IdsOfNumbers) -> None:
        """Make (h, c) of users anew: see `Remembering.rebuild`."""
        self.remembering.rebuild(slots, ids_of_numbers)

    def recommend(self, slots: NDArray[np.int64], pace: Pace, each: MapSlices = map) -> Lists:
        """Lists for users as they stand now: see `Predictor.recommend`."""
        return self.predictor.recommend(slots, pace, self.clock_ts, each)

    # -- items -------------------------------------------------------------------------------------------------

    def make_room(self, count: int) -> NDArray[np.int64]:
        """Evict items before a batch that may bring `count` new ones: see `ItemLife.make_room`."""
        return self.life.make_room(count, self.events, self.clock_ts)

    def add_items(self, ids: list[str], numbers: list[int]) -> NDArray[np.int32]:
        """Give new items rows: see `ItemLife.add`."""
        return self.life.add(ids, numbers, self.events, self.clock_ts)

    # -- learn -------------------------------------------------------------------------------------------------

    def _collect(self, batch: Batch, before: Before, windows_XL: NDArray[np.int32], ranking: Ranking) -> None:
        """Keep what is to be learned from a batch of X events that all were examined."""
        scored = np.flatnonzero(batch.learn_B & batch.target_B)
        self.ranker_trainer.collect(
            ranking.candidates_BC,
            ranking.features_BCF,
            ranking.scores_BC,
            torch.from_numpy(batch.row_B).to(self.device).long(),
            torch.from_numpy(scored).to(self.device),
            self.steps,
        )
        self._collect_windows(batch, before, windows_XL, scored)
        self.collected += int(batch.learn_B.sum())

    def _collect_windows(
        self, batch: Batch, before: Before, windows_XL: NDArray[np.int32], scored: NDArray[np.int64]
    ) -> None:
        kept = self.config.burn_in + self.config.window
        usable = scored[windows_XL[scored, -1] >= 0]
        # Where rings stood still, an event is not in the window of the next one.
        targets = self.config.targets if batch.enters_rings().all() else 1
        chosen, counts = fewest_windows(batch.slot_B[usable], before.occurrence_B[usable], targets)
        usable = usable[chosen]
        self.encoder_trainer.collect(
            {
                "window": windows_XL[usable, -kept:],
                "type": before.type_BL[usable, -kept:],
                "gap": before.gap_BL[usable, -kept:],
                "target": batch.row_B[usable],
                "targets": counts,
                "generation": np.full(len(usable), self.catalog.generation),
            }
        )

    # -- when learning goes wrong ------------------------------------------------------------------------------

    @property
    def guards(self) -> dict[str, StepGuard]:
        """What was not learned, by part."""
        return {"encoder": self.encoder_trainer.optimizer.guard, "ranker": self.ranker_trainer.optimizer.guard}

    @property
    def referees(self) -> dict[str, Referee]:
        """The weights against their slow copy, by part."""
        return {"encoder": self.encoder_trainer.optimizer.referee, "ranker": self.ranker_trainer.optimizer.referee}

    def roll_back(self) -> None:
        """The weights' slow copy from now on, with optimizers that know nothing; what was counted stays."""
        self.encoder_trainer.roll_back()
        self.ranker_trainer.roll_back()

    # -- state -------------------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, Any]:
        """What a state is made of, by its name there; all but the items and the catalogue."""
        trainers = {"encoder_trainer": self.encoder_trainer, "ranker_trainer": self.ranker_trainer}
        return {"counting": self.counting, "attic": self.attic, **trainers}

    def state_dict(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays by dotted name and JSON scalars: all of the line except the users' memories."""
        states = {"catalog": self.catalog.state_dict(), "items": self.items.state_dict(self.catalog.rows_used)}
        for name, module in (("encoder", self.encoder), ("ranker", self.ranker)):
            states[name] = module_state(module)
        arrays = state_of_parts(self._parts()) | joined(states)
        meta = {
            "events": self.events,
            "steps": self.steps,
            "collected": self.collected,
            "clock_ts": self.clock_ts,
            "rng": generator_state(self.rng),
        }
        return arrays, meta

    def load_state_dict(self, arrays: Arrays, meta: dict[str, Any], numbers: list[int]) -> dict[str, str]:
        """`numbers`: the store's item numbers of `Catalog.ids_of_state(state_below(arrays, "catalog"))`.

        Returns why, by name, of the parts that the state does not fit: they begin anew. Catalogue, counts and attic
        have to fit; raises ValueError and KeyError."""
        fresh = {name: array.copy() for name, array in self.state_dict()[0].items()}
        self.catalog.load_state_dict(state_below(arrays, "catalog"), numbers)
        load_parts({"counting": self.counting, "attic": self.attic}, arrays)
        if self.counting.rows < self.catalog.capacity:
            self.counting.grow(self.catalog.capacity)
        self.events, self.steps, self.clock_ts = meta["events"], meta["steps"], meta["clock_ts"]
        self.collected = meta["collected"]
        load_generator(self.rng, meta["rng"])
        anew = load_or_begin(self._loads(), arrays, fresh)
        if ITEM_VECTORS in anew:
            self.life.start_all_anew()
        if ENCODER_WEIGHTS in anew and TRAINING_WINDOWS not in anew:
            anew[TRAINING_WINDOWS] = "their states are of another encoder"
            self.encoder_trainer.load_examples(state_below(fresh, "encoder_trainer"))
        if RANKER in anew and TRAINING_CHOICES not in anew:
            anew[TRAINING_CHOICES] = "their features are of another ranker"
            self.ranker_trainer.load_examples(state_below(fresh, "ranker_trainer"))
        return anew

    def _loads(self) -> dict[str, Callable[[Arrays], None]]:
        """What may begin anew without the rest, by name."""

        def encoder(arrays: Arrays) -> None:
            load_module(self.encoder, state_below(arrays, "encoder"))
            self.encoder_trainer.load_optimizer(state_below(arrays, "encoder_trainer"))

        def ranker(arrays: Arrays) -> None:
            load_module(self.ranker, state_below(arrays, "ranker"))
            self.ranker_trainer.load_optimizer(state_below(arrays, "ranker_trainer"))

        return {
            ITEM_VECTORS: lambda arrays: self.items.load_state_dict(
                state_below(arrays, "items"), self.catalog.capacity
            ),
            ENCODER_WEIGHTS: encoder,
            TRAINING_WINDOWS: lambda arrays: self.encoder_trainer.load_examples(state_below(arrays, "encoder_trainer")),
            RANKER: ranker,
            TRAINING_CHOICES: lambda arrays: self.ranker_trainer.load_examples(state_below(arrays, "ranker_trainer")),
        }


def _mask(places: Places, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, np.bool_)
    mask[places] = True
    return mask
