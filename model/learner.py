"""The line: everything that learns, and the order in which it does. Predict, score, remember, then learn.

Legend in `recommender`; also S slots or sampled rows, L ring entries, E proposals of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.catalog import Catalog
from model.counting import ENCODER_FEATURES, FEATURES, Counting, CountingConfig
from model.losses import log_inclusion, softmax_cross_entropy
from model.memory import UserTable, unroll
from model.ranker import Ranker
from model.ranking import rank_of, top_k_blocked
from model.recommender import Encoder, EncoderConfig, hashed_vectors
from model.replay import Columns, Replay
from model.row_adam import RowAdam, grown

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class LearnerConfig:
    """The few dials of the model; sizes that follow from them are derived.

    Not `learning`: no gradient steps; counting and remembering go on. `item_vectors` "hashed": an item's vector follows
    from its id alone and is never learned. With both, (h, c) follows from a user's events and `seed` alone.
    """

    dim: int = 64
    ring_size: int = 50
    window: int = 10
    list_length: int = 20
    max_items: int = 500_000
    neighbours: int = 64
    candidates: int = 112
    encoder_candidates: int = 24
    dropout: float = 0.4
    encoder_learning_rate: float = 3e-3
    ranker_learning_rate: float = 1e-3
    replayed: float = 1.0
    encoder_steps: int = 1
    ranker_steps: int = 1
    full_softmax_items: int = 6_000
    negatives: int = 2_048
    replay_capacity: int = 20_000
    learning: bool = True
    item_vectors: str = "learned"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.ring_size <= 255:
            raise ValueError(f"model.ring_size: from 2 to 255, got {self.ring_size}")
        if not 1 <= self.window <= self.ring_size:
            raise ValueError(f"model.window: from 1 to ring_size ({self.ring_size}), got {self.window}")
        if not 1 <= self.list_length <= self.candidates:
            raise ValueError(f"model.list_length: from 1 to candidates ({self.candidates}), got {self.list_length}")
        if self.max_items < 64:
            raise ValueError(f"model.max_items: at least 64, got {self.max_items}")
        if self.item_vectors not in ("learned", "hashed"):
            raise ValueError(f"model.item_vectors: must be one of learned, hashed, got {self.item_vectors!r}")
        # Made here so that what they check is checked now, not when the learner is.
        _ = self.encoder, self.counting

    @property
    def encoder(self) -> EncoderConfig:
        return EncoderConfig(dim=self.dim, window=self.window, dropout=self.dropout)

    @property
    def counting(self) -> CountingConfig:
        return CountingConfig(neighbours=self.neighbours, candidates=self.candidates)


@dataclass(frozen=True)
class Batch:
    """B events in the order of the source: user slot, item row and number, type, time, and what is still to be done.

    `target_B` tells the events that are to be predicted at all, by their type.
    """

    slot_B: NDArray[np.int64]
    row_B: NDArray[np.int32]
    number_B: NDArray[np.uint32]
    type_B: NDArray[np.uint8]
    ts_B: NDArray[np.float64]
    next_offset_B: NDArray[np.int64]
    target_B: NDArray[np.bool_]
    remember_B: NDArray[np.bool_]
    learn_B: NDArray[np.bool_]
    new_B: NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What was predicted for B events before they were learned.

    rank_B: 1-based place among the candidates, 0: not among them; list_BK rows, best first, -1: none; repeat_B: the
    item stood in the user's ring; first_B: the ring was empty; windows_BL: the rows of the ring before the event.
    """

    rank_B: NDArray[np.int64]
    log_probability_B: NDArray[np.float64]
    repeat_B: NDArray[np.bool_]
    first_B: NDArray[np.bool_]
    windows_BL: NDArray[np.int32]
    list_BK: NDArray[np.int32]
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Context:
    """Users as they stand before an event: what every prediction is made from."""

    windows_BL: NDArray[np.int32]
    idle_B: NDArray[np.float32]
    last_gap_B: NDArray[np.float32]
    queries_BD: Tensor


