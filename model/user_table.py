"""The user table: memories of the users seen last, each in a slot; `(h, c)` on the device, the rest on the host.

`(h, c)` are stored in half precision, as in a memory record: so a user who was spilled and recalled computes exactly
the same as one who stayed.

Shape suffixes: B events, S slots, L ring entries (right-aligned, newest last, number 0: empty), H LSTM units.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch import NO_GAP, SESSION_ENDS, Batch, Places
from model.kernels import kernel

_FIRST_CAPACITY = 1024  # slots of an empty table; doubled as needed; not tuned
_EVICTED_SHARE = 16  # 1 / 16 of `max_users` is evicted at a time; not tuned
_OF_SETS = (1 << 62) - 1  # newest ring entries of which it is kept whether they follow in a set: all bits but the sign
_KEYS = {False: "memory.device_users", True: "hearing.users"}  # configuration keys of the two bounds
# Columns of the table on the host, one entry a slot.
_COLUMNS = (
    "number_SL", "type_SL", "gap_SL", "events_S", "ts_S", "next_offset_S", "session_S", "in_set_S", "ids_SI",
    "joined_SJ2",
)  # fmt: skip


class Before(NamedTuple):
    """Users as they were before each of B events.

    number_BL, type_BL, gap_BL: the ring
    ts_B: the time of the user's event before
    own_gap_B: the time bucket between that and the event itself
    occurrence_B: how many events of the user stand earlier in the batch
    in_set_B: bit d is set if the ring entry d places back follows another one of its own set
    """

    number_BL: NDArray[np.uint32]
    type_BL: NDArray[np.uint8]
    gap_BL: NDArray[np.uint8]
    ts_B: NDArray[np.float64]
    own_gap_B: NDArray[np.uint8]
    occurrence_B: NDArray[np.int64]
    in_set_B: NDArray[np.int64]

    @staticmethod
    def empty(count: int, ring_size: int) -> Before:
        """Return columns of zeros for `count` events, to be written."""
        return Before(
            number_BL=np.zeros((count, ring_size), np.uint32),
            type_BL=np.zeros((count, ring_size), np.uint8),
            gap_BL=np.zeros((count, ring_size), np.uint8),
            ts_B=np.zeros(count),
            own_gap_B=np.zeros(count, np.uint8),
            occurrence_B=np.zeros(count, np.int64),
            in_set_B=np.zeros(count, np.int64),
        )

    def at(self, places: Places) -> Before:
        return Before._make(column[places] for column in self)

    def of_sets(self, own_B: NDArray[np.int64]) -> Before:
        """Return the users as they were before each event's set. `own_B`: see `sets.own_begins`."""
        return self.at(own_B)._replace(own_gap_B=self.own_gap_B, occurrence_B=self.occurrence_B)


class _Pushed(NamedTuple):
    """The columns of a batch that change rings and clocks."""

    slot_B: NDArray[np.int64]
    number_B: NDArray[np.uint32]
    type_B: NDArray[np.uint8]
    ts_B: NDArray[np.float64]
    session_B: NDArray[np.uint32]
    remember_B: NDArray[np.bool_]
    follows_B: NDArray[np.bool_]


class _Rings(NamedTuple):
    """The columns of the table that events change."""

    number_SL: NDArray[np.uint32]
    type_SL: NDArray[np.uint8]
    gap_SL: NDArray[np.uint8]
    events_S: NDArray[np.uint32]
    ts_S: NDArray[np.float64]
    session_S: NDArray[np.uint32]
    in_set_S: NDArray[np.int64]


