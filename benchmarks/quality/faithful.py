"""Tests if reasons are true: without the named item the listed one should fall more than without another one.

python -m benchmarks.quality.faithful LOG... [--limit ROWS] [--reasons 2000] [--seed 0] [--json FILE]

LOG: a CSV in time order with the columns user, item, ts, type. After its last event reasons are drawn from the users'
lists, of users with at least three different items. All entries of the named item are taken out of the user's ring, or
all of another one of the user's items, drawn at random; nothing is learned in between. Each time, and for the ring as
it is, the LSTM state is made anew from the ring.

Shape suffixes: R reasons, L ring entries, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality.one_pass import one_pass
from benchmarks.quality.rows import Row, exit_with, said
from benchmarks.record import machine, only_errors, write
from model.batch import NO_GAP
from model.counting.tables import SECONDS
from model.learner import Learner
from model.pace import Pace
from model.reasons import KINDS
from stream_worker.config import Settings

_AT_A_TIME = 128  # users; not tuned
_FEWEST = 3  # different items of a history
_BAR = 0.7
Memories = dict[str, NDArray[Any]]


class Named(NamedTuple):
    """R reasons that name an item.

    slot_R: slot of the user
    item_R: row of the listed item
    cause_R: row of the history item that is named
    other_R: row of another history item, drawn at random
    kind_R: place in KINDS
    """

    slot_R: NDArray[np.int64]
    item_R: NDArray[np.int32]
    cause_R: NDArray[np.int32]
    other_R: NDArray[np.int32]
    kind_R: NDArray[np.int8]


@dataclass(frozen=True)
class Kind:
    """Reasons of one kind, or of all: how many, in what share of them the listed item falls more without the named item
    than without the other one, and by how much it falls on average, in nats."""

    kind: str
    reasons: int
    share: float
    fall: float
    fall_of_other: float


@dataclass(frozen=True)
class Faithfulness:
    """Figures of one log, of all reasons first, then by kind. `named`: share of all reasons that name an item."""

    log: str
    events: int
    users: int
    named: float
    kinds: tuple[Kind, ...]


def faithfulness(learner: Learner, log: str, reasons: int, seed: int) -> Faithfulness:
    """Measure reasons of the lists of users on the device, as they stand now."""
    named, share = named_reasons(learner, reasons, np.random.default_rng(seed))
    nothing_R = np.full_like(named.cause_R, -1)
    whole_R, without_R, without_other_R = (
        scores_without(learner, named.slot_R, named.item_R, out_R)
        for out_R in (nothing_R, named.cause_R, named.other_R)
    )
    fall_R, other_R = whole_R - without_R, whole_R - without_other_R
    kinds = [("all", np.ones(len(fall_R), np.bool_))]
    kinds += [(kind, named.kind_R == place) for place, kind in enumerate(KINDS)]
    return Faithfulness(
        log=log,
        events=learner.events,
        users=len(np.unique(named.slot_R)),
        named=share,
        kinds=tuple(
            Kind(
                kind,
                int(of_R.sum()),
                float((fall_R > other_R)[of_R].mean()),
                float(fall_R[of_R].mean()),
                float(other_R[of_R].mean()),
            )
            for kind, of_R in kinds
            if of_R.any()
        ),
    )


def named_reasons(learner: Learner, count: int, rng: np.random.Generator) -> tuple[Named, float]:
    """Draw reasons that name an item, about as many of each user; return also which share of all reasons do."""
    slots, rings = rng.permutation(learner.users.occupied()), {}
    for slot in slots.tolist():
        rows = learner.catalog.rows_of_numbers(learner.users.number_SL[[slot]])[0]
        rings[slot] = np.unique(rows[rows >= 0])
    slots = np.array([slot for slot in slots.tolist() if len(rings[slot]) >= _FEWEST], np.int64)[:count]
    most, listed, found = -(-count // max(1, len(slots))), 0, []
    learner.list_maker.refresh(learner.events)
    for some in _pieces(slots):
        lists = learner.recommend(some, Pace())[learner.list_maker.default]
        because = lists.because
        assert because is not None
        listed += int((lists.rows_UK >= 0).sum())
        for u, slot in enumerate(some.tolist()):
            for k in rng.permutation(np.flatnonzero(because.row_UK[u] >= 0)).tolist():
                cause = int(because.row_UK[u, k])
                other = int(rng.choice(rings[slot][rings[slot] != cause]))
                found.append((slot, int(lists.rows_UK[u, k]), cause, other, int(because.kind_UK[u, k])))
    share = len(found) / max(1, listed)
    taken = _of_each([entry[0] for entry in found], most)
    columns = np.array(found, np.int64)[rng.permutation(taken)[:count]].T
    item_R, cause_R, other_R = columns[1:4].astype(np.int32)
    return Named(columns[0], item_R, cause_R, other_R, columns[4].astype(np.int8)), share


def _of_each(users: Sequence[int], most: int) -> NDArray[np.int64]:
    """Return the places of the first `most` entries of each user."""
    seen: dict[int, int] = {}
    kept = []
    for place, user in enumerate(users):
        seen[user] = seen.get(user, 0) + 1
        if seen[user] <= most:
            kept.append(place)
    return np.array(kept, np.int64)


def _pieces(slots: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(slots, -(-len(slots) // _AT_A_TIME)) if len(slots) else []


def scores_without(
    learner: Learner, slot_R: NDArray[np.int64], item_R: NDArray[np.int32], out_R: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return log-probabilities of items among the candidates of users who never met the items `out_R`, -1: none.

    An item that is no candidate any more has the least one of a candidate.
    """
    pieces = _pieces(np.arange(len(slot_R)))
    return np.concatenate([_scores_without(learner, slot_R[at], item_R[at], out_R[at]) for at in pieces])


