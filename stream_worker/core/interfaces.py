"""The interfaces of everything outside the loop. Each has a real backend and a twin in `backends.in_memory`.

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
    """The worker as its source sees it. Called from inside `Source.poll` and `Source.serve`, on the loop's thread."""

    def kept(self, partitions: Collection[int]) -> Mapping[int, Kept]:
        """Return what the memory store keeps of partitions, whoever owns them. May raise Unavailable."""
        ...

    def claim(self, committed: Mapping[int, Committed]) -> Mapping[int, int]:
        """Take these partitions over, given their Y; return where to start reading (M).

        A partition without a start is not claimed yet: the next `poll` claims it again, with the same Y, and reads the
        others meanwhile. May raise Unavailable: then nothing was claimed, and the next `poll` tries again.
        """
        ...

    def release(self, partitions: Collection[int]) -> None:
        """Write everything that is pending of these partitions, then forget them: another worker takes them over."""
        ...

    def drop(self, partitions: Collection[int]) -> None:
        """Forget these partitions and write nothing: they were lost, and another worker may own them already."""
        ...


class Source(Protocol):
    """Records in order within each partition, from the offsets that the owner asks for."""

    @property
    def name(self) -> str:
        """The topic (or log) that the offsets belong to; offsets of another name mean nothing here."""
        ...

    def identity(self) -> SourceId:
        """Return the source's ids, as far as they are known now. Cheap; may be called before `subscribe`."""
        ...

    def subscribe(self, owner: PartitionOwner) -> None:
        """Begin to consume; from now on the source calls the owner about its partitions."""
        ...

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """Return up to `max_records` records; wait at most `timeout_seconds` for the first one."""
        ...

    def reclaim(self, partitions: Collection[int]) -> None:
        """Forget the fetched records of partitions that the owner has dropped. A later `poll` claims those again that
        still belong to this member."""
        ...

    def moved_from(self) -> Collection[int]:
        """Return the partitions that may hold a user's earlier events; empty while the topic has as many partitions as
        when the group began."""
        ...

    def partitions(self) -> Collection[int]:
        """Return all partitions that may hold events of any user, whoever owns them."""
        ...

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Return, for each next offset, how far it can be raised without passing a record.

        Offsets of transaction markers and of aborted records hold none. The result is at least the next offset itself,
        and at most what the source has read.
        """
        ...

    def serve(self) -> None:
        """Keep the membership alive and let rebalances through, without giving out records."""
        ...

    def exhausted(self) -> bool:
        """True when nothing will ever come again (the end of a file)."""
        ...

    def standing(self) -> Standing:
        """Return whether a worker without partitions has its place: it has if the group gave it none, and has not if it
        lost its partitions against its will."""
        ...

    def trouble(self) -> str:
        """Return what keeps records from coming, as far as is known; empty for nothing."""
        ...

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Return the number of records after each next offset, as far as is known now."""
        ...

    def membership(self) -> Any:
        """Return an opaque proof of ownership, taken at the moment of a commit and handed to `Sink.commit`."""
        ...

    def close(self) -> None: ...


class HeardSource(Protocol):
    """Records of partitions that other workers own, in order within each partition, without membership in any group.

    Only whole transactions are read. Nothing is ever committed.
    """

    @property
    def name(self) -> str:
        """The topic that the offsets belong to."""
        ...

    def partitions(self) -> Collection[int]:
        """Return all partitions of the topic, as far as is known now. It looks for more every few seconds."""
        ...

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        """Return of every partition of the topic its first offset and its end as they are now. Raises Unavailable.

        The end is that of what is committed: behind it stands nothing, or a transaction that is still open.
        """
        ...

    def listen(self, starts: Mapping[int, int]) -> Mapping[int, int]:
        """Begin to read these partitions at these next offsets, beside those that are read already.

        Return where each of them begins: a start below the log's beginning is raised to it. Raises Unavailable: then
        none of them is read.
        """
        ...

    def leave(self, partitions: Collection[int]) -> None:
        """Stop reading these partitions, and forget what was fetched of them."""
        ...

    def hold(self, partitions: Collection[int]) -> None:
        """Give out nothing more of exactly these partitions for now, and go on with those that were held before."""
        ...

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """Return up to `max_records` records; wait at most `timeout_seconds` for the first one."""
        ...

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Return, for each next offset, how far it can be raised without passing a record; see `Source.stood`."""
        ...

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Return the number of records after each next offset, at most, as far as is known now, of the partitions that
        are read."""
        ...

    def begun_anew(self) -> Collection[int]:
        """Return once each partition that was read and is one of another topic of the same name now, or whose next
        offset is gone; it is read no more until `listen` is called again."""
        ...

    def alone(self) -> bool:
        """Return True if the group of the input topic has no member now. Raises Unavailable.

        Called before this worker joins the group: then nothing is read that could be heard.
        """
        ...

    def is_awaited(self) -> bool:
        """Return True if the group still keeps the place of this worker's slot, so that its partitions wait for it."""
        ...

    def trouble(self) -> str:
        """Return what keeps records from coming, as far as is known; empty for nothing."""
        ...

    def close(self) -> None: ...