class UserTable:
    """Slots for users of owned partitions, at most `max_users`, and for users of heard ones, at most `max_heard`.

    Of each kind the least recently used are evicted, a sixteenth at a time. Users of heard partitions are never dirty,
    since another worker keeps their records.
    """

    def __init__(self, max_users: int, ring_size: int, hidden: int, device: torch.device, max_heard: int = 0) -> None:
        self.max_users, self.max_heard = max_users, max_heard
        self.device = device
        size = min(_FIRST_CAPACITY, max_users + max_heard)
        self.number_SL = np.zeros((size, ring_size), dtype=np.uint32)
        self.type_SL = np.zeros((size, ring_size), dtype=np.uint8)
        self.gap_SL = np.zeros((size, ring_size), dtype=np.uint8)
        self.events_S = np.zeros(size, dtype=np.uint32)
        self.ts_S = np.zeros(size, dtype=np.float64)
        self.next_offset_S = np.zeros(size, dtype=np.int64)
        self.session_S = np.zeros(size, dtype=np.uint32)
        self.in_set_S = np.zeros(size, dtype=np.int64)
        self.ids_SI = np.zeros((size, 0), dtype=np.uint32)
        self.joined_SJ2 = np.zeros((size, 0, 2), dtype=np.uint32)
        self.h_SH = torch.zeros(size, hidden, dtype=torch.float16, device=device)
        self.c_SH = torch.zeros(size, hidden, dtype=torch.float16, device=device)
        self.dirty_S = np.zeros(size, dtype=np.bool_)
        self.heard_S = np.zeros(size, dtype=np.bool_)
        self._heard = 0
        self._used_S = np.zeros(size, dtype=np.int64)
        self._occurrences_S = np.zeros(size, dtype=np.int64)
        self._turn = 0
        self._slot_of: dict[Hashable, int] = {}
        self._keys: list[Hashable | None] = [None] * size
        self._free = list(range(size - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._slot_of)

    def count(self, *, heard: bool) -> int:
        """Return the number of users of heard partitions, or of owned ones."""
        return self._heard if heard else len(self._slot_of) - self._heard

    def keep(self, ids: int, joins: int) -> None:
        """Make room for ids of events and for joined users in every slot; what is there of them is lost.

        ids, joins: places of a user (see `recent_ids` and `joining`)
        """
        size = len(self.events_S)
        self.ids_SI = np.zeros((size, ids), dtype=np.uint32)
        self.joined_SJ2 = np.zeros((size, joins, 2), dtype=np.uint32)

    def find(self, keys: Sequence[Hashable]) -> NDArray[np.int64]:
        """Return the slot of each key, -1: none."""
        return np.fromiter(map(self._slot_of.get, keys, repeat(-1)), dtype=np.int64, count=len(keys))

    def keys_of(self, slots: NDArray[np.int64]) -> list[Any]:
        return [self._keys[slot] for slot in slots.tolist()]

    def occupied(self) -> NDArray[np.int64]:
        return np.sort(np.fromiter(self._slot_of.values(), dtype=np.int64, count=len(self._slot_of)))

    def touch(self, slots: NDArray[np.int64]) -> None:
        self._turn += 1
        self._used_S[slots] = self._turn

    def overflow(self, count: int, *, heard: bool = False) -> NDArray[np.int64]:
        """Return the slots to evict before `count` new users fit; those of the last `touch` are never among them.

        heard: True for users of heard partitions

        Raises ValueError if there are too few others.
        """
        room = self._room(heard)
        missing = self.count(heard=heard) + count - room
        if missing <= 0:
            return np.zeros(0, dtype=np.int64)
        occupied = self.occupied()
        if self._heard:
            occupied = occupied[self.heard_S[occupied] == heard]
        order = np.argsort(self._used_S[occupied], kind="stable")
        oldest = occupied[order[: max(missing, room // _EVICTED_SHARE)]]
        evicted = oldest[self._used_S[oldest] < self._turn]
        if len(evicted) < missing:
            raise ValueError(f"{_KEYS[heard]}: {room} are too few for one batch of users")
        return evicted

    def _room(self, heard: bool) -> int:
        return self.max_heard if heard else self.max_users

    def evict(self, slots: NDArray[np.int64]) -> None:
        for slot in slots.tolist():
            del self._slot_of[self._keys[slot]]
            self._keys[slot] = None
        self._free.extend(slots[::-1].tolist())
        self._heard -= int(self.heard_S[slots].sum())
        self.dirty_S[slots] = self.heard_S[slots] = False

    def add(self, keys: Sequence[Hashable], *, heard: bool = False) -> NDArray[np.int64]:
        """Return empty slots for new users. Evict `overflow` first: without room, a ValueError is raised."""
        if self.count(heard=heard) + len(keys) > self._room(heard):
            raise ValueError(f"{_KEYS[heard]}: {self.count(heard=heard)} are in use, no room for {len(keys)} more")
        while len(self._free) < len(keys):
            self._grow()
        slots = np.array([self._free.pop() for _ in keys], dtype=np.int64)
        for key, slot in zip(keys, slots.tolist(), strict=True):
            self._slot_of[key] = slot
            self._keys[slot] = key
        self._clear(slots)
        self.heard_S[slots] = heard
        self._heard += len(keys) * heard
        return slots

    def get(self, slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the memories at `slots` as columns, named as in a memory record; one transfer from the device."""
        at = torch.from_numpy(slots).to(self.device)
        state = torch.cat([self.h_SH[at], self.c_SH[at]], dim=1).cpu().numpy()
        hidden = self.h_SH.shape[1]
        return {
            "number": self.number_SL[slots],
            "type": self.type_SL[slots],
            "gap": self.gap_SL[slots],
            "events": self.events_S[slots],
            "ts": self.ts_S[slots],
            "next_offset": self.next_offset_S[slots],
            "session": self.session_S[slots],
            "in_set": self.in_set_S[slots],
            "ids": self.ids_SI[slots],
            "joined": self.joined_SJ2[slots],
            "h": state[:, :hidden],
            "c": state[:, hidden:],
        }

    def put(self, slots: NDArray[np.int64], memories: NDArray[Any] | Mapping[str, NDArray[Any]]) -> None:
        """Write memories (columns by name, as `get` gives them) to `slots`; one transfer to the device."""
        self.number_SL[slots], self.type_SL[slots] = memories["number"], memories["type"]
        self.gap_SL[slots], self.events_S[slots] = memories["gap"], memories["events"]
        self.ts_S[slots], self.next_offset_S[slots] = memories["ts"], memories["next_offset"]
        self.session_S[slots], self.in_set_S[slots] = memories["session"], memories["in_set"]
        self.ids_SI[slots], self.joined_SJ2[slots] = memories["ids"], memories["joined"]
        state = np.concatenate([memories["h"], memories["c"]], axis=1)
        h_c = torch.from_numpy(np.ascontiguousarray(state)).to(self.device)
        self.put_state(slots, *h_c.chunk(2, dim=1))

    def push(self, batch: Batch, own_B: NDArray[np.int64]) -> Before:
        """Push the events to remember onto their users' rings. Returns the users as they were before each event.

        own_B: see `sets.own_begins`
        """
        before = Before.empty(len(batch), self.number_SL.shape[1])
        events = _Pushed(
            batch.slot_B, batch.number_B, batch.type_B, batch.ts_B, batch.session_B, batch.remember_B,
            follows_B=own_B != np.arange(len(batch)),
        )  # fmt: skip
        rings = _Rings(
            self.number_SL, self.type_SL, self.gap_SL, self.events_S, self.ts_S, self.session_S, self.in_set_S
        )
        _unroll(events, rings, before, self._occurrences_S)
        remembered = batch.slot_B[batch.remember_B]
        np.maximum.at(self.next_offset_S, remembered, batch.next_offset_B[batch.remember_B])
        self.dirty_S[remembered] = ~self.heard_S[remembered]
        return before

    def put_ids(self, slots: NDArray[np.int64], ids_UI: NDArray[np.uint32]) -> None:
        """Write the last ids of users; `push` remembers the events that they are of."""
        self.ids_SI[slots] = ids_UI

    def state(self, slots: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return (h, c) of slots as float32 [B, H]."""
        at = torch.from_numpy(slots).to(self.device)
        return self.h_SH[at].float(), self.c_SH[at].float()

    def put_state(self, slots: NDArray[np.int64], h_BH: Tensor, c_BH: Tensor) -> None:
        """Store (h, c) of slots; values that are not finite become 0, since an LSTM would never lose them again."""
        at = torch.from_numpy(slots).to(self.device)
        self.h_SH[at] = h_BH.to(torch.float16).nan_to_num_(0.0, 0.0, 0.0)
        self.c_SH[at] = c_BH.to(torch.float16).nan_to_num_(0.0, 0.0, 0.0)

    def _clear(self, slots: NDArray[np.int64]) -> None:
        for name in _COLUMNS:
            getattr(self, name)[slots] = 0
        at = torch.from_numpy(slots).to(self.device)
        self.h_SH[at] = 0
        self.c_SH[at] = 0

    def _grow(self) -> None:
        old = len(self.events_S)
        size = min(2 * old, self.max_users + self.max_heard)
        for name in (*_COLUMNS, "dirty_S", "heard_S", "_used_S", "_occurrences_S"):
            # The system maps zeros on first touch, so what is not used yet costs neither time nor memory.
            larger = np.zeros((size, *getattr(self, name).shape[1:]), getattr(self, name).dtype)
            larger[:old] = getattr(self, name)
            setattr(self, name, larger)
        for name in ("h_SH", "c_SH"):
            table = getattr(self, name)
            setattr(self, name, torch.cat([table, table.new_zeros(size - old, table.shape[1])]))
        self._keys.extend([None] * (size - old))
        self._free.extend(range(size - 1, old - 1, -1))


@kernel
def _unroll(events: _Pushed, table: _Rings, before: Before, occurrences_S: NDArray[np.int64]) -> None:
    """Walk B events in order: write each user's ring as it is before the event, then push the event onto it.

    An event of an item without a number is only counted: in the ring it would be an empty place, and push out an item
    that can be named.

    occurrences_S: working memory, zeros before and after
    """
    for k in range(len(events.slot_B)):
        s = events.slot_B[k]
        _write_before(table, before, k, s)
        before.occurrence_B[k] = occurrences_S[s]
        occurrences_S[s] += 1
        gap = _gap(table, events, k, s)
        before.own_gap_B[k] = gap
        if events.remember_B[k] and events.number_B[k] != 0:
            _push_one(table, s, events.number_B[k], events.type_B[k], gap)
            table.in_set_S[s] = ((table.in_set_S[s] << 1) | events.follows_B[k]) & _OF_SETS
        if events.remember_B[k]:
            table.events_S[s] += 1
            table.ts_S[s] = max(table.ts_S[s], events.ts_B[k])
            if events.session_B[k] != 0:
                table.session_S[s] = events.session_B[k]
    for k in range(len(events.slot_B)):
        occurrences_S[events.slot_B[k]] = 0


@kernel
def _gap(table: _Rings, events: _Pushed, k: int, s: int) -> int:
    """Return the gap bucket before event k of slot s.

    Another session id than the user's last known one begins a session, however short the time. The same id never joins
    what a long time parts, since ids of trackers may outlive a visit.
    """
    if table.events_S[s] == 0:
        return NO_GAP
    gap = min(NO_GAP - 1, int(np.log2(1.0 + max(0.0, events.ts_B[k] - table.ts_S[s]))))
    is_known = table.session_S[s] != 0 and events.session_B[k] != 0
    if is_known and table.session_S[s] != events.session_B[k] and not events.follows_B[k]:
        gap = max(gap, SESSION_ENDS)
    return gap


@kernel
def _write_before(table: _Rings, before: Before, k: int, s: int) -> None:
    _copy(before.number_BL[k], table.number_SL[s])
    _copy(before.type_BL[k], table.type_SL[s])
    _copy(before.gap_BL[k], table.gap_SL[s])
    before.ts_B[k], before.in_set_B[k] = table.ts_S[s], table.in_set_S[s]


@kernel
def _push_one(table: _Rings, s: int, number: int, kind: int, gap: int) -> None:
    _shift_in(table.number_SL[s], number)
    _shift_in(table.type_SL[s], kind)
    _shift_in(table.gap_SL[s], gap)


@kernel
def _copy(to_L, from_L):  # type: ignore[no-untyped-def]
    """Copy one column of a ring. A loop over a single column compiles to vectors."""
    for j in range(len(from_L)):
        to_L[j] = from_L[j]


@kernel
def _shift_in(ring_L, newest):  # type: ignore[no-untyped-def]
    """Push a value onto one column of a ring."""
    last = len(ring_L) - 1
    for j in range(last):
        ring_L[j] = ring_L[j + 1]
    ring_L[last] = newest
