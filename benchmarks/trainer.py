"""The worker, which trains and serves, against GRU4Rec's trainer alone: events a second and hit rate, on the same logs.

    python -m benchmarks.trainer LOG... [--limit NAME=N] [--lanes 32,192] [--epochs 1,5] [--tenths 3,6,9]
                                        [--thinnings 1,2,4,8,16] [--seed N]

A LOG is a CSV in time order with the columns user, item, ts, type; a user's events are one session.

The trainer is an own minimal version of the authors' PyTorch code (github.com/hidasib/GRU4Rec_PyTorch_Official): 100
units, one vector an item for input and output, session-parallel mini-batches, the state carried from step to step
without its gradient (one step back), cross-entropy over the targets of the other lanes and 2,048 negatives drawn by
count^.5, Adagrad with sparse gradients of the item vectors. The settings are the authors' for 100 units on yoochoose
(paramfiles/rsc15_xe_shared_100_best.py), but for the learning rate: theirs, .2 with momentum .2, is for ten epochs
over millions of events, .1 without is better after one epoch over a log of 84,000. Their batch is 32 lanes; with 192
it trains faster, and learns less from an epoch.

Compared, each on one thread:

- *Events a second*, of the log: also those that a session begins with, which are no targets. The trainer's are of the
  first steps of an epoch over the whole log, when all lanes are full, without preparing the batches, ranking or
  serving; of k epochs a k-th. The worker's are of the whole loop from decoding to lists, at each effort. All take
  turns, a tenth of the log at a time, since the machine's speed varies: figures are medians of the nine turns after
  the first, ratios are medians of the ratios within a turn.
- *HR@20* of the events of the same tenths of the log, users' first events left out, from all items, repeats allowed.
  The trainer: from scratch on everything before the tenth, frozen within it, each list from the user's last 50 items
  up to the event (`offline.evaluate`). The worker: one pass, each event predicted before it is learned from; at 1 in n
  some one in n of these events. The errors are standard errors of a share of so many events.

To be seen: for each trainer an effort that does at least as many events a second as one epoch, and hits at least as
often as the best of its epochs. Ends with 1 where there is none. Leaves benchmarks/results/trainer-LOG.json.

Shapes: E events, U users, T targets of an epoch, L lanes, B of them in a step, S negatives, C = B + S, D units, N
items; row 0 is padding.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.offline.evaluate import Score, ranked, score_of
from benchmarks.offline.gru4rec import Gru4Rec, Gru4RecConfig
from benchmarks.offline.log import IntArray, Log, read_log
from benchmarks.offline.models import CANONICAL
from benchmarks.quality.one_pass import Pass, Running
from benchmarks.quality.scored import LIMITS, standard_error
from benchmarks.record import machine, only_errors, save
from benchmarks.throughput import THINNINGS, thinned
from model.learner_config import LearnerConfig
from stream_worker.config import Settings

_NETWORK = Gru4RecConfig(dropout_input=0.0, dropout_hidden=0.4, learning_rate=0.1)
_WINDOW = 50  # a user's last items that a list of the trainer is made from
_STRETCH = 8_192  # events of a timed stretch
_TURNS = 10  # turns of the timing, each over a tenth of the log
Rates = NDArray[np.float64]


@dataclass(frozen=True)
class TrainerConfig:
    """Settings of a trainer.

    lanes: sessions at a time, which is the batch size
    negatives: items of a step, drawn by count^`alpha`, in addition to the other lanes' targets
    """

    lanes: int
    network: Gru4RecConfig = _NETWORK
    negatives: int = 2_048
    alpha: float = 0.5
    seed: int = 0


class Batch(NamedTuple):
    """One step of at most as many sessions as there are lanes, with item rows from 1 and ascending `lane_B`.

    carried_B: 1 if the lane's state belongs to this session, 0 at its first event
    """

    inputs_B: Tensor
    targets_B: Tensor
    lane_B: Tensor
    carried_B: Tensor


class SessionParallel:
    """The first `end` events of a log as mini-batches (Hidasi et al. 2016, figure 2): sessions in the order in which
    they begin, each in the lane that is free first; when none is left, batches get narrower."""

    def __init__(self, log: Log, end: int, lanes: int) -> None:
        order_E = np.argsort(log.user_E[:end], kind="stable")
        user_E, row_E = log.user_E[order_E], log.item_E[order_E] + 1
        count_U = np.bincount(user_E)
        place_E = np.arange(end) - (np.cumsum(count_U) - count_U)[user_E]
        start_U, lane_U = _lanes(count_U - 1, lanes)
        at_T = np.flatnonzero(place_E > 0)
        step_T, lane_T = (start_U[user_E] + place_E - 1)[at_T], lane_U[user_E[at_T]]
        by_step_T = np.lexsort((lane_T, step_T))
        at_T = at_T[by_step_T]
        columns = row_E[at_T - 1], row_E[at_T], lane_T[by_step_T], (place_E[at_T] > 1).astype(np.float32)
        self._columns = Batch(*(torch.from_numpy(column) for column in columns))
        self._ends = np.cumsum(np.bincount(step_T)).tolist()

    @property
    def targets(self) -> int:
        """Targets of one epoch: all events but the first of each session."""
        return len(self._columns.targets_B)

    def __iter__(self) -> Iterator[Batch]:
        for begin, end in pairwise([0, *self._ends]):
            yield Batch(*(column[begin:end] for column in self._columns))


def _lanes(steps_U: IntArray, lanes: int) -> tuple[IntArray, IntArray]:
    """Return the first step and the lane of each session, given the sessions' numbers of steps."""
    free = [(0, lane) for lane in range(lanes)]
    begins = []
    for steps in steps_U.tolist():
        begin, lane = free[0]
        begins.append((begin, lane))
        heapq.heapreplace(free, (begin + steps, lane))
    start_U, lane_U = np.array(begins, dtype=np.int64).T
    return start_U, lane_U