class ItemSource(Protocol):
    """Records that tell of items, or decide on them, in order within each partition. Every worker reads all of them, in
    no group.

    Records are *due* if they have to take effect before the next list is made.
    """

    @property
    def name(self) -> str:
        """The topic or file that the records come from."""
        ...

    @property
    def begun_anew(self) -> int:
        """The number of times that it began to read another topic or file than before, from its beginning: what was
        known of items was told by the former one."""
        ...

    def begin(self, state: Mapping[str, Any]) -> None:
        """Read on from where `state_dict` was taken; from the beginning if it is empty. May be called again."""
        ...

    def demand(self) -> None:
        """Make everything due that was written until now. Raises Unavailable."""
        ...

    def due(self) -> int:
        """Return the number of due records, at most, that `poll` has not returned yet."""
        ...

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """Return up to `max_records` records; wait at most `timeout_seconds` for the first one."""
        ...

    def lag(self) -> int:
        """Return the number of records, at most, that `poll` has not returned yet, as far as is known now."""
        ...

    def trouble(self) -> str:
        """Return what keeps records from coming, as far as is known; empty for nothing."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the next offsets after what `poll` has returned, and whose they are, in JSON types only."""
        ...

    def close(self) -> None: ...


class WeightsTopic(Protocol):
    """Records of the weights that lines give to each other. Every worker reads all of them, in no group, from the end.

    No method waits for long or raises: weights that are lost or late do no harm.
    """

    @property
    def slot(self) -> str:
        """The worker slot that writes."""
        ...

    def begin(self) -> None:
        """Read what is written from now on. May be called again."""
        ...

    def poll(self, max_records: int) -> list[Record]:
        """Return up to `max_records` records that have come, own ones, too; never wait for one."""
        ...

    def write(self, values: Sequence[bytes]) -> bool:
        """Queue records to be written in their order, to one partition, with the slot as their key.

        False: there is no room, or no topic.
        """
        ...

    def trouble(self) -> str:
        """Return why weights are neither given nor taken, as far as is known; empty for nothing."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """A place that outputs and Y are committed to, together or not at all."""

    @property
    def shortened(self) -> int:
        """The number of published lists that lost items or request ids, since a record had no room for more."""
        ...

    def commit(
        self,
        outputs: Outputs,
        next_offsets: Mapping[int, int],
        membership: Any,
        marks: Mapping[int, Mark] | None = None,
    ) -> None:
        """Publish `outputs` and Y in one transaction.

        `next_offsets`: Y of each partition.
        `membership`: `Source.membership()` of now.
        `marks`: the mark of each Y.

        Raises TransactionAborted (nothing was published) and Unavailable (the outcome is open): serve the source, then
        commit again for the partitions that are still owned. Raises SlotTaken and RestartNeeded.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the sink (the length of a file), in JSON types only."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of claiming a partition.

    `token`: its fencing token, which grows at every claim, also after the store has lost its contents.
    `floor`: M; None if it was never written.
    `generation`: how often the topic was made again since the partition's first record.
    `before`: the id of the earlier topic whose M this claim has ended; empty if it ended none.
    `remembered`: the highest n that a record of the partition was saved with under its topic of now; 0 if none was, or
        if it is not known, as of what older versions wrote.
    """

    token: int
    floor: int | None
    generation: int = 0
    before: str = ""
    remembered: int = 0


class RecordStore(Protocol):
    """Memory records as opaque bytes (see `core.memory_record`), one per partition and user, fenced by token.

    Every method raises Unavailable while the store does not answer. Once the store is found to have lost what was
    written to it, all methods but `scan` raise MemoriesLost until `begin_again` is called.
    """

    @property
    def durable(self) -> bool:
        """False for the twin: its contents have to be written with the checkpoint (`state_dict`)."""
        ...

    def kept(self, partitions: Collection[int]) -> dict[int, Kept]:
        """Return what is kept of these partitions, whoever owns them."""
        ...

    def claim(
        self, partitions: Collection[int], above: Mapping[int, int] | None = None, now: Kept = _UNKNOWN
    ) -> dict[int, Claim]:
        """Take a new token for each partition; return the tokens with M and the highest n.

        `above`: tokens that are known to have been given before; the new ones are higher.
        `now`: the topic's id and numbers of partitions, which the store keeps from now on. If the store keeps another
        topic id, M and the highest n are removed; if it keeps none, M is taken as this topic's.
        """
        ...

    def begin_again(self) -> None:
        """Accept the store as it is now, after MemoriesLost. The caller has let go of all claims and item numbers."""
        ...

    def peek(self, keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        """Return the records of `keys` (partition, user), whoever owns the partitions; owners may have newer ones."""
        ...

    def load(self, tokens: Mapping[int, int], keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        """Return the records of `keys` (partition, user), None for a user without one, in one round trip.

        `tokens`: the token of each partition. Raises StaleToken.
        """
        ...

    def save(self, partition: int, token: int, records: Sequence[tuple[str, bytes]]) -> int:
        """Write records (user, bytes) and return how many were written.

        A record whose next offset n is below the stored one's is not written. Raises StaleToken; then nothing was
        written. The highest n, without its generation, is kept for the next claim.
        """
        ...

    def set_floor(self, partition: int, token: int, floor: int, stood: int = 0) -> None:
        """Raise the partition's M and `stood`; neither is ever lowered. Raises StaleToken.

        `floor`: M; every record of the partition holds all events before it.
        `stood`: how far the reader came past M where no offset holds a record.
        """
        ...

    def scan(self, user: str | None = None) -> Iterator[tuple[int, str, bytes]]:
        """Yield (partition, user, record) of all records, or of the records of one user."""
        ...

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the twin's contents as arrays; empty for a durable store."""
        ...

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None: ...


