"""The content of items by id: category, brand, price, whether they may be recommended, and a vector of their texts.

An item stands here from the day it is described, whether or not anybody ever touches it, so an entry is small: columns
of fixed width, and of the id nothing but a hash. With 64 bits, two of a million items share one once in 37 million
catalogues.

Shape suffixes: M changes, N slots, D size of a vector. Slot 0 stands for no content; its columns are zeros.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.items.content_vectors import DIM, content_vectors
from model.items.number_table import NumberTable
from model.items.rule_columns import NO_RULES, RuleColumns, RuleValues

UNAVAILABLE, BLOCKED, GONE, HELD = 1, 2, 4, 8  # reasons why an item may not be recommended, as bits
_FIRST_SLOTS = 1024  # slots of an empty table; doubled as needed; not tuned
# Items that are gone and still remembered as such, those that went last; a slot is used again after that. Not tuned.
_MOST_GONE = 65_536


class Descriptions(NamedTuple):
    """M changes in the order of their source, as columns. Each tells all that is known of its item; the last one holds.

    gone_M: True if the item is gone; its other columns then mean nothing
    price_M: NaN where there is none
    available_M, blocked_M: an item that is not available, or is blocked, may not be recommended
    held_M: nor may one that is held, until it is approved
    title, brand, category: texts, "" for none; tags: some texts an item; vectors: by kind
    rules: what the rules of lists say of the items; None: there are no such rules
    """

    ids: list[str]
    gone_M: NDArray[np.bool_]
    title: list[str]
    brand: list[str]
    category: list[str]
    price_M: NDArray[np.float32]
    tags: list[tuple[str, ...]]
    available_M: NDArray[np.bool_]
    blocked_M: NDArray[np.bool_]
    held_M: NDArray[np.bool_]
    vectors: list[Mapping[str, NDArray[np.float32]]]
    rules: RuleValues | None = None


class ContentTable:
    """Content of items by slot.

    key_N: hash of the id, 0: a slot without an item
    category_N, brand_N: codes, 0: none
    price_N: NaN: none
    hidden_N: reasons why the item may not be recommended
    vector_ND: unit vectors, or zeros
    rules: what the rules of lists say of the items; in slot 0, of an item of which nothing is known
    """

    def __init__(self, unknown: RuleValues = NO_RULES) -> None:
        """unknown: what the rules say of an item of which nothing is known, M = 1"""
        self.key_N = np.zeros(_FIRST_SLOTS, np.uint64)
        self.category_N = np.zeros(_FIRST_SLOTS, np.uint32)
        self.brand_N = np.zeros(_FIRST_SLOTS, np.uint32)
        self.price_N = np.full(_FIRST_SLOTS, np.nan, np.float32)
        self.hidden_N = np.zeros(_FIRST_SLOTS, np.uint8)
        self.vector_ND = np.zeros((_FIRST_SLOTS, DIM), np.float16)
        self.rules = RuleColumns(unknown, _FIRST_SLOTS)
        self._used = 1
        self._slot_of = NumberTable(dtype=np.uint64)
        self._gone: dict[int, None] = {}  # slots of items that are gone, those that went first in front

    def __len__(self) -> int:
        """Return the number of items that are described."""
        return self._used - 1 - len(self._gone)

    @property
    def nbytes(self) -> int:
        return self._slot_of.nbytes + self.rules.nbytes + sum(int(getattr(self, name).nbytes) for name in _COLUMNS)

    def find(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the slot of each item, 0: nothing is known of it."""
        return np.maximum(self._slot_of.find(keys_of(ids)), 0)

    def change(self, changes: Descriptions) -> tuple[list[str], NDArray[np.int32]]:
        """Take over changes. Returns the ids, each once, and the slots that other items had before."""
        last = {item: place for place, item in enumerate(changes.ids)}
        ids, places = list(last), np.fromiter(last.values(), np.int64, len(last))
        slots, used_again = self._slots(keys_of(ids))
        self._gone |= dict.fromkeys(slots[changes.gone_M[places]].tolist())
        self._write(slots, changes, places)
        return ids, used_again

    def _slots(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return a slot for each item, and those among them that other items had before. None of them is gone."""
        slots = self._slot_of.find(keys)
        for slot in slots[slots > 0].tolist():
            self._gone.pop(slot, None)
        new = np.flatnonzero(slots < 0)
        slots[new] = self._take(len(new))
        used_again = slots[new][self.key_N[slots[new]] > 0]
        self._slot_of.drop(self.key_N[used_again])
        self.key_N[slots[new]] = keys[new]
        self._slot_of.put(keys[new], slots[new])
        return slots, used_again

    def _take(self, count: int) -> NDArray[np.int32]:
        """Return slots for new items: first those of items that went long ago."""
        too_many = max(0, len(self._gone) - _MOST_GONE)
        again = list(itertools.islice(self._gone, min(count, too_many)))
        for slot in again:
            del self._gone[slot]
        fresh = range(self._used, self._used + count - len(again))
        self._used = fresh.stop
        self._grow()
        return np.array([*again, *fresh], np.int32)

    def _write(self, slots: NDArray[np.int32], changes: Descriptions, places: NDArray[np.int64]) -> None:
        there = ~changes.gone_M[places]
        at = places.tolist()
        self.category_N[slots] = np.where(there, _codes(changes.category[m] for m in at), 0)
        self.brand_N[slots] = np.where(there, _codes(changes.brand[m] for m in at), 0)
        self.price_N[slots] = np.where(there, changes.price_M[places], np.float32(np.nan))
        hidden_M = UNAVAILABLE * ~changes.available_M[places] + BLOCKED * changes.blocked_M[places]
        hidden_M += HELD * changes.held_M[places]
        self.hidden_N[slots] = np.where(there, hidden_M, GONE)
        self.vector_ND[slots] = np.where(there[:, None], _vectors(changes, at), np.float16(0.0))
        told = changes.rules
        self.rules.set(slots, self.rules.unknown if told is None else [column[places] for column in told])

    def _grow(self) -> None:
        size = len(self.key_N)
        while size < self._used:
            size *= 2
        for name in _COLUMNS if size > len(self.key_N) else ():
            column = getattr(self, name)
            larger = np.zeros((size, *column.shape[1:]), column.dtype)
            larger[: len(column)] = column
            setattr(self, name, larger)
        self.rules.grow(size)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the columns of the slots in use, and the slots of items that are gone, in the order they went."""
        used = {name: getattr(self, name)[: self._used] for name in _COLUMNS}
        rules = self.rules.state_dict(self._used)
        return {**used, **rules, "gone": np.fromiter(self._gone, np.int32, len(self._gone))}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Load a state. Raises ValueError for vectors of another size."""
        if (had := state["vector_ND"].shape[1]) != DIM:
            raise ValueError(f"content: the state has vectors of {had} numbers, this version {DIM}")
        self.__init__(self.rules.unknown)  # type: ignore[misc]
        self._used = len(state["key_N"])
        self._grow()
        for name in _COLUMNS:
            getattr(self, name)[: self._used] = state[name]
        self.rules.load_state_dict(state)
        self._slot_of.put(self.key_N[1 : self._used], np.arange(1, self._used))
        self._gone = dict.fromkeys(state["gone"].tolist())


_COLUMNS = ("key_N", "category_N", "brand_N", "price_N", "hidden_N", "vector_ND")


def keys_of(ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return 64 bits of BLAKE2 of each id, never 0."""
    hashed = b"".join(hashlib.blake2b(item.encode(), digest_size=8).digest() for item in ids)
    keys: NDArray[np.uint64] = np.maximum(np.frombuffer(hashed, "<u8"), np.uint64(1))
    return keys


def _codes(names: Iterable[str]) -> NDArray[np.uint32]:
    """Return a code for each name, the one that an event's category has; 0 for no name."""
    return np.fromiter(((zlib.crc32(name.encode()) or 1) if name else 0 for name in names), np.uint32)


def _vectors(changes: Descriptions, at: list[int]) -> NDArray[np.float16]:
    names = [" ".join(filter(None, (*changes.tags[m], changes.category[m], changes.brand[m]))) for m in at]
    return content_vectors([changes.title[m] for m in at], names, [changes.vectors[m] for m in at])