class Gru4RecTrainer:
    """A trainer of a model on the first `end` events of a log, after the authors' code."""

    def __init__(self, log: Log, end: int, config: TrainerConfig) -> None:
        torch.manual_seed(config.seed)
        self.batches = SessionParallel(log, end, config.lanes)
        self.model = Gru4Rec(log.known_items(end), config.network)
        vectors_ND = self.model.items.weight.detach()
        self.model.items = nn.Embedding.from_pretrained(vectors_ND, freeze=False, sparse=True)
        self._config = config
        self._optimizer = self.model.optimizer()
        count_N = torch.from_numpy(np.bincount(log.item_E[:end] + 1)).float()
        self._weight_N = count_N**config.alpha * (count_N > 0)
        self._log_count_N = count_N.clamp_min(1).log()

    def epoch(self) -> float:
        """Train for one epoch. Return the mean loss of a target."""
        return sum(loss * targets for loss, targets in self.steps()) / max(1, self.batches.targets)

    def steps(self) -> Iterator[tuple[float, int]]:
        """Do the steps of one epoch one by one. Yield the mean loss of each and its number of targets."""
        hidden_LD = torch.zeros(self._config.lanes, self._config.network.units)
        for batch in self.batches:
            self.model.train()
            yield self._step(batch, hidden_LD), len(batch.targets_B)

    def _step(self, batch: Batch, hidden_LD: Tensor) -> float:
        """Train on one batch and write the new states, after dropout as in the authors' code, to `hidden_LD`."""
        sampled_S = torch.multinomial(self._weight_N, self._config.negatives, replacement=True)
        columns_C = torch.cat([batch.targets_B, sampled_S])
        B = len(batch.inputs_B)
        inputs_BD, outputs_CD = self.model.items(torch.cat([batch.inputs_B, columns_C])).tensor_split([B])
        before_BD = hidden_LD[batch.lane_B] * batch.carried_B[:, None]
        states_BD = self._next_states(inputs_BD, before_BD)
        bias_C = self.model.bias.index_select(0, columns_C) - self._expected(columns_C, B)
        loss = F.cross_entropy(torch.addmm(bias_C, states_BD, outputs_CD.T), torch.arange(B))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        hidden_LD[batch.lane_B] = states_BD.detach()
        return loss.item()

    def _next_states(self, inputs_BD: Tensor, before_BD: Tensor) -> Tensor:
        states_B1D, _ = self.model.gru(self.model.input_dropout(inputs_BD)[:, None], before_BD[None])
        states_BD: Tensor = self.model.hidden_dropout(states_B1D[:, 0])
        return states_BD

    def _expected(self, columns_C: Tensor, B: int) -> Tensor:
        """Return the log of the expected number of times that each column is drawn (the authors' `logq`).

        The B targets are drawn by count, the others by count^alpha.
        """
        log_count_C = self._log_count_N[columns_C]
        return torch.cat([log_count_C[:B], log_count_C[B:] * self._config.alpha])