class Learner:
    """Encoder, ranker, counting, catalogue, replay and user table of one line, and their optimizers."""

    def __init__(self, config: LearnerConfig, device: torch.device, max_users: int) -> None:
        self.config = config
        self.device = device
        torch.manual_seed(config.seed)
        self.catalog = Catalog(config.max_items)
        self.users = UserTable(max_users, config.ring_size, config.dim, device)
        self.encoder = Encoder(config.encoder).to(device)
        self.ranker = Ranker(len(FEATURES)).to(device)
        rows = self.catalog.capacity
        self.counting = Counting(config.counting, rows)
        self.replay = Replay(config.replay_capacity, recent=max(256, config.replay_capacity // 8))
        # The last column of an item's row is its bias.
        self.items_ND = torch.zeros(rows, config.dim + 1, device=device)
        self.items_adam = RowAdam(rows, config.dim + 1, device)
        self.encoder_adam = torch.optim.Adam(self.encoder.parameters(), lr=config.encoder_learning_rate, fused=True)
        self.ranker_adam = torch.optim.Adam(self.ranker.parameters(), lr=config.ranker_learning_rate, fused=True)
        self.events = 0
        self.steps = 0
        self.clock_ts = 0.0
        self.rng = np.random.default_rng(config.seed)
        self.torch_rng = torch.Generator(device="cpu").manual_seed(config.seed)
        # Told when a stage of the tick begins and ends; the clock is the caller's.
        self.stage: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()
        # Ids of item numbers, also of items that this line has no row for; who keeps the numbers sets it.
        self.ids_of_numbers: Callable[[Sequence[int]], Sequence[str | None]] = lambda numbers: [None] * len(numbers)
        self._occurrences_S = np.zeros(0, dtype=np.int64)

    # -- one tick ----------------------------------------------------------------------------------------------

    def learn(self, batch: Batch) -> Outcome:
        """Predict each event from what came before it, remember it, then learn from it."""
        walked, windows_BL, queries_BD = self._take_in(batch)
        with self.stage("predict"):
            clock_B = np.maximum.accumulate(np.concatenate([[self.clock_ts], batch.ts_B]))[:-1]
            context = _Context(windows_BL, _idle(clock_B, walked["ts"]), _last_gap(walked["gap"]), queries_BD)
            now_B = self.events + np.cumsum(batch.learn_B)
            new_rows = np.unique(batch.row_B[batch.new_B])
            candidates_BC, features_BCF = self._candidates(context, batch.row_B, batch.learn_B, now_B, new_rows)
            outcome = self._score(batch, context, walked, candidates_BC, features_BCF)
        with self.stage("learn"):
            scored = np.flatnonzero(batch.learn_B & batch.target_B)
            if self.config.learning:
                outcome.losses.update(self._learn_ranker(batch, scored, candidates_BC, features_BCF))
                outcome.losses.update(self._learn_encoder(batch, walked, windows_BL, scored))
        self.events += int(batch.learn_B.sum())
        self.clock_ts = max(self.clock_ts, float(batch.ts_B.max(initial=0.0)))
        self.steps += 1
        return outcome

    def remember(self, batch: Batch) -> None:
        """Only bring the memories up to date, with events that were learned before."""
        self._take_in(batch)

    def recommend(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Lists for users as they stand now: rows [U, K] (-1: fewer than K) and probabilities among the candidates."""
        users = self.users
        windows_UL = self.catalog.rows_of_numbers(users.number_SL[slots])
        h_UH, _ = users.state(slots)
        with torch.no_grad():
            queries_UD, _ = self._queries(h_UH, windows_UL)
        idle_U = _idle(np.full(len(slots), self.clock_ts), users.ts_S[slots])
        context = _Context(windows_UL, idle_U, _last_gap(users.gap_SL[slots]), queries_UD)
        nothing = np.zeros(len(slots), dtype=np.bool_)
        now_U = np.full(len(slots), self.events + 1)
        candidates_UC, features_UCF = self._candidates(context, np.zeros(len(slots), np.int32), nothing, now_U)
        with torch.no_grad():
            return self._top(self.ranker(features_UCF, candidates_UC), candidates_UC)

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
        vectors_ND, windows_UL = self._ring_vectors(users.number_SL[slots])
        with torch.no_grad():
            inputs, lengths = self._inputs(windows_UL, users.type_SL[slots], users.gap_SL[slots], vectors_ND)
            users.put_state(slots, *self.encoder.run(inputs, lengths))

    def _ring_vectors(self, numbers_UL: NDArray[np.uint32]) -> tuple[Tensor, NDArray[np.int32]]:
        """A table of item vectors and, for each place of the rings, its row there (-1: none)."""
        if self.config.item_vectors == "learned":
            return self.items_ND, self.catalog.rows_of_numbers(numbers_UL)
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
        """Evict items so that `count` new ones fit; returns the rows evicted (others may index by row, too).
        See `Catalog.room_for` for when to ask."""
        rows = self.catalog.room_for(count)
        if len(rows):
            self.counting.forget(rows)
            self.replay.forget(("window", "target"), rows)
            at = torch.from_numpy(rows).to(self.device)
            self.items_ND[at] = 0
            self.items_adam.reset(at)
        return rows

    def add_items(self, ids: list[str], numbers: list[int]) -> NDArray[np.int32]:
        """New rows for new items; their vectors start when their first event is learned."""
        rows = self.catalog.add(ids, numbers, self.events)
        self._fit_rows()
        return rows

    def _fit_rows(self) -> None:
        rows = self.catalog.capacity
        if rows > self.items_ND.shape[0]:
            self.items_ND = grown(self.items_ND, rows)
            self.items_adam.grow(rows)
            self.counting.grow(rows)

    def _start_new_items(self, batch: Batch, windows_BL: NDArray[np.int32]) -> None:
        places = np.flatnonzero(batch.new_B)
        if len(places) == 0:
            return
        rows = batch.row_B[places]
        if self.config.item_vectors == "hashed":
            start = hashed_vectors([self.catalog.ids[row] for row in rows.tolist()], self.config.dim).to(self.device)
        else:
            start = self._start_by_context(places, windows_BL)
        self.items_ND[torch.from_numpy(rows).long().to(self.device), :-1] = start

    def _start_by_context(self, places: NDArray[np.int64], windows_BL: NDArray[np.int32]) -> Tensor:
        """The decayed mean of the items before a new item's first event, and a little noise."""
        window = windows_BL[places, -self.config.window :]
        weights = np.where(window >= 0, 0.8 ** np.arange(window.shape[1])[::-1], 0.0).astype(np.float32)
        vectors = self.items_ND[torch.from_numpy(np.maximum(window, 0)).long().to(self.device), :-1]
        mean = torch.einsum("bw,bwd->bd", torch.from_numpy(weights).to(self.device), vectors)
        # Drawn for the whole batch: how many newcomers are still to come may not show in the first one's noise.
        drawn = torch.randn(len(windows_BL), self.config.dim, generator=self.torch_rng)
        noise = drawn[torch.from_numpy(places)].to(self.device)
        return F.normalize(F.normalize(mean, dim=-1) + 0.5 * F.normalize(noise, dim=-1), dim=-1)

    # -- memory ------------------------------------------------------------------------------------------------

    def _take_in(self, batch: Batch) -> tuple[Arrays, NDArray[np.int32], Tensor]:
        """Remember the events; returns the rings before each, as walked and as rows, and the queries made from them."""
        with self.stage("remember"):
            walked = self._unroll(batch)
            windows_BL = self.catalog.rows_of_numbers(walked["number"])
            self._start_new_items(batch, windows_BL)
            return walked, windows_BL, self._remember(batch, walked, windows_BL)

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
    def _remember(self, batch: Batch, walked: Arrays, windows_BL: NDArray[np.int32]) -> Tensor:
        """LSTM steps, events of one user in order; returns every event's query as it was before the event."""
        count = len(batch.slot_B)
        queries_BD = torch.zeros(count, self.config.dim, device=self.device)
        items_BD = self.items_ND[torch.from_numpy(batch.row_B).long().to(self.device), :-1]
        types_B = torch.from_numpy(batch.type_B).long().to(self.device)
        gaps_B = torch.from_numpy(walked["own_gap"]).long().to(self.device)
        inputs_BD = self.encoder.inputs(items_BD, types_B, gaps_B)
        for wave in range(int(walked["occurrence"].max(initial=-1)) + 1):
            at = np.flatnonzero(walked["occurrence"] == wave)
            h_BH, c_BH = self.users.state(batch.slot_B[at])
            place = torch.from_numpy(at).to(self.device)
            queries_BD[place], _ = self._queries(h_BH, windows_BL[at])
            kept = np.flatnonzero(batch.remember_B[at])
            if len(kept):
                on = torch.from_numpy(kept).to(self.device)
                after = self.encoder.step(inputs_BD[place[on]], h_BH[on], c_BH[on])
                self.users.put_state(batch.slot_B[at[kept]], *after)
        return queries_BD

    def _queries(self, h_BH: Tensor, windows_BL: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
        ring = torch.from_numpy(windows_BL[:, -self.config.window :]).to(self.device)
        mask_BW = ring >= 0
        vectors_BWD = self.items_ND[ring.clamp(min=0).long(), :-1]
        queries: tuple[Tensor, Tensor] = self.encoder.queries(h_BH, vectors_BWD, mask_BW)
        return queries

    def _inputs(
        self, rows_BW: NDArray[np.int32], types_BW: NDArray[np.uint8], gaps_BW: NDArray[np.uint8], items_ND: Tensor
    ) -> tuple[Tensor, Tensor]:
        """LSTM inputs [B, W, D] of right-aligned windows, and their lengths [B] (a place without a row counts)."""
        rows = torch.from_numpy(np.maximum(rows_BW, 0)).long().to(self.device)
        types = torch.from_numpy(types_BW).long().to(self.device)
        gaps = torch.from_numpy(gaps_BW).long().to(self.device)
        lengths = torch.from_numpy(_lengths(rows_BW)).to(self.device)
        known = torch.from_numpy(rows_BW >= 0).to(self.device)
        return self.encoder.inputs(items_ND[rows, :-1] * known[..., None], types, gaps), lengths

    # -- predict -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _candidates(
        self,
        context: _Context,
        row_B: NDArray[np.int32],
        learn_B: NDArray[np.bool_],
        now_B: NDArray[np.int64],
        new_rows: NDArray[np.int32] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Candidate rows [B, C] int64 and their features [B, C, F]; the counting tables learn on the way.

        `new_rows` were created by this batch: the encoder may not name them, since some events come before them.
        """
        used = max(1, self.catalog.rows_used)
        banned_N = torch.from_numpy(self.catalog.number_N[:used] == 0).to(self.device)
        if new_rows is not None and len(new_rows):
            banned_N[torch.from_numpy(new_rows).long().to(self.device)] = True
        items_ND, bias_N = self.items_ND[:used, :-1] * self.encoder.config.scale, self.items_ND[:used, -1]
        top_BE, rows_BE, total_B = top_k_blocked(
            context.queries_BD, items_ND, bias_N, banned_N, self.config.encoder_candidates
        )
        proposals = torch.where(top_BE > -torch.inf, rows_BE, -1).to(torch.int32).cpu().numpy()
        rows_BC, counted_BCF = self.counting.walk(
            context.windows_BL, row_B, learn_B, context.idle_B, context.last_gap_B, proposals,
            self.catalog.born_N, self.catalog.seen_N, now_B,
        )  # fmt: skip
        candidates_BC = torch.from_numpy(rows_BC).to(self.device).long()
        features_BCF = torch.from_numpy(counted_BCF).to(self.device)
        own = self.items_ND[candidates_BC.clamp(min=0)]
        logits_BC = torch.einsum("bd,bcd->bc", context.queries_BD, own[..., :-1])
        logits_BC = logits_BC * self.encoder.config.scale + own[..., -1]
        total_B, best_B = _finite(total_B), _finite(top_BE[:, 0])
        features_BCF[..., ENCODER_FEATURES[0]] = logits_BC - total_B[:, None]
        features_BCF[..., ENCODER_FEATURES[1]] = logits_BC - best_B[:, None]
        return candidates_BC, features_BCF

    @torch.no_grad()
    def _score(
        self, batch: Batch, context: _Context, walked: Arrays, candidates_BC: Tensor, features_BCF: Tensor
    ) -> Outcome:
        target_B = torch.from_numpy(batch.row_B).to(self.device).long()
        scores_BC = self.ranker(features_BCF, candidates_BC)
        items_before = len(self.catalog) - int(batch.new_B.sum())
        log_probability_B = _log_probability(scores_BC, candidates_BC, target_B, items_before)
        return Outcome(
            rank_B=rank_of(scores_BC, candidates_BC, target_B).cpu().numpy(),
            log_probability_B=log_probability_B.cpu().numpy().astype(np.float64),
            repeat_B=(walked["number"] == batch.number_B[:, None]).any(axis=1),
            first_B=(walked["number"] == 0).all(axis=1),
            windows_BL=context.windows_BL,
            list_BK=self._top(scores_BC, candidates_BC)[0],
        )

    def _top(self, scores_BC: Tensor, candidates_BC: Tensor) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best rows [B, K] and their probabilities among the candidates."""
        top = scores_BC.topk(self.config.list_length, dim=1)
        rows = candidates_BC.gather(1, top.indices).to(torch.int32)
        shares = scores_BC.softmax(dim=1).gather(1, top.indices).nan_to_num()
        return rows.cpu().numpy(), shares.cpu().numpy()

    # -- learn -------------------------------------------------------------------------------------------------

    def _learn_ranker(
        self, batch: Batch, scored: NDArray[np.int64], candidates_BC: Tensor, features_BCF: Tensor
    ) -> dict[str, float]:
        """Softmax cross-entropy over the candidates, on the events whose target is among them."""
        at = torch.from_numpy(scored).to(self.device)
        candidates, features = candidates_BC[at], features_BCF[at]
        target = torch.from_numpy(batch.row_B[scored]).to(self.device).long()
        usable = (candidates == target[:, None]).any(dim=1) & ((candidates >= 0).sum(dim=1) > 1)
        if not bool(usable.any()):
            return {}
        candidates, features, target = candidates[usable], features[usable], target[usable]
        self.ranker.observe(features, candidates)
        rate = self.config.ranker_learning_rate * (1 + 3 * 0.5 ** (self.events / 5_000))
        _set_rate(self.ranker_adam, rate)
        place = (candidates == target[:, None]).int().argmax(dim=1)
        loss = torch.zeros(())
        for _ in range(self.config.ranker_steps):
            loss = F.cross_entropy(self.ranker(features, candidates), place)
            self.ranker_adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.ranker_adam.step()
        return {"ranker": float(loss.detach())}

    def _learn_encoder(
        self, batch: Batch, walked: Arrays, windows_BL: NDArray[np.int32], scored: NDArray[np.int64]
    ) -> dict[str, float]:
        """Adam steps on the windows that ended in this batch, and as many (times `replayed`) older ones."""
        window = self.config.window
        usable = scored[(windows_BL[scored, -1] >= 0)]
        fresh: Columns = {
            "window": windows_BL[usable, -window:],
            "type": walked["type"][usable, -window:],
            "gap": walked["gap"][usable, -window:],
            "target": batch.row_B[usable],
        }
        loss = float("nan")
        replayed = int(batch.learn_B.sum() * self.config.replayed)
        for _ in range(self.config.encoder_steps if replayed or len(usable) else 0):
            examples = fresh
            older = self.replay.sample(replayed, self.rng)
            if older:
                examples = {name: np.concatenate([fresh[name], older[name]]) for name in fresh}
            examples = _whole(examples)
            if len(examples["target"]):
                loss = self._encoder_step(examples)
        self.replay.add(fresh, self.rng)
        return {} if np.isnan(loss) else {"encoder": loss}

    def _encoder_step(self, examples: Columns) -> float:
        scored_rows, log_q_S = self._softmax_rows()
        windows, targets = examples["window"], examples["target"]
        rows = np.unique(np.concatenate([scored_rows, targets, windows[windows >= 0]]))
        local_N = np.full(self.catalog.rows_used + 1, -1, dtype=np.int32)
        local_N[rows] = np.arange(len(rows))
        at = torch.from_numpy(rows).to(self.device).long()
        table = self.items_ND[at].requires_grad_()
        local_windows = np.where(windows >= 0, local_N[windows], -1)
        queries_MD = self._training_queries(table, local_windows, examples["type"], examples["gap"])
        columns = torch.from_numpy(local_N[scored_rows]).to(self.device).long()
        target = torch.from_numpy(local_N[targets]).to(self.device).long()
        logits_MS = self.encoder.logits(queries_MD, table[columns, :-1], table[columns, -1])
        own = table[target]
        own_logit_M = (queries_MD * F.normalize(own[:, :-1], dim=-1)).sum(-1) * self.encoder.config.scale + own[:, -1]
        loss = softmax_cross_entropy(own_logit_M, logits_MS, columns[None] == target[:, None], log_q_S).mean()
        self.encoder_adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0)
        self.encoder_adam.step()
        if self.config.item_vectors == "learned":
            self._item_step(at, table)
        return float(loss.detach())

    @torch.no_grad()
    def _item_step(self, at: Tensor, table: Tensor) -> None:
        assert table.grad is not None
        self.items_adam.step(self.items_ND, at, table.grad, self.config.encoder_learning_rate)
        # Kept at unit length, so that scoring all rows needs no second pass over them.
        self.items_ND[at, :-1] = F.normalize(self.items_ND[at, :-1], dim=-1)

    def _training_queries(
        self, table: Tensor, windows: NDArray[np.int32], types: NDArray[np.uint8], gaps: NDArray[np.uint8]
    ) -> Tensor:
        inputs, lengths = self._inputs(windows, types, gaps, table)
        h, _ = self.encoder.run(self._drop(inputs), lengths)
        ring = torch.from_numpy(windows).to(self.device)
        vectors = table[ring.clamp(min=0).long(), :-1]
        queries: Tensor
        queries, _ = self.encoder.queries(self._drop(h), vectors, ring >= 0)
        return queries

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout (Srivastava et al., 2014) from this line's own generator, so that a resumed line repeats it."""
        kept = 1.0 - self.config.dropout
        mask = torch.rand(x.shape, generator=self.torch_rng) < kept
        return x * mask.to(x.device) / kept

    def _softmax_rows(self) -> tuple[NDArray[np.int64], Tensor | None]:
        """The rows that a target is compared with: all live ones, or a sample and its log inclusion probabilities.

        The sample is half uniform, half by recent popularity.
        """
        live = self.catalog.live_rows()
        if len(live) <= self.config.full_softmax_items:
            return live, None
        hot = self.counting.popularity_PN[1, live] + 1e-12
        probability = 0.5 * hot / hot.sum() + 0.5 / len(live)
        drawn = np.searchsorted(np.cumsum(probability), self.rng.random(self.config.negatives) * 0.999999)
        drawn = np.unique(np.minimum(drawn, len(live) - 1))
        log_q = log_inclusion(torch.from_numpy(probability[drawn]), self.config.negatives)
        return live[drawn], log_q.to(self.device)

    # -- state -------------------------------------------------------------------------------------------------

    def state_dict(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays by dotted name and JSON scalars: all of the line except the users' memories."""
        arrays: Arrays = {}
        used = self.catalog.rows_used
        for name, module in (("encoder", self.encoder), ("ranker", self.ranker)):
            arrays |= {f"{name}.{key}": _array(tensor) for key, tensor in module.state_dict().items()}
        for name, optimizer in (("encoder_adam", self.encoder_adam), ("ranker_adam", self.ranker_adam)):
            for index, state in optimizer.state_dict()["state"].items():
                arrays |= {f"{name}.{index}.{key}": _array(value) for key, value in state.items()}
        arrays["items"] = _array(self.items_ND[:used])
        for key in ("m", "v", "steps"):
            arrays[f"items_adam.{key}"] = _array(getattr(self.items_adam, key)[:used])
        for name, part in (("catalog", self.catalog), ("replay", self.replay)):
            arrays |= {f"{name}.{key}": array for key, array in part.state_dict().items()}
        arrays |= {f"counting.{key}": array for key, array in self.counting.state_dict().items()}
        arrays["torch_rng"] = self.torch_rng.get_state().numpy().copy()
        meta = {
            "events": self.events,
            "steps": self.steps,
            "clock_ts": self.clock_ts,
            "rng": _texts(self.rng.bit_generator.state),
        }
        return arrays, meta

    def load_state_dict(self, arrays: Arrays, meta: dict[str, Any], numbers: list[int]) -> None:
        """`numbers`: the store's item numbers of `Catalog.ids_of_state(part(arrays, "catalog"))`."""
        self.catalog.load_state_dict(part(arrays, "catalog"), numbers)
        self.replay.load_state_dict(part(arrays, "replay"))
        self.counting.load_state_dict(part(arrays, "counting"))
        if self.counting.rows < self.catalog.capacity:
            self.counting.grow(self.catalog.capacity)
        for name, module in (("encoder", self.encoder), ("ranker", self.ranker)):
            module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in part(arrays, name).items()})
        for name, optimizer in (("encoder_adam", self.encoder_adam), ("ranker_adam", self.ranker_adam)):
            _load_optimizer(optimizer, part(arrays, name))
        rows, used = self.catalog.capacity, self.catalog.rows_used
        self.items_ND = torch.zeros(rows, self.config.dim + 1, device=self.device)
        self.items_adam = RowAdam(rows, self.config.dim + 1, self.device)
        self.items_ND[:used] = torch.from_numpy(arrays["items"].copy()).to(self.device)
        for key in ("m", "v", "steps"):
            getattr(self.items_adam, key)[:used] = torch.from_numpy(arrays[f"items_adam.{key}"].copy()).to(self.device)
        self.torch_rng.set_state(torch.from_numpy(arrays["torch_rng"].copy()))
        self.events, self.steps, self.clock_ts = meta["events"], meta["steps"], meta["clock_ts"]
        self.rng.bit_generator.state = _numbers(meta["rng"])


def part(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays below `prefix.`, without it."""
    head = prefix + "."
    return {name[len(head) :]: array for name, array in arrays.items() if name.startswith(head)}


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy().copy()


def _load_optimizer(optimizer: torch.optim.Optimizer, arrays: Arrays) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = torch.from_numpy(array.copy())
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _texts(state: Any) -> Any:
    """128-bit integers of a generator's state as texts, since JSON numbers stop at 64 bits."""
    if isinstance(state, dict):
        return {key: _texts(value) for key, value in state.items()}
    return f"int:{state}" if isinstance(state, int) else state


def _numbers(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _numbers(value) for key, value in state.items()}
    return int(state[4:]) if isinstance(state, str) and state.startswith("int:") else state


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _idle(clock_B: NDArray[np.float64], last_ts_B: NDArray[np.float64]) -> NDArray[np.float32]:
    """log(1 + seconds) since the user's last event, by the time of the event before the one to predict."""
    seconds = np.where(last_ts_B > 0, np.maximum(0.0, clock_B - last_ts_B), 0.0)
    return np.log1p(seconds).astype(np.float32)


def _last_gap(gap_BL: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(gap_BL[:, -1]).astype(np.float32)


def _lengths(rows_BW: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many places of right-aligned windows are in use, counting gaps left by evicted items."""
    filled = rows_BW >= 0
    return np.where(filled.any(axis=1), rows_BW.shape[1] - filled.argmax(axis=1), 0)


def _whole(examples: Columns) -> Columns:
    """Only the examples whose target and newest item still have a row."""
    whole = (examples["target"] >= 0) & (examples["window"][:, -1] >= 0)
    return {name: column[whole] for name, column in examples.items()}


def _finite(x: Tensor) -> Tensor:
    return torch.where(torch.isfinite(x), x, torch.zeros_like(x))


def _log_probability(scores_BC: Tensor, candidates_BC: Tensor, target_B: Tensor, items: int) -> Tensor:
    """log P(target): .99 by the ranker over its candidates, .01 spread over the whole catalogue."""
    is_target = candidates_BC == target_B[:, None]
    among = torch.where(is_target, scores_BC.softmax(dim=1), 0.0).sum(dim=1).nan_to_num()
    return torch.log(0.99 * among + 0.01 / max(1, items))
