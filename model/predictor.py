"""The predictor: context -> candidates -> features -> scores -> predictions, and `Lists` by the rules of `model.lists`.

No weights change here. The counting tables learn from events on the way (see `Counting.walk`). Shape suffixes as in
`encoder.encoder`; also U users to recommend to, L ring entries, E proposals of the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.batch import Places
from model.counting.features import ENCODER, FEATURES
from model.counting.scratch import NONE_HIDDEN, Breadth
from model.counting.walk import Counting, MapSlices, Users, Walked, WalkedEvents
from model.encoder.encoder import Encoder
from model.items.catalog import Catalog
from model.items.content import Content
from model.items.item_table import ItemTable, with_one
from model.items.likeness import likeness
from model.learner_config import LearnerConfig
from model.lists.list_maker import ListMaker
from model.lists.lists import Lists, Ranked
from model.pace import Pace
from model.ranker.trainer import RankerTrainer
from model.ranking import Top, top_k_blocked
from model.reasons import Reasons
from model.user_table import UserTable

_ENCODER_FEATURES = tuple(FEATURES.index(name) for name in ENCODER)
_NO_ROWS, _NO_PLACES = np.zeros(0, np.int32), np.zeros(0, np.int64)
# `Breadth.span` and `hops` of a thinned tick, in items: below the defaults, to save time. Measured:
# docs/experiments/less-effort.md.
_THIN_SPAN, _THIN_HOPS = 8, 3


@dataclass(frozen=True)
class Context:
    """Users as they stand before their events, and query vectors [B, D] of the examined ones."""

    users: Users
    queries_BD: Tensor
    attention_BW: Tensor | None = None


@dataclass(frozen=True)
class Ranking:
    """Candidates of B events with features and scores, on the device. `found`: the same on the host, with proposers."""

    candidates_BC: Tensor
    features_BCF: Tensor
    scores_BC: Tensor
    found: Walked


class Predictor:
    """Ranks items with the present state of the line's parts. Several threads may call it at once while nothing is
    learned."""

    def __init__(
        self,
        config: LearnerConfig,
        encoder: Encoder,
        items: ItemTable,
        catalog: Catalog,
        counting: Counting,
        users: UserTable,
        ranker: RankerTrainer,
        list_maker: ListMaker,
        content: Content | None = None,
    ) -> None:
        """Join the parts. content: None where items are known from events alone, and nobody decides on them."""
        self.config = config
        self._encoder, self._items, self._catalog, self._counting = encoder, items, catalog, counting
        self._users, self._ranker, self._list_maker, self._content = users, ranker, list_maker, content
        self._reasons = Reasons(counting, items, ranker)

    @torch.no_grad()
    def recommend(
        self, slots: NDArray[np.int64], pace: Pace, clock_ts: float, each: MapSlices = map
    ) -> dict[str, Lists]:
        """Return the lists by scenario for the users in these slots as they stand now.

        slots: slots of U users [U]
        pace: above thinning 1 there are fewer candidates
        clock_ts: the time of the newest event, in seconds
        each: `map`, or the `map` of an executor to use several threads; not of the executor that runs this call, which
            would wait for itself
        """
        return self.lists(*self.stand(slots, pace, clock_ts, each), clock_ts)

    @torch.no_grad()
    def stand(
        self, slots: NDArray[np.int64], pace: Pace, clock_ts: float, each: MapSlices = map
    ) -> tuple[Context, Ranking]:
        """Rank candidates for users as they stand now: see `recommend`."""
        users = self._users
        windows_UL = self._catalog.rows_of_numbers(users.number_SL[slots])
        queries_UD, attention_UW = self._attended(users.state(slots)[0], windows_UL)
        rings = windows_UL, users.type_SL[slots], users.gap_SL[slots]
        as_they_stand = users_of(*rings, np.full(len(slots), clock_ts), users.ts_S[slots])
        context = Context(as_they_stand, queries_UD, attention_UW)
        hidden_N = NONE_HIDDEN if self._content is None else self._content.hidden_N
        return context, self.rank(context, _no_events(len(slots)), pace, hidden_N=hidden_N, each=each)

    def lists(self, context: Context, ranking: Ranking, clock_ts: float) -> dict[str, Lists]:
        """Return the lists by scenario of users as they stand, each with the reasons of its items."""
        assert context.attention_BW is not None
        found, windows_UL = ranking.found, context.users.windows_BL
        given = windows_UL, context.attention_BW, found.candidates_BC, ranking.features_BCF
        made = self._list_maker.make(_ranked(ranking), context.users, clock_ts)
        return {name: replace(one, because=self._reasons.of_lists(*given, one)) for name, one in made.items()}

    @torch.no_grad()
    def attention(self, slot: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the last W item rows of a user and their attention weights."""
        slots = np.array([slot])
        windows_1L = self._catalog.rows_of_numbers(self._users.number_SL[slots])
        _, attention_1W = self._attended(self._users.state(slots)[0], windows_1L)
        return windows_1L[0, -self.config.window :], attention_1W[0].cpu().numpy()

    @torch.no_grad()
    def queries(self, h_BH: Tensor, windows_BL: NDArray[np.int32]) -> Tensor:
        """Return query vectors [B, D] of users with these states and rings."""
        return self._attended(h_BH, windows_BL)[0]

    def _attended(self, h_BH: Tensor, windows_BL: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
        ring = self._encoder.ring(windows_BL[:, -self.config.window :], self._items.table_ND1)
        attended: tuple[Tensor, Tensor] = self._encoder.queries(h_BH, *ring)
        return attended

    @torch.no_grad()
    def rank(
        self,
        context: Context,
        events: WalkedEvents,
        pace: Pace,
        unborn: NDArray[np.int32] = _NO_ROWS,
        hidden_N: NDArray[np.bool_] = NONE_HIDDEN,
        each: MapSlices = map,
    ) -> Ranking:
        """Rank candidates for the examined events; the counting tables learn from all events.

        unborn: rows of items that first appear in or after these events; the encoder may not propose them
        hidden_N: True for rows that must be no candidates and fill no list
        """
        live_N = self._live(unborn)
        live_N[: len(hidden_N)] &= ~hidden_N[: len(live_N)]
        queries_BD1 = with_one(context.queries_BD * self._encoder.config.scale)
        top = self._asked(queries_BD1, live_N) if pace.thinning == 1 else None
        proposals_BE = _proposals(top, len(queries_BD1))
        found = self._counting.walk(context.users, events, proposals_BE, live_N, self._breadth(pace), each, hidden_N)
        logits_BC = self._logits(queries_BD1, found.candidates_BC, None if top is None else top.all_BN)
        candidates_BC = torch.from_numpy(found.candidates_BC).to(self._items.device).long()
        features_BCF = self._features(found, candidates_BC, logits_BC)
        if self._content is not None and self._content.described:
            windows_BL = context.users.windows_BL[events.examine_B]
            alike_BCF = likeness(self._content, found.candidates_BC, windows_BL)
            features_BCF = torch.cat([features_BCF, alike_BCF.to(features_BCF.device)], dim=-1)
        scores_BC = self._ranker.scores(features_BCF, candidates_BC >= 0)
        return Ranking(candidates_BC, features_BCF, scores_BC, found)

    def predicted(self, ranking: Ranking) -> NDArray[np.int32]:
        """Return the rows of the best candidates of each event [B, K], filled up to the length of a list, before any
        rule."""
        top = ranking.scores_BC.topk(self.config.list_length, dim=1)
        rows_BK = ranking.candidates_BC.gather(1, top.indices).to(torch.int32).cpu().numpy()
        return ranking.found.filling.filled_up(rows_BK)

    def after_rules(
        self, ranking: Ranking, users: Users, clock_ts: float, row_B: NDArray[np.int32], number_B: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the default lists after the rules, and the place of each event's item: `Outcome.after_BK`, `listed_B`.

        users: the users before the examined events
        row_B, number_B: the events' items, and their numbers in the line
        """
        maker = self._list_maker
        listed_B, after_BK = np.full(len(row_B), -1), np.full((len(row_B), maker.default_length), -1, np.int32)
        places = np.flatnonzero(maker.is_measured(number_B))
        if len(places):
            lists = maker.make(_ranked(ranking, places), users.at(places), clock_ts, only=maker.default)[maker.default]
            is_target_UK = lists.rows_UK == row_B[places, None]
            listed_B[places] = np.where(is_target_UK.any(axis=1), is_target_UK.argmax(axis=1) + 1, 0)
            after_BK[places] = lists.rows_UK
        return after_BK, listed_B

    def _breadth(self, pace: Pace) -> Breadth:
        """Return how widely to look for candidates; a thinned tick keeps as many as a ranker's example needs."""
        config, length = self.config, self.config.list_length
        if pace.thinning == 1:
            return Breadth(config.candidates, least=length)
        least = max(length, 1 + config.ranker_hard + config.ranker_drawn)
        most = min(config.candidates, max(least, config.candidates // 2))
        return Breadth(most, span=_THIN_SPAN, hops=_THIN_HOPS, least=length)

    def _live(self, unborn: NDArray[np.int32]) -> NDArray[np.bool_]:
        live_N = self._catalog.live_N[: max(1, self._catalog.rows_used)].copy()
        live_N[unborn] = False
        return live_N

    def _asked(self, queries_BD1: Tensor, live_N: NDArray[np.bool_]) -> Top:
        """Return the encoder's best items among the live ones; of more than `encoder_items`, among those seen last."""
        count, table_ND1 = self.config.encoder_candidates, self._items.table_ND1
        if np.count_nonzero(live_N) > self.config.encoder_items:
            latest = self._catalog.latest(np.flatnonzero(live_N), self.config.encoder_items)
            at = torch.from_numpy(latest).to(self._items.device)
            top = top_k_blocked(queries_BD1, table_ND1[at], _NO_PLACES, count)
            return top._replace(rows_BK=at[top.rows_BK], all_BN=None)
        # Unborn rows at the end are cut off, so that sums are rounded as if they did not exist.
        used = int(np.flatnonzero(live_N).max(initial=0)) + 1
        return top_k_blocked(queries_BD1, table_ND1[:used], np.flatnonzero(~live_N[:used]), count)

    def _logits(self, queries_BD1: Tensor, rows_BC: NDArray[np.int32], known_BN: Tensor | None) -> Tensor:
        """Return the encoder's scores of candidates [B, C]. `known_BN`: scores of the first N rows, if computed."""
        table_ND1 = self._items.table_ND1
        candidates_BC = torch.from_numpy(np.maximum(rows_BC, 0)).to(table_ND1.device).long()
        if known_BN is None:
            return (F.embedding(candidates_BC, table_ND1) * queries_BD1[:, None]).sum(dim=-1)
        newer_MD1 = table_ND1[known_BN.shape[1] : int(rows_BC.max(initial=0)) + 1]
        if len(newer_MD1):
            known_BN = torch.cat([known_BN, torch.mm(queries_BD1, newer_MD1.T)], dim=1)
        return known_BN.gather(1, candidates_BC)

    def _features(self, found: Walked, candidates_BC: Tensor, logits_BC: Tensor) -> Tensor:
        amounts, rest = (torch.from_numpy(x).to(logits_BC.device) for x in (found.amounts_BCL, found.rest_BCR))
        features_BCF = torch.cat([amounts.log_(), rest], dim=-1)
        present_BC = logits_BC.masked_fill(candidates_BC < 0, -torch.inf)
        total_B1, best_B1 = present_BC.logsumexp(dim=1, keepdim=True), present_BC.amax(dim=1, keepdim=True)
        # An encoder whose scores are not finite says nothing; counting features still rank.
        features_BCF[..., _ENCODER_FEATURES[0]] = _finite(logits_BC - _finite(total_B1))
        features_BCF[..., _ENCODER_FEATURES[1]] = _finite(logits_BC - _finite(best_B1))
        return features_BCF


def _ranked(ranking: Ranking, places: Places = slice(None)) -> Ranked:
    """Return what may stand in the lists of the events: their candidates in order, and what fills lists up.

    places: the events whose lists are made
    """
    found, at = ranking.found, places if isinstance(places, slice) else torch.from_numpy(places)
    scores = ranking.scores_BC.cpu()[at].sort(dim=1, descending=True, stable=True)
    order_BC = scores.indices.numpy()
    value_BC = scores.values.log_softmax(dim=1).nan_to_num(nan=-torch.inf).numpy().astype(np.float64)
    rows_BC = np.take_along_axis(found.candidates_BC[places], order_BC, axis=1)
    proposer_BC = np.take_along_axis(found.proposers_BC[places], order_BC, axis=1)
    return Ranked(*found.filling.at(places).beside(rows_BC, value_BC, proposer_BC))


def users_of(
    windows_BL: NDArray[np.int32],
    types_BL: NDArray[np.uint8],
    gaps_BL: NDArray[np.uint8],
    clock_B: NDArray[np.float64],
    last_ts_B: NDArray[np.float64],
) -> Users:
    """Return users as the counting tables see them.

    windows_BL: item rows of the ring, -1: none
    types_BL: event types of the ring
    gaps_BL: time buckets between the events of the ring
    clock_B: time of the newest event of any user before the one to predict, in seconds
    last_ts_B: time of the user's own last event, in seconds; 0: none
    """
    seconds_B = np.where(last_ts_B > 0, np.maximum(0.0, clock_B - last_ts_B), 0.0)
    last_gap_B = np.ascontiguousarray(gaps_BL[:, -1]).astype(np.float32)
    return Users(windows_BL, types_BL, gaps_BL, np.log1p(seconds_B).astype(np.float32), last_gap_B)


def _no_events(count: int) -> WalkedEvents:
    """Return placeholders for `count` users: they are examined, and nothing is learned from them."""
    none_B = np.zeros(count, np.bool_)
    nothing = np.zeros(count, np.int32), np.zeros(count, np.uint32), none_B
    return WalkedEvents(*nothing, np.ones(count, np.bool_), np.zeros(count, np.int16), none_B)


def _proposals(top: Top | None, count: int) -> NDArray[np.int32]:
    """Return the rows that the encoder proposes [B, E], -1: none; without a column if it was not asked."""
    if top is None:
        return np.zeros((count, 0), np.int32)
    proposals_BE: NDArray[np.int32] = (
        torch.where(top.scores_BK > -torch.inf, top.rows_BK, -1).to(torch.int32).cpu().numpy()
    )
    return proposals_BE


def _finite(x: Tensor) -> Tensor:
    return torch.where(torch.isfinite(x), x, torch.zeros_like(x))
