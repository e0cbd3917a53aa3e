"""The outside, as the loop sees it. Every interface has a real backend and a twin in `backends.in_memory`.

Partitions are those of the one input topic. All offsets are next offsets: the next one to read, write or count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from stream_worker.core.events import Outputs, Record
from stream_worker.core.offsets import Committed, Kept, Mark
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Standing

_UNKNOWN = Kept()


class PartitionOwner(Protocol):
    """The worker, as a source sees it. Called from inside `Source.poll`, on the loop's thread, between two batches."""

    def kept(self, partitions: Collection[int]) -> Mapping[int, Kept]:
        """What memories are kept of partitions, whoever owns them. May raise Unavailable."""
        ...

    def claim(self, committed: Mapping[int, Committed]) -> Mapping[int, int]:
        """Take these partitions over from their Y; returns where to start reading (M). May raise Unavailable: then
        nothing was claimed, and the next `poll` tries again."""
        ...

    def release(self, partitions: Collection[int]) -> None:
        """The partitions go to another worker in good order: write what is owed, then forget them."""
        ...

    def drop(self, partitions: Collection[int]) -> None:
        """The partitions were lost: they may be another's already. Forget them and write nothing."""
        ...


class Source(Protocol):
    """Records in order within each partition, from the offsets that the owner asks for."""

    @property
    def name(self) -> str:
        """The topic (or log) that the offsets belong to; offsets under another name mean nothing here."""
        ...

    def identity(self) -> SourceId:
        """The source by its ids, as far as they are known now. Cheap; may be called before `subscribe`."""
        ...

    def subscribe(self, owner: PartitionOwner) -> None: ...

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout_seconds` for the first one."""
        ...

    def reclaim(self, partitions: Collection[int]) -> None:
        """The owner has dropped these partitions. As far as they are still this member's, they are claimed again by a
        later `poll`, and what of them was fetched is forgotten."""
        ...

    def moved_from(self) -> Collection[int]:
        """Partitions that a user may have been in before; empty unless there have been others than when the group
        began."""
        ...

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        """How far each next offset could be raised without passing a record: over transaction markers and what was
        aborted, as far as was read. At least the next offset itself."""
        ...

    def serve(self) -> None:
        """Keep the membership alive and let rebalances through, without giving out records."""
        ...

    def exhausted(self) -> bool:
        """True when nothing will ever come again (the end of a file)."""
        ...

    def standing(self) -> Standing:
        """Where an owner without partitions stands: a member that the group has given none has its place, one that has
        lost its own against its will has not."""
        ...

    def trouble(self) -> str:
        """What keeps records from coming, as far as is known; empty: nothing."""
        ...

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Records that stand after each next offset, as far as is known now."""
        ...

    def membership(self) -> Any:
        """Opaque proof of ownership, taken at the moment of a commit and handed to `Sink.commit`."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Where outputs and Y go, together or not at all."""

    @property
    def shortened(self) -> int:
        """Published lists that lost items or request ids, since there was no room for more."""
        ...

    def commit(
        self,
        outputs: Outputs,
        next_offsets: Mapping[int, int],
        membership: Any,
        marks: Mapping[int, Mark] | None = None,
    ) -> None:
        """Publish `outputs` and Y, with its marks, in one transaction. Raises TransactionAborted (nothing was
        published) and Unavailable (the outcome is open): serve the source, then commit again what is still owned.
        Raises SlotTaken and RestartNeeded."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the sink (the length of a file); JSON types only."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition's fencing token (grows at every claim, also over losses) and its floor M (None: never written).
    `generation`: how many other topics the partition's memories have seen. `before`: the id of such a topic, whose M
    this claim has ended."""

    token: int
    floor: int | None
    generation: int = 0
    before: str = ""


class RecordStore(Protocol):
    """User memories as opaque bytes (see `core.memory_record`), one record a (partition, user), fenced by token.

    Every method raises Unavailable while the store does not answer, and all but `scan` raise MemoriesLost once it is
    found to be not what it was, until `begin_again`.
    """

    @property
    def durable(self) -> bool:
        """False for the twin: what it holds has to be written with the checkpoint (`state_dict`)."""
        ...

    def kept(self, partitions: Collection[int]) -> dict[int, Kept]:
        """What is kept of these partitions, whoever owns them."""
        ...

    def claim(
        self, partitions: Collection[int], above: Mapping[int, int] | None = None, now: Kept = _UNKNOWN
    ) -> dict[int, Claim]:
        """`above`: tokens that are known to have been given before. `now`: the topic's id and numbers of partitions,
        to be kept. Under another id than the one that is kept, M is gone; where none is kept, it is adopted."""
        ...

    def begin_again(self) -> None:
        """Take the store as it is now. Nobody may be using an earlier claim or number any more."""
        ...

    def peek(self, keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        """The records of `keys`, whoever owns their partitions: perhaps not the newest."""
        ...

    def load(self, tokens: Mapping[int, int], keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        """The records of `keys` (partition, user), None where there is none, in one round trip.
        Raises StaleToken."""
        ...

    def save(self, partition: int, token: int, records: Sequence[tuple[str, bytes]]) -> int:
        """Write records (user, bytes), never lowering a stored next offset; returns how many were written.
        Raises StaleToken and then has written nothing."""
        ...

    def set_floor(self, partition: int, token: int, floor: int, stood: int = 0) -> None:
        """Raise M: every record of the partition holds all events before it; and where its reader stood, since offsets
        without a record may follow. Never lowers either. Raises StaleToken."""
        ...

    def scan(self, user: str | None = None) -> Iterator[tuple[int, str, bytes]]:
        """(partition, user, record) of all records, or of one user's."""
        ...

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The twin's contents as arrays; empty for a durable store."""
        ...

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None: ...


class ItemNumbering(Protocol):
    """Item ids as numbers, which records hold in their place. Raises as `RecordStore` does."""

    def number_items(self, ids: Sequence[str]) -> list[int]:
        """A number from 1 for each item id, the same for every worker; new ids get new numbers, and 0 where there is
        room for no more. A number never means another id (see `core.item_dictionary`)."""
        ...

    @property
    def numbers_kept_seconds(self) -> float:
        """For at least so long after it was asked for last an id keeps its number; inf: for ever."""
        ...

    def item_ids_used(self) -> float:
        """What share of the room for item ids is taken, as of the last number that was asked for here."""
        ...

    def item_ids(self, numbers: Sequence[int]) -> list[str | None]: ...


class Slots(Protocol):
    """The start that owns each worker slot. Raises Unavailable while the store does not answer."""

    @property
    def durable(self) -> bool:
        """False for the twin: no other process sees who owns a slot."""
        ...

    def take_slot(self, slot: str, nonce: str) -> None:
        """Make `nonce` (of this start) the owner of the worker slot; an earlier owner has lost it."""
        ...

    def slot_owner(self, slot: str) -> str | None: ...


class MemoryStore(RecordStore, ItemNumbering, Slots, Protocol):
    """All that is shared by the workers of a group, in one object with one connection."""

    @property
    def durable(self) -> bool:
        """False for the twin: it is one process's own, and goes into its checkpoint."""
        ...

    def ensure_kept(self) -> None:
        """Raises ConfigurationError where the store is set to forget records by itself."""
        ...

    def ping(self) -> str:
        """One line about what answers, for `check`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """All that resuming needs: arrays by dotted name, and `meta`, JSON types only."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def state_below(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays below `prefix.`, without it."""
        head = prefix + "."
        return {name[len(head) :]: array for name, array in self.arrays.items() if name.startswith(head)}


class CheckpointStore(Protocol):
    """Snapshots of one worker slot, a bounded number of them. `bytes` is the size of the last one written."""

    @property
    def bytes(self) -> int: ...

    def save(self, snapshot: Snapshot) -> None:
        """Write durably, then make it the newest. Raises Unavailable (disk full, read-only) and SlotTaken."""
        ...

    def load_newest(self) -> Snapshot | None:
        """The newest whole snapshot; torn ones are passed over, loudly. None: there is none."""
        ...

    def close(self) -> None:
        """Let the slot go."""
        ...


class Clock(Protocol):
    """Time as an argument. `now` is epoch seconds, `monotonic` seconds from an arbitrary start."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...
