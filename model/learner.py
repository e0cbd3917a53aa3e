"""Learns a batch: takes events into memories, predicts each from the state before it, and collects examples.

Shape suffixes as in `encoder.encoder`; also X examined events, S slots or sampled rows, L ring entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import examining, learner_state, sets, trainers
from model.batch import Batch, Outcome, Places
from model.counting.features import FEATURES
from model.counting.popularity import HALF_LIVES
from model.counting.walk import Counting, MapSlices, Users, WalkedEvents
from model.encoder.encoder import Encoder
from model.encoder.prefixes import fewest_windows, most_targets
from model.encoder.remembering import IdsOfNumbers, Remembering
from model.items.attic import Attic
from model.items.catalog import Catalog
from model.items.content import Content
from model.items.content_starts import ByContent
from model.items.content_table import Descriptions
from model.items.decisions import Decisions
from model.items.item_table import ItemTable
from model.items.lifecycle import ItemLife
from model.items.likeness import LIKENESS
from model.items.rule_columns import NO_RULES, RuleValues
from model.items.starts import ByContext, ByHash, Start
from model.learner_config import LearnerConfig
from model.lists.list_maker import ListMaker
from model.lists.lists import Lists
from model.lists.rules import ListRules, best_alone
from model.optimizers.slow_copy import Referee
from model.optimizers.step_guard import StepGuard
from model.pace import Pace
from model.predictor import Context, Predictor, Ranking, users_of
from model.ranker.ranker import Ranker
from model.scoring import outcome_of
from model.state import Arrays
from model.user_table import Before, UserTable
from model.weights.between_steps import BetweenSteps

# The weights step once this share of a mini-batch is collected: under thinning the number of examined events is random.
# Not tuned.
_ENOUGH = 0.75
# Heard events that are so far behind the clock count for pairs and all-time popularity alone, since the shorter
# half-lives are about what is hot now. Not tuned.
_LATE_SECONDS = 600.0
_NO_ROWS, _NO_ROLES = np.zeros(0, np.int32), np.zeros(0, np.int8)
# Negatives are drawn by the counts with this half-life, in events, as in docs/experiments/loss.md.
_HOT = HALF_LIVES.tolist().index(2_000.0)
# Context manager per named stage of a tick; the caller measures time with it.
Stage = Callable[[str], AbstractContextManager[None]]


def untimed(name: str) -> AbstractContextManager[None]:
    """Return a stage that measures nothing."""
    return nullcontext()


class _Taken(NamedTuple):
    """State of the users of B events before each event, or before its set.

    before: the tables
    windows_BL: item rows of the rings
    chain_B: see `sets.chains`
    """

    before: Before
    windows_BL: NDArray[np.int32]
    chain_B: NDArray[np.int64]

    def at(self, places: Places) -> _Taken:
        return _Taken(self.before.at(places), self.windows_BL[places], self.chain_B[places])


class Learner:
    """Encoder, ranker, counting, catalogue, replay buffer and user table of one line, with their optimizers."""

    def __init__(
        self,
        config: LearnerConfig,
        device: torch.device,
        max_users: int,
        is_target_T: NDArray[np.bool_],
        described: bool = False,
        max_heard: int = 0,
        scenarios: Mapping[str, ListRules] | None = None,
        role_T: NDArray[np.int8] = _NO_ROLES,
        unknown: RuleValues = NO_RULES,
        decisions: Decisions | None = None,
    ) -> None:
        """Build all parts.

        max_users, max_heard: users of owned and of heard partitions on the device; the least recently used are evicted
        is_target_T: True for the event types to predict; types that are not in it are predicted, too
        described: True if something besides the events tells what items are (`change_items`)
        scenarios: the rules of each list, the default one first; None: one list of the best candidates
        role_T: the role of each event type (`lists.rules.ROLES`)
        unknown: what the rules of lists say of an item of which nothing is known, M = 1
        decisions: what is decided of items (`ItemLife.decide`); None where nobody decides
        """
        self.config = config
        self.device = device
        torch.manual_seed(config.seed)
        self.events = 0  # counted ones: own and heard
        self.examined = 0  # own ones that were learned, and heard ones that were examined
        self.steps = 0
        self.collected = 0  # examined events since the last step of the weights
        self.clock_ts = 0.0
        self.between_steps: BetweenSteps | None = None  # None: no other line has a part in the weights
        self.family = ""  # lines that began as one have the same; only these bring their weights together
        self.rng = np.random.default_rng(config.seed)
        self.catalog = Catalog(config.max_items, config.min_items, config.item_expiry_days * 86_400)
        self.attic = Attic(config.attic_items)
        self.users = UserTable(max_users, config.ring_size, config.dim, device, max_heard)
        self.encoder = Encoder(config.encoder).to(device)
        self.decisions = decisions
        told_of = described or decisions is not None
        self.content = Content(self.catalog, decisions, described, unknown) if told_of else None
        self.ranker = Ranker(len(FEATURES), more=len(LIKENESS) if described else 0).to(device)
        self.counting = Counting(config.counting, self.catalog.capacity)
        self.items = ItemTable(self.catalog.capacity, config.dim, device)
        self.list_maker = ListMaker(
            scenarios or {"default": best_alone(config.list_length)},
            role_T,
            self.catalog,
            self.counting,
            self.items,
            self.content,
        )
        self.life = ItemLife(
            self.catalog, self.items, self.counting, self.attic, self._start(), self.list_maker, self.content
        )
        hashed = config.item_vectors == "hashed"
        self.remembering = Remembering(self.encoder, self.items, self.catalog, self.users, hashed)
        self.ranker_trainer = trainers.of_ranker(config, self.ranker, self.rng, device)
        self.encoder_trainer = trainers.of_encoder(config, self.encoder, self.items, self.rng, is_target_T)
        self.predictor = Predictor(
            config,
            self.encoder,
            self.items,
            self.catalog,
            self.counting,
            self.users,
            self.ranker_trainer,
            self.list_maker,
            self.content,
        )

    def _start(self) -> Start:
        if self.config.item_vectors == "hashed":
            return ByHash(self.catalog, self.config.dim)
        context = ByContext(self.items, self.config.window, self.rng)
        if self.content is None or not self.content.described:
            return context
        return ByContent(context, self.content, self.items, self.catalog)

    # -- one tick ----------------------------------------------------------------------------------------------

    def learn(self, batch: Batch, pace: Pace, stage: Stage = untimed) -> Outcome:
        """Predict each event from the events before it, remember it, then collect training examples from it.

        Works in mini-batches of `mini_batch * thinning` own events, which cut no set; heard events are counted between
        them, and examined at their own rate. The weights step before the next mini-batch or when `step` is called, so
        that lists need not wait for the last step.
        """
        if self.content is not None:
            batch = replace(batch, category_B=self.content.named(batch.row_B, batch.category_B))
        self.list_maker.refresh(self.events)
        pieces = examining.mini_batches(batch, pace, self.config.mini_batch)
        return Outcome.joined([self._learn(batch, at, pace, stage) for at in pieces])

    def step(self, pace: Pace, unborn: NDArray[np.int32] = _NO_ROWS, stage: Stage = untimed) -> dict[str, float]:
        """Step the weights if enough examples are collected. Returns the losses by part, none without a step.

        unborn: rows of items that first appear later in the batch; they are no negatives yet
        """
        if self.collected < _ENOUGH * self.config.mini_batch:
            return {}
        with stage("learn"):
            if self.between_steps is not None:
                self.between_steps.before_step()
            losses = {"ranker": self.ranker_trainer.learn(self.examined, pace.rate_factor)}
            losses["encoder"] = self._step_encoder(pace, unborn)
            self.collected = 0
            self.steps += 1
            if self.between_steps is not None:
                self.between_steps.after_step()
        return {name: loss for name, loss in losses.items() if loss is not None}

    def _step_encoder(self, pace: Pace, unborn: NDArray[np.int32]) -> float | None:
        replayed = int(self.collected * self.config.replayed * pace.replay_share)
        live = self.catalog.live_rows()
        if len(unborn):
            live = np.setdiff1d(live, unborn, assume_unique=True)
        hot_N = self.counting.tables.popularity.weight_PN[_HOT]
        return self.encoder_trainer.learn(replayed, live, hot_N, self.catalog, pace.rate_factor)

    def _learn(self, whole: Batch, piece: slice, pace: Pace, stage: Stage) -> Outcome:
        """Run one mini-batch. Items that first appear later in `whole` have rows already; they must not be proposed or
        trained on yet."""
        batch, unborn = whole.piece(piece), whole.new_rows(piece.start)
        losses = self.step(pace, unborn, stage)
        places = examining.drawn(batch, pace, self.rng)
        with stage("remember"):
            taken, h_XH = self._take_in(whole, piece, places, pace)
        examine_B = _mask(places, len(batch))
        clock_B = self._clock_before(batch)
        late_B = ~batch.own_B & (clock_B - batch.clock_B > _LATE_SECONDS)
        events = WalkedEvents(batch.row_B, batch.category_B, batch.learn_B, examine_B, batch.within_B, late_B)
        users = users_of(taken.windows_BL, taken.before.type_BL, taken.before.gap_BL, clock_B, taken.before.ts_B)
        if not len(h_XH):
            with stage("predict"):
                self.counting.count(users, events)
            self._count(batch, examine_B, taken)
            return Outcome.of_none(taken.windows_BL, self.config.list_length, self.list_maker.default_length, losses)
        with stage("predict"):
            context = Context(users, self.predictor.queries(h_XH, taken.windows_BL[places]))
            ranking = self.predictor.rank(context, events, pace, unborn)
            outcome = self._score(batch, taken, places, ranking, users, len(self.catalog) - len(unborn))
        with stage("learn"):
            if self.config.learning:
                self._collect(batch.piece(places), taken.at(places), ranking)
        outcome.losses.update(losses)
        self._count(batch, examine_B, taken)
        return outcome.among(events.examine_B, taken.windows_BL)

    def _take_in(self, whole: Batch, piece: slice, places: Places, pace: Pace) -> tuple[_Taken, Tensor]:
        """Push the events of one piece into rings and LSTM states. Returns h [X, H] before the events at `places`."""
        batch = whole.piece(piece)
        own_B = sets.own_begins(batch.within_B, batch.slot_B)
        in_order = self.users.push(batch, own_B)
        before = in_order.of_sets(own_B) if batch.within_B.any() else in_order
        windows_BL = whole.born(self.catalog.rows_of_numbers(before.number_BL), piece.start)
        self.life.begin(batch, windows_BL, self.events)
        h_XH = self._read(batch, in_order, own_B, places, examining.read(batch, pace))
        return _Taken(before, windows_BL, sets.chains(own_B, batch.slot_B)), h_XH

    def _read(self, batch: Batch, before: Before, own_B: NDArray[np.int64], places: Places, reads: Places) -> Tensor:
        """Let the LSTM read the events at `reads`. Returns h [X, H] before those at `places`, which are among them."""
        if not isinstance(reads, slice):
            batch, before = batch.piece(reads), before.at(reads)
            own_B = sets.own_begins(batch.within_B, batch.slot_B)
        h_RH = self.remembering.read(batch, before, own_B) if len(batch) else self.users.h_SH[:0].float()
        return h_RH[examining.among(places, reads)]

    def _clock_before(self, batch: Batch) -> NDArray[np.float64]:
        """Return the time of the newest event before each event, or before its set."""
        before_B = np.maximum.accumulate(np.concatenate([[self.clock_ts], batch.clock_B]))
        clock_B: NDArray[np.float64] = before_B[sets.begins(batch.within_B)]
        return clock_B

    def _score(
        self, batch: Batch, taken: _Taken, places: Places, ranking: Ranking, users: Users, items_before: int
    ) -> Outcome:
        learned_B = self.events + np.cumsum(batch.learn_B)[sets.begins(batch.within_B)]
        age_B = np.where(batch.first_seen(), -1, learned_B - self.catalog.born_N[batch.row_B])
        examined = batch.piece(places)
        events = examined.row_B, learned_B[places]
        after_XK, listed_X = self.predictor.after_rules(ranking, users.at(places), self.clock_ts, *events)
        return outcome_of(
            examined, taken.before.at(places), taken.windows_BL[places], ranking, self.predictor.predicted(ranking),
            after_XK, listed_X, age_B[places], items_before,
        )  # fmt: skip

    def _count(self, batch: Batch, examine_B: NDArray[np.bool_], taken: _Taken) -> None:
        """Count a mini-batch: event time, numbers of events, last use of items, purchases."""
        self.clock_ts = max(self.clock_ts, float(batch.clock_B.max(initial=0.0)))
        self.catalog.see(batch.row_B[batch.learn_B], self.events, self.clock_ts)
        self.events += int(batch.learn_B.sum())
        self.examined += int((batch.learn_B & (batch.own_B | examine_B)).sum())
        self.list_maker.count(batch, taken.before, taken.windows_BL)
        self.life.add_back(batch, self.events)

    def remember(self, batch: Batch, pace: Pace, stage: Stage = untimed) -> None:
        """Update memories alone, with events that were learned before."""
        with stage("remember"):
            self._take_in(batch, slice(0, len(batch)), np.zeros(0, np.int64), pace)
        self.life.add_back(batch, self.events)

    def rebuild(self, slots: NDArray[np.int64], ids_of_numbers: IdsOfNumbers) -> None:
        """Rebuild (h, c) of users from their rings: see `Remembering.rebuild`."""
        self.remembering.rebuild(slots, ids_of_numbers)

    def recommend(self, slots: NDArray[np.int64], pace: Pace, each: MapSlices = map) -> dict[str, Lists]:
        """Return lists by scenario for users as they stand now: see `Predictor.recommend`."""
        return self.predictor.recommend(slots, pace, self.clock_ts, each)

    # -- items -------------------------------------------------------------------------------------------------

    def make_room(self, count: int) -> NDArray[np.int64]:
        """Evict items before a batch that may bring `count` new ones: see `ItemLife.make_room`."""
        return self.life.make_room(count, self.events, self.clock_ts)

    def add_items(self, ids: list[str], numbers: list[int]) -> NDArray[np.int32]:
        """Give new items rows: see `ItemLife.add`."""
        return self.life.add(ids, numbers, self.events, self.clock_ts)

    def change_items(self, changes: Descriptions) -> None:
        """Take over what is told of items, from the next batch and list on: see `ItemLife.describe`."""
        self.life.describe(changes)

    def forget_items(self) -> None:
        """Forget all that was told of items; their categories stay until an event names others."""
        assert self.content is not None
        self.content.load_state_dict({})
        self.list_maker.choose_anew()

    # -- learn -------------------------------------------------------------------------------------------------

    def _collect(self, batch: Batch, taken: _Taken, ranking: Ranking) -> None:
        """Collect training examples from X examined events."""
        scored = np.flatnonzero(batch.learn_B & batch.target_B)
        self.ranker_trainer.collect(
            ranking.candidates_BC,
            ranking.features_BCF,
            ranking.scores_BC,
            torch.from_numpy(batch.row_B).to(self.device).long(),
            torch.from_numpy(scored).to(self.device),
            self.steps,
        )
        self._collect_windows(batch, taken, scored)
        self.collected += int(batch.learn_B.sum())

    def _collect_windows(self, batch: Batch, taken: _Taken, scored: NDArray[np.int64]) -> None:
        before, windows_XL = taken.before, taken.windows_BL
        kept = self.config.burn_in + self.config.window
        usable = scored[windows_XL[scored, -1] >= 0]
        # Events that do not enter the ring are not in the next event's window, so no window predicts several of them.
        targets = self.config.targets if batch.enters_rings().all() else 1
        users = batch.slot_B[usable], before.occurrence_B[usable], taken.chain_B[usable]
        chosen, counts = fewest_windows(*users, targets)
        usable = usable[chosen]
        self.encoder_trainer.collect(
            {
                "window": windows_XL[usable, -kept:],
                "type": before.type_BL[usable, -kept:],
                "gap": before.gap_BL[usable, -kept:],
                "target": batch.row_B[usable],
                "targets": counts,
                "most": most_targets(before.in_set_B[usable]),
                "generation": np.full(len(usable), self.catalog.generation),
            }
        )

    # -- when learning goes wrong ------------------------------------------------------------------------------

    @property
    def guards(self) -> dict[str, StepGuard]:
        """Step guards by part; they count the steps that were not taken."""
        return {"encoder": self.encoder_trainer.optimizer.guard, "ranker": self.ranker_trainer.optimizer.guard}

    @property
    def referees(self) -> dict[str, Referee]:
        """Referees by part; they compare the weights with their slow copy."""
        return {"encoder": self.encoder_trainer.optimizer.referee, "ranker": self.ranker_trainer.optimizer.referee}

    def roll_back(self) -> None:
        """Replace the weights by their slow copy and reset the optimizers; counts stay."""
        self.encoder_trainer.roll_back()
        self.ranker_trainer.roll_back()

    # -- state -------------------------------------------------------------------------------------------------

    def state_dict(self) -> tuple[Arrays, dict[str, Any]]:
        """Return arrays by dotted name and JSON scalars: the line without the users' memories."""
        return learner_state.state_of(self)

    def load_state_dict(self, arrays: Arrays, meta: dict[str, Any], numbers: list[int]) -> dict[str, str]:
        """Load a state: see `learner_state.load_into`. Returns the parts that begin anew, each with the reason."""
        return learner_state.load_into(self, arrays, meta, numbers)


def _mask(places: Places, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, np.bool_)
    mask[places] = True
    return mask