class Stretches:
    """A trainer that begins an epoch over a whole log again and again, for timing."""

    def __init__(self, log: Log, config: TrainerConfig) -> None:
        self._trainer = Gru4RecTrainer(log, len(log), config)
        self._events_a_target = len(log) / self._trainer.batches.targets

    def take(self) -> float:
        """Begin an epoch. Return the events a second of its first steps."""
        began, targets = time.perf_counter(), 0
        for _, trained in self._trainer.steps():
            targets += trained
            if targets >= _STRETCH:
                break
        return targets * self._events_a_target / (time.perf_counter() - began)


@dataclass(frozen=True)
class Row:
    """One loop on one log.

    error: standard error of the hit rate of `scored` events
    ratios: lanes of a trainer -> events a second relative to one epoch of it; empty for a trainer
    """

    loop: str
    events_per_second: float
    hit_rate: float
    error: float
    scored: int
    ratios: dict[int, float]


def row(loop: str, events_per_second: float, hits: int, scored: int, ratios: Mapping[int, float] = {}) -> Row:
    share = hits / max(1, scored)
    return Row(loop, events_per_second, share, standard_error(share, scored), scored, dict(ratios))


@dataclass(frozen=True)
class Comparison:
    """Figures on one log: a row per effort, and for each trainer, by its lanes, a row per number of epochs."""

    log: str
    worker: list[Row]
    trainers: dict[int, list[Row]]

    def good(self, lanes: int) -> list[Row]:
        """Return the efforts that are at least as fast as one epoch of this trainer and as good as its best one."""
        least = max(row.hit_rate for row in self.trainers[lanes])
        return [row for row in self.worker if row.ratios[lanes] >= 1 and row.hit_rate >= least]