class ItemNumbering(Protocol):
    """The dictionary of items: numbers in place of item ids, for memory records. Raises as `RecordStore` does."""

    def number_items(self, ids: Sequence[str]) -> list[int]:
        """Return a number from 1 for each item id, the same for every worker.

        A new id gets a new number, or 0 when the dictionary is full. A number never means another id (see
        `core.item_dictionary`).
        """
        ...

    @property
    def numbers_kept_seconds(self) -> float:
        """Seconds for which an id keeps its number, at least, after it was last asked for; inf: for ever."""
        ...

    def item_ids_used(self) -> float:
        """Return the share (0 to 1) of the room for item ids that was taken when this worker last asked for one."""
        ...

    def item_ids(self, numbers: Sequence[int]) -> list[str | None]:
        """Return the id of each number; None for a number that names nothing (any more)."""
        ...


@dataclass(frozen=True, slots=True)
class Holder:
    """A start of the program that holds a worker slot.

    nonce: the name of the start.
    place: where its lock on the slot lies; a start that has taken the lock of the same place knows that this one has
        ended. Empty: nobody can know.
    """

    nonce: str
    place: str = ""


class Slots(Protocol):
    """The owners of worker slots: which start of the program has each. Raises Unavailable while the store is away."""

    @property
    def durable(self) -> bool:
        """False for the twin: no other process sees who owns a slot."""
        ...

    def take_slot(self, slot: str, nonce: str) -> None:
        """Make this start, known by its `nonce`, the owner of the worker slot; an earlier owner or holder loses it."""
        ...

    def slot_owner(self, slot: str) -> str | None:
        """Return the nonce of the start that owns the slot; None if no start has taken it."""
        ...

    def claim_slot(self, slot: str, holder: Holder, seconds: float, *, member: bool) -> bool:
        """Hold the slot for so many seconds if it is free; return True if it was. Two starts never both get it.

        It is free if it was given back, if its holder's place is this one's, or if nobody holds it and the group has no
        member of it.

        member: the group has one.
        """
        ...

    def keep_slot(self, slot: str, holder: Holder, seconds: float) -> bool:
        """Hold the slot for so many seconds from now, unless another start holds it; return False if one does."""
        ...

    def give_slot_back(self, slot: str, holder: Holder, seconds: float) -> None:
        """End the holding of a slot, if it is this start's: for so many seconds the slot is free, whatever the group
        says of its members."""
        ...


class MemoryStore(RecordStore, ItemNumbering, Slots, Protocol):
    """A store of everything that the workers of a group share, in one object with one connection."""

    @property
    def durable(self) -> bool:
        """False for the twin: it belongs to one process and is written with its checkpoint."""
        ...

    def ensure_kept(self) -> None:
        """Raise ConfigurationError if the store is set to evict records by itself."""
        ...

    def ping(self) -> str:
        """Return one line about the server that answers, for `check`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """The contents of a checkpoint: arrays by dotted name, and `meta` in JSON types only.

    created: the epoch second at which it was written; 0: it was not yet.
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    created: float = 0.0

    def state_below(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the arrays whose names begin with `prefix.`, by the rest of the name."""
        head = prefix + "."
        return {name[len(head) :]: array for name, array in self.arrays.items() if name.startswith(head)}


class CheckpointStore(Protocol):
    """Checkpoints of one worker slot, a bounded number of them. `bytes`: the size of the last one written."""

    @property
    def bytes(self) -> int: ...

    def save(self, snapshot: Snapshot) -> None:
        """Write it durably, then make it the newest. Raises Unavailable (disk full, read-only) and SlotTaken."""
        ...

    def load_newest(self) -> Snapshot | None:
        """Return the newest whole snapshot, None if there is none; torn ones are skipped with a warning."""
        ...

    def close(self) -> None:
        """Release the slot."""
        ...


class Clock(Protocol):
    """A clock that is handed in. `now`: epoch seconds; `monotonic`: seconds from an arbitrary start."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...
