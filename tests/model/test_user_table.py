"""The user table does what a dictionary of memories does; `push` does what one event at a time does."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from model.batch import NO_GAP, Batch
from model.sets import own_begins
from model.user_table import UserTable
from tests.model.lines import SMALL, Line, changed, markov_log

CPU = torch.device("cpu")
_MOST, _RING, _HIDDEN, _IDS, _JOINS = 24, 3, 4, 5, 2
_COLUMNS = ("number", "type", "gap", "events", "ts", "next_offset", "session", "in_set", "ids", "joined", "h", "c")
Memory = dict[str, Any]


def _memories(count: int, seed: int, ring: int = _RING, hidden: int = _HIDDEN) -> Memory:
    rng = np.random.default_rng(seed)
    return {
        "number": rng.integers(0, 2**32, (count, ring)).astype(np.uint32),
        "type": rng.integers(0, 256, (count, ring)).astype(np.uint8),
        "gap": rng.integers(0, 32, (count, ring)).astype(np.uint8),
        "events": rng.integers(0, 2**32, count).astype(np.uint32),
        "ts": rng.uniform(0, 2e9, count),
        "next_offset": rng.integers(0, 2**62, count),
        "session": rng.integers(0, 2**32, count).astype(np.uint32),
        "in_set": rng.integers(0, 2**62, count),
        "ids": rng.integers(0, 2**32, (count, _IDS)).astype(np.uint32),
        "joined": rng.integers(0, 2**32, (count, _JOINS, 2)).astype(np.uint32),
        "h": rng.normal(size=(count, hidden)).astype(np.float16),
        "c": rng.normal(size=(count, hidden)).astype(np.float16) * 100,
    }


def _table(most: int, ring: int, hidden: int) -> UserTable:
    table = UserTable(most, ring, hidden, CPU)
    table.keep(_IDS, _JOINS)
    return table


def _at(memories: Memory, place: int) -> list[Any]:
    return [memories[name][place].tolist() for name in _COLUMNS]


class UserTableIsADictionary(RuleBasedStateMachine):
    """`held` maps the users on the device to their memories, the least recently used first."""

    def __init__(self) -> None:
        super().__init__()
        self.table = _table(_MOST, _RING, _HIDDEN)
        self.held: OrderedDict[str, list[Any]] = OrderedDict()
        self.turn: dict[str, int] = {}
        self.turns = 0

    @rule(users=st.lists(st.integers(0, 60), min_size=1, max_size=_MOST, unique=True), seed=st.integers(0, 999))
    def batch(self, users: list[int], seed: int) -> None:
        keys = [f"u{user}" for user in users]
        slots = self.table.find(keys)
        assert [slot >= 0 for slot in slots] == [key in self.held for key in keys]
        self.table.touch(slots[slots >= 0])
        missing = [key for key in keys if key not in self.held]
        if missing:
            self._evict(self.table.overflow(len(missing)), keys, len(missing))
            self._add(missing, seed)
        self.table.touch(self.table.find(keys))
        self.turns += 1
        self.turn |= dict.fromkeys(keys, self.turns)

    def _evict(self, slots: Any, kept: list[str], count: int) -> None:
        evicted = self.table.keys_of(slots)
        self.table.evict(slots)
        assert not set(evicted) & set(kept)
        missing = len(self.held) + count - _MOST
        assert (len(evicted) >= missing) if missing > 0 else not evicted
        for key in evicted:
            del self.held[key]
        others = [self.turn[key] for key in self.held if key not in kept]
        assert max((self.turn[key] for key in evicted), default=0) <= min(others, default=self.turns)

    def _add(self, keys: list[str], seed: int) -> None:
        slots, memories = self.table.add(keys), _memories(len(keys), seed)
        assert not any(np.any(column) for column in self.table.get(slots).values()), "a new slot is empty"
        assert not self.table.dirty_S[slots].any()
        self.table.put(slots, memories)
        self.table.dirty_S[slots] = True
        self.held |= {key: _at(memories, place) for place, key in enumerate(keys)}

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        keys = list(self.held)
        slots = self.table.find(keys)
        assert len(self.table) == len(keys) <= _MOST
        assert len(self.table.events_S) <= _MOST
        assert self.table.keys_of(slots) == keys
        assert self.table.occupied().tolist() == sorted(slots.tolist())
        memories = self.table.get(slots)
        assert [_at(memories, place) for place in range(len(keys))] == list(self.held.values())


TestUserTableIsADictionary = UserTableIsADictionary.TestCase
TestUserTableIsADictionary.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_memories_survive_growth_and_come_back_to_the_bit() -> None:
    """3,000 users in a table that begins with 1,024 slots: every column as it was put."""
    table, memories = _table(3_000, 5, 8), _memories(3_000, 1, 5, 8)
    for start in range(0, 3_000, 300):
        slots = table.add([f"u{k}" for k in range(start, start + 300)])
        table.put(slots, {name: column[start : start + 300] for name, column in memories.items()})
    assert len(table.events_S) == 3_000
    out = table.get(table.find([f"u{k}" for k in range(3_000)]))
    assert all(np.array_equal(out[name], memories[name]) for name in _COLUMNS)


def test_a_state_is_rounded_to_half_precision_when_it_is_put() -> None:
    """What a resident computes with is what its record would hold."""
    table = UserTable(4, 2, 3, CPU)
    slots = table.add(["u"])
    third = torch.full((1, 3), 1 / 3)
    table.put_state(slots, third, -third)
    assert torch.equal(table.state(slots)[0], third.half().float())
    assert np.array_equal(table.get(slots)["c"], (-third).half().numpy())


def test_a_batch_of_more_users_than_slots_is_refused() -> None:
    """The users of a batch are never evicted for one another; a full table says so."""
    table = UserTable(4, 2, 3, CPU)
    slots = table.add(["a", "b", "c"])
    table.touch(slots)
    with pytest.raises(ValueError, match=r"memory\.device_users"):
        table.overflow(3)
    with pytest.raises(ValueError, match=r"memory\.device_users"):
        table.add(["d", "e"])
    assert len(table) == 3


def _one_at_a_time(users: Memory, batch: Memory) -> Memory:
    """What `push` promises, with lists and one event after another."""
    rings = [[list(e) for e in zip(*cols, strict=True)] for cols in zip(*(users[n].tolist() for n in ("number", "type", "gap")), strict=True)]  # fmt: skip # noqa: E501
    events, ts, sessions, in_sets = (users[name].tolist() for name in ("events", "ts", "session", "in_set"))
    met, of_set = [0] * len(rings), set[int]()
    out: Memory = {"before": [], "before_ts": [], "gap": [], "occurrence": [], "before_in_set": []}
    for slot, number, kind, when, keep, session, within in zip(*(batch[n].tolist() for n in batch), strict=True):
        of_set = of_set if within else set()
        follows = slot in of_set
        of_set.add(slot)
        gap = NO_GAP
        if events[slot]:
            gap = min(30, math.floor(math.log2(1 + max(0.0, when - ts[slot]))))
            if session and sessions[slot] and session != sessions[slot] and not follows:
                gap = max(gap, 11)
        out["before"].append([list(entry) for entry in rings[slot]])
        out["before_in_set"].append(in_sets[slot])
        out["before_ts"].append(ts[slot])
        out["gap"].append(gap)
        out["occurrence"].append(met[slot])
        met[slot] += 1
        if keep:
            if number:
                rings[slot] = [*rings[slot][1:], [number, kind, gap]]
                in_sets[slot] = (2 * in_sets[slot] + follows) % 2**62
            events[slot] += 1
            ts[slot] = max(ts[slot], when)
            sessions[slot] = session or sessions[slot]
    return out | {"rings": rings, "events": events, "ts": ts, "session": sessions, "in_set": in_sets}


def _batch(columns: Memory) -> Batch:
    count = len(columns["slot"])
    nothing_B, all_B = np.zeros(count, np.int32), np.ones(count, np.bool_)
    return Batch(
        slot_B=columns["slot"],
        row_B=nothing_B,
        number_B=columns["number"],
        category_B=nothing_B.astype(np.uint32),
        type_B=columns["type"],
        ts_B=columns["ts"],
        next_offset_B=np.arange(count) + 1,
        target_B=all_B,
        remember_B=columns["remember"],
        learn_B=all_B,
        new_B=~all_B,
        within_B=columns["within"],
        session_B=columns["session"],
        own_B=all_B,
        clock_B=columns["ts"],
    )


@pytest.mark.parametrize("seed", range(12))
def test_push_is_one_event_at_a_time(seed: int) -> None:
    """Rings before each event, gaps, occurrences and what is left in the table, for events that go back in time too,
    for sets and for sessions."""
    rng = np.random.default_rng(seed)
    slots, count, ring = 5, 40, int(rng.integers(2, 6))
    users = {
        "number": rng.integers(0, 9, (slots, ring)).astype(np.uint32),
        "type": rng.integers(0, 3, (slots, ring)).astype(np.uint8),
        "gap": rng.integers(0, 32, (slots, ring)).astype(np.uint8),
        "events": np.array([0, 1, 5, 0, 2], dtype=np.uint32),
        "ts": np.array([0.0, 1e9, 1e9, 0.0, 1e9]),
        "session": np.array([0, 7, 8, 0, 0], dtype=np.uint32),
        "in_set": rng.integers(0, 2**62, slots),
    }
    batch: dict[str, NDArray[Any]] = {
        "slot": rng.integers(0, slots, count),
        "number": (rng.integers(1, 99, count) * (rng.random(count) < 0.8)).astype(np.uint32),
        "type": rng.integers(0, 3, count).astype(np.uint8),
        "ts": 1e9 + rng.choice([-50.0, 0.0, 0.5, 1.0, 3.0, 1e4, 1e12], count),
        "remember": rng.random(count) < 0.7,
        "session": rng.choice([0, 7, 8], count).astype(np.uint32),
        "within": np.array([0, 1, 2, 3, 0] * 8, dtype=np.int16) * (seed % 2),
    }
    expected = _one_at_a_time(users, batch)
    table = _table(slots, ring, _HIDDEN)
    at = table.add([f"u{slot}" for slot in range(slots)])
    assert at.tolist() == list(range(slots))
    table.put(at, _memories(slots, 0, ring) | users | {"next_offset": np.zeros(slots, np.int64)})
    before = table.push(_batch(batch), own_begins(batch["within"], batch["slot"]))
    found = table.get(at)
    assert np.stack(before[:3], axis=-1).tolist() == expected["before"]
    assert before.ts_B.tolist() == expected["before_ts"]
    assert before.own_gap_B.tolist() == expected["gap"]
    assert before.occurrence_B.tolist() == expected["occurrence"]
    assert before.in_set_B.tolist() == expected["before_in_set"]
    assert np.stack([found[n] for n in ("number", "type", "gap")], axis=-1).tolist() == expected["rings"]
    assert found["events"].tolist() == expected["events"]
    for name in ("ts", "session", "in_set"):
        assert found[name].tolist() == expected[name]
    next_offsets = (np.arange(count) + 1) * batch["remember"]
    remembered = [next_offsets * (batch["slot"] == slot) for slot in range(slots)]
    assert found["next_offset"].tolist() == [int(offsets.max()) for offsets in remembered]
    assert table.dirty_S[at].tolist() == [bool(offsets.any()) for offsets in remembered]
    assert not table._occurrences_S.any(), "scratch is left at zero"


@pytest.mark.parametrize("size", [1, 5])
def test_a_spilled_user_computes_exactly_what_a_resident_one_does(size: int) -> None:
    """With room for six users of twelve, lists and memories are those of a table that never spills."""
    log = markov_log(seed=3, events=300)
    roomy, tight = Line(SMALL, max_users=100), Line(changed(SMALL), max_users=6)
    for one, other in zip(roomy.run(log, size), tight.run(log, size), strict=True):
        assert one.lists == other.lists
        assert one.log_probabilities == other.log_probabilities
    assert tight.records, "nobody was spilled"
    roomy.spill()
    tight.spill()
    assert roomy.records == tight.records


def test_sets_and_sessions_are_spilled_with_their_user() -> None:
    """What a resident user's windows may predict, and where sessions begin, is as it is for one who comes back."""
    log = [
        replace(event, within=k % 4 if k % 20 < 8 else 0, ts=event.ts - 10.0 * (k % 4), session=1 + k // 13)
        for k, event in enumerate(markov_log(seed=3, events=320))
    ]
    config = changed(SMALL, mini_batch=8)
    roomy, tight = Line(config, max_users=100), Line(config, max_users=6)
    for one, other in zip(roomy.run(log, 4), tight.run(log, 4), strict=True):
        assert one.lists == other.lists
        assert one.log_probabilities == other.log_probabilities
    one_most, other_most = (line.learner.encoder_trainer.replay.state_dict()["most"] for line in (roomy, tight))
    assert np.array_equal(one_most, other_most)
    assert len(np.unique(one_most)) > 3
