"""Joins two memories into one: that of a user, and that of an id which the user had before.

A ring holds gaps and no times. Each entry is dated by the record's time less the gaps behind it, a gap of bucket g as
2^g - 1 seconds, the least that it may be. So no entry is dated before its time, and of two rings that do not overlap in
time the older one stands before the newer one. The entries of both are put in order of these dates (at the same date
the user's own first), and an entry with another one before it than it had gets the gap between the two dates.

Shape suffixes: L ring entries, N entries of both rings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batch import NO_GAP, SESSION_ENDS

KEPT_JOINS = 8  # ids joined to a user that are kept (ADR 0018); not tuned
# One user's memory by the names of a memory record's fields.
Memory = Mapping[str, NDArray[Any]]
_MOST_EVENTS = 2**32 - 1
_ENTRY = ("number", "type", "gap")
_BITS = 62  # ring entries of which it is kept whether they follow another one of their set (`UserTable`)


def join(own: Memory, other: Memory, code: int) -> dict[str, NDArray[Any]] | None:
    """Return the user's memory with what the other one has got since it was last joined; None if that is nothing.

    (h, c) and n stay those of `own`: they have to be made anew.

    code: a hash of the other id, not 0; the user's memory notes with it how much has been joined
    """
    events, entries = _since(own, other, code)
    if events == 0 and entries == 0:
        return None
    older, newer = sorted((own, other), key=lambda memory: float(memory["ts"]))
    return {
        **own,
        **_ring(own, other, entries),
        "events": np.asarray(min(int(own["events"]) + events, _MOST_EVENTS), np.uint32),
        "ts": np.maximum(own["ts"], other["ts"]),
        "session": newer["session"],
        "ids": _ids(older["ids"], newer["ids"]),
        "joined": _noted(own["joined"], other["joined"], code, int(other["events"])),
    }


def _since(own: Memory, other: Memory, code: int) -> tuple[int, int]:
    """Return how many events, and how many of the newest ring entries, the other memory has got since it was joined.

    One that has fewer events than then was begun anew, so all of them are new.
    """
    events, entries = int(other["events"]), int(np.count_nonzero(other["number"]))
    before = dict(own["joined"].tolist()).get(code)
    if before is None:
        return events, entries
    since = events - before if events >= before else events
    return since, min(since, entries)


def _ring(own: Memory, other: Memory, entries: int) -> dict[str, NDArray[Any]]:
    """Return the ring of both, with the newest `entries` of the other one."""
    ring_size = len(own["number"])
    first, second = _entries(own, ring_size), _entries(other, entries)
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    order = np.argsort(both["date"], kind="stable")
    follows_N = _follows(order, len(first["gap"]))
    gap_N = both["gap"][order]
    gap_N[1:] = np.where(follows_N, gap_N[1:], _buckets(np.diff(both["date"][order])))
    in_set_N = both["in_set"][order]
    in_set_N[1:] &= follows_N
    joined = {"number": both["number"][order], "type": both["type"][order], "gap": gap_N}
    aligned = {name: _right_aligned(column, own[name]) for name, column in joined.items()}
    return aligned | {"in_set": _as_bits(in_set_N)}


def _entries(memory: Memory, most: int) -> dict[str, NDArray[Any]]:
    """Return the newest entries of a ring, oldest first, with their dates."""
    filled = memory["number"] > 0
    columns = {name: memory[name][filled] for name in _ENTRY}
    columns["in_set"] = _of_bits(int(memory["in_set"]), len(columns["gap"]))
    after = np.append(_seconds(columns["gap"][1:]), np.zeros(min(1, len(columns["gap"]))))
    dates = float(memory["ts"]) - np.cumsum(after[::-1])[::-1]
    return {name: column[max(0, len(dates) - most) :] for name, column in (columns | {"date": dates}).items()}


def _follows(order: NDArray[np.int64], own: int) -> NDArray[np.bool_]:
    """Return True for each entry but the first whose own predecessor still stands before it. `own`: entries of the
    first ring."""
    follows: NDArray[np.bool_] = (np.diff(order) == 1) & (order[1:] != own)
    return follows


def _seconds(gap_L: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the least seconds that gaps stand for; that of a new session may be as short as any, as an unknown one."""
    seconds: NDArray[np.float64] = np.where(np.isin(gap_L, (NO_GAP, SESSION_ENDS)), 0.0, 2.0**gap_L - 1)
    return seconds


def _buckets(seconds: NDArray[np.float64]) -> NDArray[np.uint8]:
    buckets: NDArray[np.uint8] = np.minimum(NO_GAP - 1, np.log2(1 + seconds)).astype(np.uint8)
    return buckets


def _of_bits(bits: int, entries: int) -> NDArray[np.bool_]:
    """Return for each entry, oldest first, whether its bit is set; bit 0 is the newest one's."""
    return np.array([d < _BITS and bool(bits >> d & 1) for d in reversed(range(entries))], np.bool_)


def _as_bits(in_set_N: NDArray[np.bool_]) -> NDArray[np.int64]:
    newest = in_set_N[::-1][:_BITS].tolist()
    return np.asarray(sum(1 << d for d, is_set in enumerate(newest) if is_set), np.int64)


def _right_aligned(values_N: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Return the newest values in an array of the form of `like`, with zeros in front."""
    aligned = np.zeros_like(like)
    kept = min(len(values_N), len(like))
    aligned[len(like) - kept :] = values_N[len(values_N) - kept :]
    return aligned


def _ids(older: NDArray[np.uint32], newer: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the newest ids of both, each once; those of the memory with the later time are the newer ones."""
    ids = [*dict.fromkeys(int(one) for one in (*newer[::-1], *older[::-1]) if one)][::-1]
    return _right_aligned(np.array(ids, np.uint32), newer)


def _noted(own: NDArray[np.uint32], other: NDArray[np.uint32], code: int, events: int) -> NDArray[np.uint32]:
    """Return which ids were joined, with how many events each; what came with the other memory counts, too."""
    noted = {key: count for key, count in (*other.tolist(), *own.tolist()) if key and key != code}
    return _right_aligned(np.array([*noted.items(), (code, events)], np.uint32), own)