def in_tenths(events: int, tenths: Sequence[int]) -> NDArray[np.bool_]:
    """Return a mask of the events in one of these tenths of a log, counted from 1."""
    begins = [events * tenth // 10 for tenth in range(1, 10)]
    return np.isin(np.searchsorted(begins, np.arange(events), side="right") + 1, tenths)


def trainer_scores(log: Log, config: TrainerConfig, tenths: Sequence[int], epochs: Sequence[int]) -> dict[int, Score]:
    """Return scores by number of epochs, of trainers fitted to everything before a tenth and scored in it."""
    histories = log.histories()
    scores = dict.fromkeys(epochs, Score())
    for tenth in tenths:
        begin = len(log) * (tenth - 1) // 10
        events = np.flatnonzero(histories.scored() & in_tenths(len(log), [tenth]))
        trainer = Gru4RecTrainer(log, begin, config)
        for epoch in range(1, max(epochs) + 1):
            trainer.epoch()
            if epoch in scores:
                lists = ranked(trainer.model, log, histories, events, begin, _WINDOW)
                scores[epoch] += score_of(lists, log.item_E[events])
    return scores


@dataclass(frozen=True)
class Task:
    """A comparison on the first `limit` rows of a log."""

    path: Path
    limit: int | None
    lanes: list[int]
    epochs: list[int]
    tenths: list[int]
    thinnings: list[int]
    seed: int

    def compare(self) -> Comparison:
        log = read_log([self.path], CANONICAL, self.limit)
        configs = {lanes: TrainerConfig(lanes, seed=self.seed) for lanes in self.lanes}
        runs = {thinning: Running(self._settings(thinning), self.path, limit=self.limit) for thinning in self.thinnings}
        rates, trainer_rates = _in_turns(log, runs, configs)
        worker = [self._worker_row(t, run.finish(), rates[t], trainer_rates) for t, run in runs.items()]
        trainers = {n: self._trainer_rows(log, config, trainer_rates[n]) for n, config in configs.items()}
        return Comparison(self.path.stem, worker, trainers)

    def _settings(self, thinning: int) -> Settings:
        return thinned(Settings(model=LearnerConfig(seed=self.seed)), thinning)

    def _worker_row(self, thinning: int, one: Pass, rates: Rates, trainers: Mapping[int, Rates]) -> Row:
        rank = one.rank_E[one.scored_E & in_tenths(len(one.rank_E), self.tenths)]
        ratios = {lanes: float(np.nanmedian(rates / others)) for lanes, others in trainers.items()}
        loop = f"worker, learns from 1 in {thinning}"
        return row(loop, float(np.nanmedian(rates)), int((rank > 0).sum()), len(rank), ratios)

    def _trainer_rows(self, log: Log, config: TrainerConfig, rates: Rates) -> list[Row]:
        return [
            row(
                f"GRU4Rec's trainer, {config.lanes} lanes, {_epochs(epochs)}",
                float(np.nanmedian(rates)) / epochs,
                score.hits,
                score.events,
            )
            for epochs, score in trainer_scores(log, config, self.tenths, self.epochs).items()
        ]


def _in_turns(
    log: Log, runs: Mapping[int, Running], configs: Mapping[int, TrainerConfig]
) -> tuple[dict[int, Rates], dict[int, Rates]]:
    """Return events a second by turn, of the worker by thinning and of trainers by lanes.

    nan: the batch of an earlier turn went past this one. The first turn, in which much is allocated and compiled, is
    left out.
    """
    stretches = {lanes: Stretches(log, config) for lanes, config in configs.items()}
    turns = [
        (
            {t: run.until(len(log) * turn // _TURNS) for t, run in runs.items()},
            {n: each.take() for n, each in stretches.items()},
        )
        for turn in range(1, _TURNS + 1)
    ]
    worker, trainers = zip(*turns[1:], strict=True)
    return (
        {thinning: np.array([turn[thinning] for turn in worker]) for thinning in runs},
        {lanes: np.array([turn[lanes] for turn in trainers]) for lanes in configs},
    )


def _epochs(count: int) -> str:
    return f"{count} epoch" + "s" * (count > 1)


def lines(comparison: Comparison) -> Iterator[str]:
    """Yield the rows of the Markdown table."""
    for one in [*chain.from_iterable(comparison.trainers.values()), *comparison.worker]:
        ratios = " | ".join(f"{one.ratios[lanes]:.2f}" if one.ratios else "" for lanes in comparison.trainers)
        rates = f"{one.events_per_second:,.0f} | {ratios} | {one.hit_rate:.4f} ± {one.error:.4f}"
        yield f"| {comparison.log} | {one.loop} | {rates} |"


def verdicts(comparison: Comparison) -> Iterator[str]:
    for lanes in comparison.trainers:
        good = comparison.good(lanes)
        which = (
            f"at least as fast and as good: {', '.join(one.loop for one in good)}" if good else "**no effort is both**"
        )
        yield f"{comparison.log}, against {lanes} lanes: {which}"


def _numbers(context: click.Context, option: click.Parameter, given: str) -> list[int]:
    try:
        return [int(number) for number in given.split(",")]
    except ValueError as fault:
        raise click.BadParameter("whole numbers, for instance 3,6,9") from fault


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", "limits", multiple=True, help="NAME=N: of this log only the first N rows.")
@click.option("--lanes", default="32,192", show_default=True, callback=_numbers)
@click.option("--epochs", default="1,5", show_default=True, callback=_numbers, help="Scored after each of these.")
@click.option("--tenths", default="3,6,9", show_default=True, callback=_numbers, help="Of a log, scored; from 2 on.")
@click.option("--thinnings", default=",".join(map(str, THINNINGS)), show_default=True, callback=_numbers)
@click.option("--seed", default=0, show_default=True)
def main(
    logs: tuple[Path, ...],
    limits: tuple[str, ...],
    lanes: list[int],
    epochs: list[int],
    tenths: list[int],
    thinnings: list[int],
    seed: int,
) -> None:
    """Print the table and write JSON; exit code 1 where no effort is as fast and as good as a trainer."""
    only_errors()
    torch.set_num_threads(1)
    most = LIMITS | {name: int(count) for name, count in (limit.split("=") for limit in limits)}
    settings = {n: asdict(TrainerConfig(n, seed=seed)) for n in lanes}
    figures = {"seed": seed, "tenths": tenths, "trainers": settings}
    comparisons = []
    print("| log | loop | events/s | " + " | ".join(f"of {n} lanes" for n in lanes) + " | HR@20 |")
    print("|---|---|---|" + "---|" * (len(lanes) + 1))
    for log in logs:
        comparison = Task(log, most.get(log.stem), lanes, epochs, tenths, thinnings, seed).compare()
        comparisons.append(comparison)
        print("\n".join(lines(comparison)), flush=True)
        save(f"trainer-{log.stem}", {**machine(), **figures, **asdict(comparison)})
    print("\n" + "\n".join(chain.from_iterable(map(verdicts, comparisons))))
    raise SystemExit(not all(one.good(n) for one in comparisons for n in lanes))


if __name__ == "__main__":
    main()
