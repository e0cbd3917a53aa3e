"""The line: everything that learns, and the order in which it does. Predict, score, remember, then learn.

Legend in `recommender`; also S slots or sampled rows, L ring entries, E proposals of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.batch import TYPES, Batch, Outcome, Places
from model.counting import popularity
from model.counting.candidates import Breadth
from model.counting.features import ENCODER, FEATURES
from model.counting.popularity import HALF_LIVES
from model.counting.walk import Counting, MapSlices, Users, Walked, WalkedEvents
from model.encoder.encoder import Encoder, hashed_vectors
from model.encoder.losses import LOSSES
from model.encoder.prefixes import fewest_windows
from model.encoder.replay import Replay
from model.encoder.sequences import sequences_of
from model.encoder.trainer import EncoderTrainer
from model.encoder.window_starts import WindowStarts
from model.items.attic import Attic
from model.items.catalog import Catalog
from model.items.item_table import ItemTable, with_one
from model.learner_config import LearnerConfig
from model.optimizers.slow_copy import Referee
from model.optimizers.step_guard import StepGuard
from model.ranker.ranker import Ranker, RecentChoices
from model.ranker.trainer import RankerTrainer
from model.ranking import Top, rank_of, top_k_blocked
from model.state import (
    Arrays,
    joined,
    load_module,
    load_or_begin,
    load_parts,
    module_state,
    state_below,
    state_of_parts,
)
from model.user_table import UserTable, unroll

# What a state may hold that does not fit: see `Learner.load_state_dict`.
ENCODER_WEIGHTS, ITEM_VECTORS, TRAINING_WINDOWS = "encoder", "item vectors", "training windows"
RANKER, TRAINING_CHOICES = "ranker", "training choices"
_ENCODER_FEATURES = tuple(FEATURES.index(name) for name in ENCODER)
# Of a mini-batch: how many of so many events are drawn is random.
_ENOUGH = 0.75
_NO_ROWS, _NO_PLACES = np.zeros(0, np.int32), np.zeros(0, np.int64)
_THIN_SPAN, _THIN_HOPS = 8, 3
_HOT = HALF_LIVES.tolist().index(2_000.0)  # by which negatives are drawn


@dataclass(frozen=True)
class _Context:
    """Users as they stand before an event, and queries of the examined ones: what every prediction is made from."""

    users: Users
    queries_BD: Tensor


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
        self.catalog = Catalog(config.max_items, config.min_items, config.item_expiry_days * 86_400)
        self.attic = Attic(config.attic_items)
        self.users = UserTable(max_users, config.ring_size, config.dim, device)
        self.encoder = Encoder(config.encoder).to(device)
        self.ranker = Ranker(len(FEATURES)).to(device)
        rows = self.catalog.capacity
        self.counting = Counting(config.counting, rows)
        self.items = ItemTable(rows, config.dim, device)
        # Set by who answers to drift: of the learning rates, and of the replayed windows.
        self.rate_factor = self.replay_share = 1.0
        # Set by who follows the lag: of so many events one, drawn at random, is examined: predicted, scored and learned
        # from. All are remembered and counted. Above 1 candidates are looked for less broadly.
        self.thinning = 1
        self.events = 0
        self.steps = 0
        self.collected = 0  # events that were examined and not yet learned from
        self.clock_ts = 0.0
        self.rng = np.random.default_rng(config.seed)
        self.ranker_trainer = RankerTrainer(
            self.ranker,
            RecentChoices(config.ranker_examples, device),
            self.rng,
            learning_rate=config.ranker_learning_rate,
            steps=config.ranker_steps,
            hard=config.ranker_hard,
            drawn=config.ranker_drawn,
            replayed=config.ranker_replayed,
        )
        self.encoder_trainer = EncoderTrainer(
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
        # Told when a stage of the tick begins and ends; the clock is the caller's.
        self.stage: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()
        # Ids of item numbers, also of items that this line has no row for; who keeps the numbers sets it.
        self.ids_of_numbers: Callable[[Sequence[int]], Sequence[str | None]] = lambda numbers: [None] * len(numbers)
        self._occurrences_S = np.zeros(0, dtype=np.int64)

    # -- one tick ----------------------------------------------------------------------------------------------

    def learn(self, batch: Batch) -> Outcome:
        """Predict each event from what came before it and remember it; then collect what is to be learned from it. A
        mini-batch at a time, which is larger the fewer of its events are examined; weights make their step before the
        next one, or when `step` is called: lists need not wait for it."""
        size = self.config.mini_batch * self.thinning
        return Outcome.joined([self._learn(batch, slice(at, at + size)) for at in range(0, max(1, len(batch)), size)])

    def step(self, unborn: NDArray[np.int32] = _NO_ROWS) -> dict[str, float]:
        """Learn from what was collected, as soon as it is enough. Returns the losses, by part. The encoder learns from
        `replayed` times as many older targets as there were events. `unborn`: rows of items that come only later."""
        if self.collected < _ENOUGH * self.config.mini_batch:
            return {}
        with self.stage("learn"):
            replayed = int(self.collected * self.config.replayed * self.replay_share)
            live = self.catalog.live_rows()
            if len(unborn):
                live = np.setdiff1d(live, unborn, assume_unique=True)
            hot_N = self.counting.tables.popularity.weight_PN[_HOT]
            self.ranker_trainer.rate_factor = self.encoder_trainer.rate_factor = self.rate_factor
            ranker = self.ranker_trainer.learn(self.events)
            encoder = self.encoder_trainer.learn(replayed, live, hot_N, self.catalog)
            self.collected = 0
            self.steps += 1
        return {name: loss for name, loss in (("ranker", ranker), ("encoder", encoder)) if loss is not None}

    def _learn(self, whole: Batch, piece: slice) -> Outcome:
        """Items that the rest of the whole batch brings have rows already, which nobody may name or learn yet."""
        batch, unborn = whole.piece(piece), whole.new_rows(piece.start)
        losses = self.step(unborn)
        places = self._drawn(len(batch))
        walked_B, windows_BL, queries_XD = self._take_in(whole, piece, places)
        examined, windows_XL = batch.piece(places), windows_BL[places]
        walked = {name: column[places] for name, column in walked_B.items()}
        with self.stage("predict"):
            clock_B = np.maximum.accumulate(np.concatenate([[self.clock_ts], batch.ts_B]))[:-1]
            users = _users(windows_BL, walked_B["type"], walked_B["gap"], clock_B, walked_B["ts"])
            events = WalkedEvents(batch.row_B, batch.category_B, batch.learn_B, _mask(places, len(batch)))
            candidates_XC, features_XCF, found = self._candidates(_Context(users, queries_XD), events, unborn)
            with torch.no_grad():
                scores_XC = self.ranker_trainer.scores(features_XCF, candidates_XC >= 0)
            age_B = np.where(batch.new_B, -1, self.events + np.cumsum(batch.learn_B) - self.catalog.born_N[batch.row_B])
            rankings = candidates_XC, scores_XC, found
            items_before = len(self.catalog) - len(unborn)
            outcome = self._outcome_of(examined, walked, windows_XL, rankings, age_B[places], items_before)
        with self.stage("learn"):
            scored = np.flatnonzero(examined.learn_B & examined.target_B)
            if self.config.learning:
                self._collect_choices(examined, scored, (candidates_XC, features_XCF, scores_XC))
                self._collect_windows(examined, walked, windows_XL, scored)
                self.collected += int(examined.learn_B.sum())
        outcome.losses.update(losses)
        self.clock_ts = max(self.clock_ts, float(batch.ts_B.max(initial=0.0)))
        self.catalog.see(batch.row_B[batch.learn_B], self.events, self.clock_ts)
        self.events += int(batch.learn_B.sum())
        self._add_back(batch)
        return outcome.among(events.examine_B, windows_BL)

    def _drawn(self, count: int) -> Places:
        """Which of so many events are examined."""
        if self.thinning == 1:
            return slice(None)
        return np.flatnonzero(self.rng.random(count) * self.thinning < 1)

    @property
    def _breadth(self) -> Breadth:
        """Thinned, there are no fewer candidates than the ranker's choices are made of, so that all are alike."""
        config, length = self.config, self.config.list_length
        if self.thinning == 1:
            return Breadth(config.candidates, least=length)
        least = max(length, 1 + config.ranker_hard + config.ranker_drawn)
        most = min(config.candidates, max(least, config.candidates // 2))
        return Breadth(most, span=_THIN_SPAN, hops=_THIN_HOPS, least=length)

    def remember(self, batch: Batch) -> None:
        """Only bring the memories up to date, with events that were learned before."""
        self._take_in(batch, slice(0, len(batch)), slice(0))
        self._add_back(batch)

    def recommend(
        self, slots: NDArray[np.int64], each: MapSlices = map
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Lists for users as they stand now: rows [U, K] (-1: fewer than K) and probabilities among the candidates.
        Several threads may ask at the same time, while nothing is learned. `each`: see `Counting.walk`; not
        that of the threads who ask, which would wait for themselves."""
        users = self.users
        windows_UL = self.catalog.rows_of_numbers(users.number_SL[slots])
        h_UH, _ = users.state(slots)
        with torch.no_grad():
            queries_UD, _ = self._queries(h_UH, windows_UL)
        clock_U = np.full(len(slots), self.clock_ts)
        rings = windows_UL, users.type_SL[slots], users.gap_SL[slots]
        context = _Context(_users(*rings, clock_U, users.ts_S[slots]), queries_UD)
        candidates_UC, features_UCF, found = self._candidates(context, _no_events(len(slots)), each=each)
        with torch.no_grad():
            return self._top(self.ranker_trainer.scores(features_UCF, candidates_UC >= 0), candidates_UC, found)

    def attention(self, slot: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Why this user's list looks as it does: the last W item rows and their attention weights."""
        slots = np.array([slot])
        windows_1L = self.catalog.rows_of_numbers(self.users.number_SL[slots])
        with torch.no_grad():
            _, attention_1W = self._queries(self.users.state(slots)[0], windows_1L)
        return windows_1L[0, -self.config.window :], attention_1W[0].cpu().numpy()

    def rebuild(self, slots: NDArray[np.int64]) -> None:
        """(h, c) of users whose states came from other weights: their rings, run through this line's LSTM."""
        users = self.users
        table_ND1, windows_UL = self._ring_vectors(users.number_SL[slots])
        with torch.no_grad():
            ring, _ = self.encoder.ring(windows_UL, table_ND1)
            window = self.encoder.window(ring, windows_UL, users.type_SL[slots], users.gap_SL[slots])
            users.put_state(slots, *self.encoder.run(window))

    def _ring_vectors(self, numbers_UL: NDArray[np.uint32]) -> tuple[Tensor, NDArray[np.int32]]:
        """A table of item vectors and, for each place of the rings, its row there (-1: none)."""
        if self.config.item_vectors == "learned":
            return self.items.table_ND1, self.catalog.rows_of_numbers(numbers_UL)
        numbers, places = np.unique(numbers_UL, return_inverse=True)
        vectors = F.pad(hashed_vectors(self._ids(numbers), self.config.dim), (0, 1))
        rows_UL: NDArray[np.int32] = np.where(numbers_UL > 0, places.reshape(numbers_UL.shape), -1).astype(np.int32)
        return vectors.to(self.device), rows_UL

    def _ids(self, numbers: NDArray[np.uint32]) -> list[str | None]:
        """The ids of item numbers; of those that this line has no row for, by the word of `ids_of_numbers`."""
        rows = self.catalog.rows_of_numbers(numbers)
        foreign = numbers[(rows < 0) & (numbers > 0)].tolist()
        others = dict(zip(foreign, self.ids_of_numbers(foreign) if foreign else (), strict=True))
        pairs = zip(numbers.tolist(), rows.tolist(), strict=True)
        return [self.catalog.ids[row] if row >= 0 else others.get(number) for number, row in pairs]

    # -- items -------------------------------------------------------------------------------------------------

    def make_room(self, count: int) -> NDArray[np.int64]:
        """Evict items that are too old, or so many that `count` new ones fit; returns the rows evicted (others may
        index by row, too). See `Catalog.leaving` for when to ask."""
        rows = self.catalog.leaving(count, self.clock_ts)
        if len(rows):
            self._keep(rows)
            self.catalog.evict(rows)
            self.counting.forget(rows)
            self.items.forget(rows)
        return rows

    def _keep(self, rows: NDArray[np.int64]) -> None:
        kept: Arrays = {
            "table": self.items.half(rows),
            "popularity": popularity.kept(self.counting.tables.popularity, rows),
            "category": self.counting.tables.category_N[rows],
            "born": self.catalog.born_N[rows],
            "events": np.full(len(rows), self.events),
        }
        self.attic.put([self.catalog.ids[row] for row in rows.tolist()], kept)

    def add_items(self, ids: list[str], numbers: list[int]) -> NDArray[np.int32]:
        """New rows for new items; their vectors start when their first event is learned."""
        rows = self.catalog.add(ids, numbers, self.events, self.clock_ts)
        self._fit_rows()
        return rows

    def _fit_rows(self) -> None:
        rows = self.catalog.capacity
        if rows > self.items.rows:
            self.items.grow(rows)
            self.counting.grow(rows)

    def _start_new_items(self, batch: Batch, windows_BL: NDArray[np.int32]) -> None:
        places = np.flatnonzero(batch.new_B)
        if len(places) == 0:
            return
        rows = batch.row_B[places]
        self.catalog.begin(rows, self.events)
        if self.config.item_vectors == "hashed":
            start = hashed_vectors([self.catalog.ids[row] for row in rows.tolist()], self.config.dim)
        else:
            # Drawn for all events: how many newcomers are still to come may not show in the first one's noise.
            noise_BD = self.rng.standard_normal((len(windows_BL), self.config.dim), dtype=np.float32)
            start = self.items.by_context(windows_BL[places, -self.config.window :], torch.from_numpy(noise_BD[places]))
        self.items.start(rows, start)
        self._restore(rows)

    def _restore(self, rows: NDArray[np.int32]) -> None:
        """Items that come back have their own vectors, category and age again."""
        places = self._in_attic(rows)
        back = places >= 0
        if back.any():
            kept, rows, places = self.attic.columns, rows[back], places[back]
            self.catalog.born_N[rows] = kept["born"][places]
            self.counting.tables.category_N[rows] = kept["category"][places]
            if self.config.item_vectors == "learned":
                self.items.restore(rows, kept["table"][places])

    def _add_back(self, batch: Batch) -> None:
        """The popularity of items that came back. Not before the mini-batch is over, or they were candidates of its
        earlier events."""
        rows = batch.row_B[batch.new_B]
        places = self._in_attic(rows)
        back = places >= 0
        if back.any():
            kept = self.attic.take(places[back])
            events_M = self.events - kept["events"]
            popularity.add_back(self.counting.tables.popularity, rows[back], kept["popularity"], events_M)

    def _in_attic(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        return self.attic.find([self.catalog.ids[row] for row in rows.tolist()])

    # -- memory ------------------------------------------------------------------------------------------------

    def _take_in(self, whole: Batch, piece: slice, examined: Places) -> tuple[Arrays, NDArray[np.int32], Tensor]:
        """Remember the events; returns the rings before each, as walked and as rows, and the queries made from those of
        the examined ones."""
        with self.stage("remember"):
            batch = whole.piece(piece)
            walked = self._unroll(batch)
            windows_BL = whole.born(self.catalog.rows_of_numbers(walked["number"]), piece.start)
            self._start_new_items(batch, windows_BL)
            h_BH = self._remember(batch, walked)
            with torch.no_grad():
                queries_XD, _ = self._queries(h_BH[examined], windows_BL[examined])
            return walked, windows_BL, queries_XD

    def _unroll(self, batch: Batch) -> Arrays:
        """The users' rings before each event, by column name; the events are pushed onto them."""
        users, count = self.users, len(batch.slot_B)
        if len(self._occurrences_S) < len(users.events_S):
            self._occurrences_S = np.zeros(len(users.events_S), dtype=np.int64)
        ring = self.config.ring_size
        walked: Arrays = {
            "number": np.zeros((count, ring), np.uint32),
            "type": np.zeros((count, ring), np.uint8),
            "gap": np.zeros((count, ring), np.uint8),
            "ts": np.zeros(count),
            "own_gap": np.zeros(count, np.uint8),
            "occurrence": np.zeros(count, np.int64),
        }
        unroll(
            batch.slot_B, batch.number_B, batch.type_B, batch.ts_B, batch.remember_B,
            users.number_SL, users.type_SL, users.gap_SL, users.events_S, users.ts_S,
            walked["number"], walked["type"], walked["gap"], walked["ts"], walked["own_gap"], walked["occurrence"],
            self._occurrences_S,
        )  # fmt: skip
        remembered = batch.slot_B[batch.remember_B]
        np.maximum.at(users.next_offset_S, remembered, batch.next_offset_B[batch.remember_B])
        users.dirty_S[remembered] = True
        return walked

    @torch.no_grad()
    def _remember(self, batch: Batch, walked: Arrays) -> Tensor:
        """LSTM steps, events of one user in order; returns h [B, H] as it was before each event."""
        users, order_X, sizes_T, before_B = sequences_of(batch.slot_B, batch.remember_B)
        inputs_XD = self._event_inputs(batch, walked)[torch.from_numpy(order_X).to(self.device)]
        h_UH, c_UH = self.users.state(users)
        after_XH, last_h, last_c = self.encoder.read(inputs_XD, torch.from_numpy(sizes_T), h_UH, c_UH)
        self.users.put_state(users[: len(last_h)], last_h, last_c)
        return torch.cat([h_UH, after_XH])[torch.from_numpy(before_B).to(self.device)]

    def _event_inputs(self, batch: Batch, walked: Arrays) -> Tensor:
        types_B = torch.from_numpy(batch.type_B).long().to(self.device)
        gaps_B = torch.from_numpy(walked["own_gap"]).long().to(self.device)
        return self.encoder.inputs(self.items.vectors(batch.row_B), types_B, gaps_B)

    def _queries(self, h_BH: Tensor, windows_BL: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
        queries: tuple[Tensor, Tensor] = self.encoder.queries(
            h_BH, *self.encoder.ring(windows_BL[:, -self.config.window :], self.items.table_ND1)
        )
        return queries

    # -- predict -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _candidates(
        self, context: _Context, events: WalkedEvents, new_rows: NDArray[np.int32] | None = None, each: MapSlices = map
    ) -> tuple[Tensor, Tensor, Walked]:
        """What `Counting.walk` found, with candidates and features (the encoder's, too) on the device, of the examined
        events; the counting tables learn all on the way.

        `new_rows` were created by this batch: the encoder may not name them, since some events come before them.
        """
        live_N = self.catalog.live_N[: max(1, self.catalog.rows_used)].copy()
        if new_rows is not None:
            live_N[new_rows] = False
        queries_BD1 = with_one(context.queries_BD * self.encoder.config.scale)
        top = self._asked(queries_BD1, live_N) if self.thinning == 1 else None
        proposals = np.zeros((len(queries_BD1), 0), np.int32)
        if top is not None:
            proposals = torch.where(top.scores_BK > -torch.inf, top.rows_BK, -1).to(torch.int32).cpu().numpy()
        found = self.counting.walk(context.users, events, proposals, live_N, self._breadth, each)
        rows_BC = found.candidates_BC
        candidates_BC, amounts, rest = (torch.from_numpy(x).to(self.device) for x in found[:3])
        candidates_BC = candidates_BC.long()
        features_BCF = torch.cat([amounts.log_(), rest], dim=-1)
        logits_BC = self._logits(queries_BD1, rows_BC, None if top is None else top.all_BN)
        present_BC = logits_BC.masked_fill(candidates_BC < 0, -torch.inf)
        total_B1, best_B1 = present_BC.logsumexp(dim=1, keepdim=True), present_BC.amax(dim=1, keepdim=True)
        # Of an encoder that has no numbers nothing is known, and counting still ranks.
        features_BCF[..., _ENCODER_FEATURES[0]] = _finite(logits_BC - _finite(total_B1))
        features_BCF[..., _ENCODER_FEATURES[1]] = _finite(logits_BC - _finite(best_B1))
        return candidates_BC, features_BCF, found

    def _asked(self, queries_BD1: Tensor, live_N: NDArray[np.bool_]) -> Top:
        """The encoder's best of all live items, of too many those that were seen last; thinned, it is asked about the
        candidates of others alone."""
        count, table_ND1 = self.config.encoder_candidates, self.items.table_ND1
        if np.count_nonzero(live_N) > self.config.encoder_items:
            latest = self.catalog.latest(np.flatnonzero(live_N), self.config.encoder_items)
            at = torch.from_numpy(latest).to(self.device)
            top = top_k_blocked(queries_BD1, table_ND1[at], _NO_PLACES, count)
            return top._replace(rows_BK=at[top.rows_BK], all_BN=None)
        # Nothing is added up over more rows than there were before, so that sums are rounded as they would have been.
        used = int(np.flatnonzero(live_N).max(initial=0)) + 1
        return top_k_blocked(queries_BD1, table_ND1[:used], np.flatnonzero(~live_N[:used]), count)

    def _logits(self, queries_BD1: Tensor, rows_BC: NDArray[np.int32], known_BN: Tensor | None) -> Tensor:
        """The encoder's scores of candidates [B, C]; `known_BN`: those of the first N rows, where they are at hand."""
        candidates_BC = torch.from_numpy(np.maximum(rows_BC, 0)).to(self.device).long()
        table_ND1 = self.items.table_ND1
        if known_BN is None:
            return (F.embedding(candidates_BC, table_ND1) * queries_BD1[:, None]).sum(dim=-1)
        newer_MD1 = table_ND1[known_BN.shape[1] : int(rows_BC.max(initial=0)) + 1]
        if len(newer_MD1):
            known_BN = torch.cat([known_BN, torch.mm(queries_BD1, newer_MD1.T)], dim=1)
        return known_BN.gather(1, candidates_BC)

    @torch.no_grad()
    def _outcome_of(
        self,
        batch: Batch,
        walked: Arrays,
        windows_BL: NDArray[np.int32],
        rankings: tuple[Tensor, Tensor, Walked],
        age_B: NDArray[np.int64],
        items_before: int,
    ) -> Outcome:
        candidates_BC, scores_BC, found = rankings
        target_B = torch.from_numpy(batch.row_B).to(self.device).long()
        log_probability_B = _log_probability(scores_BC, candidates_BC, target_B, items_before)
        rank_B = rank_of(scores_BC, candidates_BC, target_B).cpu().numpy()
        return Outcome(
            rank_B=found.filling.ranks(rank_B, found.candidates_BC, batch.row_B),
            proposer_B=found.proposer_B,
            age_B=age_B,
            log_probability_B=log_probability_B.cpu().numpy().astype(np.float64),
            repeat_B=((walked["number"] == batch.number_B[:, None]) & (walked["number"] > 0)).any(axis=1),
            first_B=(walked["number"] == 0).all(axis=1),
            examined_B=np.ones(len(batch), np.bool_),
            windows_BL=windows_BL,
            list_BK=self._top(scores_BC, candidates_BC, found)[0],
        )

    def _top(
        self, scores_BC: Tensor, candidates_BC: Tensor, found: Walked
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best rows [B, K] and their probabilities among the candidates, and what fills the lists up."""
        top = scores_BC.topk(self.config.list_length, dim=1)
        rows = candidates_BC.gather(1, top.indices).to(torch.int32)
        shares = scores_BC.softmax(dim=1).gather(1, top.indices).nan_to_num()
        return found.filling.lists(rows.cpu().numpy()), shares.cpu().numpy()

    # -- learn -------------------------------------------------------------------------------------------------

    def _collect_choices(self, batch: Batch, scored: NDArray[np.int64], ranking: tuple[Tensor, Tensor, Tensor]) -> None:
        target_B = torch.from_numpy(batch.row_B).to(self.device).long()
        self.ranker_trainer.collect(*ranking, target_B, torch.from_numpy(scored).to(self.device), self.steps)

    def _collect_windows(
        self, batch: Batch, walked: Arrays, windows_BL: NDArray[np.int32], scored: NDArray[np.int64]
    ) -> None:
        kept = self.config.burn_in + self.config.window
        usable = scored[windows_BL[scored, -1] >= 0]
        # Where rings stood still, an event is not in the window of the next one.
        targets = self.config.targets if batch.enters_rings().all() else 1
        chosen, counts = fewest_windows(batch.slot_B[usable], walked["occurrence"][usable], targets)
        usable = usable[chosen]
        self.encoder_trainer.collect(
            {
                "window": windows_BL[usable, -kept:],
                "type": walked["type"][usable, -kept:],
                "gap": walked["gap"][usable, -kept:],
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
            "rng": _texts(self.rng.bit_generator.state),
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
        self.rng.bit_generator.state = _numbers(meta["rng"])
        anew = load_or_begin(self._loads(), arrays, fresh)
        if ITEM_VECTORS in anew:
            self._begin_vectors()
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

    def _begin_vectors(self) -> None:
        """Every item, also those in the attic, begins with the vector that follows from its id."""
        rows = self.catalog.live_rows().astype(np.int32)
        self.items.start(rows, hashed_vectors([self.catalog.ids[row] for row in rows.tolist()], self.config.dim))
        if (kept := self.attic.columns.get("table")) is not None:
            vectors = hashed_vectors(self.attic.ids_at(np.arange(len(kept))), self.config.dim)
            self.attic.columns["table"] = F.pad(vectors, (0, 1)).half().numpy()


def _texts(state: Any) -> Any:
    """128-bit integers of a generator's state as texts, since JSON numbers stop at 64 bits."""
    if isinstance(state, dict):
        return {key: _texts(value) for key, value in state.items()}
    return f"int:{state}" if isinstance(state, int) else state


def _numbers(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _numbers(value) for key, value in state.items()}
    return int(state[4:]) if isinstance(state, str) and state.startswith("int:") else state


def _users(
    windows_BL: NDArray[np.int32],
    types_BL: NDArray[np.uint8],
    gaps_BL: NDArray[np.uint8],
    clock_B: NDArray[np.float64],
    last_ts_B: NDArray[np.float64],
) -> Users:
    """`clock_B`: the time of the event before the one to predict."""
    seconds_B = np.where(last_ts_B > 0, np.maximum(0.0, clock_B - last_ts_B), 0.0)
    last_gap_B = np.ascontiguousarray(gaps_BL[:, -1]).astype(np.float32)
    return Users(windows_BL, types_BL, gaps_BL, np.log1p(seconds_B).astype(np.float32), last_gap_B)


def _no_events(count: int) -> WalkedEvents:
    """For users who are looked at, and of whom nothing is learned."""
    nothing = np.zeros(count, np.int32), np.zeros(count, np.uint32), np.zeros(count, np.bool_)
    return WalkedEvents(*nothing, np.ones(count, np.bool_))


def _mask(places: Places, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, np.bool_)
    mask[places] = True
    return mask


def _finite(x: Tensor) -> Tensor:
    return torch.where(torch.isfinite(x), x, torch.zeros_like(x))


def _log_probability(scores_BC: Tensor, candidates_BC: Tensor, target_B: Tensor, items: int) -> Tensor:
    """log P(target): .99 by the ranker over its candidates, .01 spread over the whole catalogue."""
    is_target = candidates_BC == target_B[:, None]
    among = torch.where(is_target, scores_BC.softmax(dim=1), 0.0).sum(dim=1).nan_to_num()
    return torch.log(0.99 * among + 0.01 / max(1, items))