def _scores_without(
    learner: Learner, slot_R: NDArray[np.int64], item_R: NDArray[np.int32], out_R: NDArray[np.int32]
) -> NDArray[np.float64]:
    users = learner.users
    memories = users.get(slot_R)
    rows_RL = learner.catalog.rows_of_numbers(memories["number"])
    for r in range(len(slot_R)):
        take_out(memories, r, (rows_RL[r] == out_R[r]) & (rows_RL[r] >= 0))
    keys = [("without", r) for r in range(len(slot_R))]
    users.touch(slot_R)
    users.evict(users.overflow(len(keys)))
    slots = users.add(keys)
    users.put(slots, memories)
    learner.rebuild(slots, lambda numbers: [None] * len(numbers))
    _, ranking = learner.predictor.stand(slots, Pace(), learner.clock_ts)
    users.evict(slots)
    log_RC = ranking.scores_BC.log_softmax(dim=1).double().numpy()
    rows_RC = ranking.found.candidates_BC
    least_R = np.where(rows_RC >= 0, log_RC, np.inf).min(axis=1)
    is_item_RC = rows_RC == item_R[:, None]
    score_R: NDArray[np.float64] = np.where(is_item_RC, log_RC, -np.inf).max(axis=1)
    return np.where(is_item_RC.any(axis=1), score_R, least_R)


def take_out(memories: Memories, r: int, out_L: NDArray[np.bool_]) -> None:
    """Take entries out of the ring of record `r`.

    The time before an entry that goes falls to the next one that stays, or to the time since the last event.
    """
    if not out_L.any():
        return
    stays, seconds = [], 0.0
    for place in np.flatnonzero(memories["number"][r]).tolist():
        number, kind, gap = (int(memories[name][r, place]) for name in ("number", "type", "gap"))
        if out_L[place]:
            seconds += SECONDS[gap]
            continue
        longer = min(NO_GAP - 1, int(np.log2(1.0 + seconds + SECONDS[gap])))
        stays.append((number, kind, longer if seconds else gap))
        seconds = 0.0
    for name in ("number", "type", "gap"):
        memories[name][r] = 0
    for name, column in zip(("number", "type", "gap"), zip(*stays, strict=True), strict=False):
        memories[name][r, -len(stays) :] = column
    memories["ts"][r] -= seconds


def rows_of(found: Faithfulness) -> Iterator[Row]:
    whole, *kinds = found.kinds
    measured = f"{whole.share:.3f} of {whole.reasons:,}, {whole.fall:.2f} nats without the named item"
    good = whole.share >= _BAR and whole.fall > whole.fall_of_other
    yield Row(f"{found.log}, all", f"{measured}, {whole.fall_of_other:.2f} without another", f"at least {_BAR}", good)
    for kind in kinds:
        yield Row(f"{found.log}, {kind.kind}", f"{kind.share:.3f} of {kind.reasons:,}, {kind.fall:.2f} nats")


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="Only the first rows.")
@click.option("--reasons", type=click.IntRange(min=1), default=2_000, show_default=True, help="Reasons of each log.")
@click.option("--seed", default=0, show_default=True, help="Of the model, and of what is drawn.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(logs: tuple[Path, ...], limit: int | None, reasons: int, seed: int, json_path: Path | None) -> None:
    """Print the table; exit code 1 below the bar."""
    only_errors()
    torch.set_num_threads(1)
    figures = []
    rows: list[Row] = []
    for log in logs:
        learner = one_pass(Settings(), log, limit=limit).worker.line.learner
        figures.append(faithfulness(learner, log.stem, reasons, seed))
        rows += said(rows_of(figures[-1]))
    if json_path is not None:
        write(json_path, {**machine(), "logs": [asdict(each) for each in figures]})
    exit_with(rows)


if __name__ == "__main__":
    main()
