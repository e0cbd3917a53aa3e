"""A world for the worker in one process: a topic, memories and checkpoints that outlive it, and traps that kill it.

A worker that is killed never hears of it: `Killed` is no Exception, and nothing is closed or written afterwards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from model.learner_config import LearnerConfig
from stream_worker.assembly import make_line, make_worker
from stream_worker.backends.in_memory import (
    InMemoryCheckpoints,
    InMemoryHeard,
    InMemoryItems,
    InMemoryMemoryStore,
    InMemorySink,
    InMemorySource,
    InMemoryTopic,
    InMemoryWeights,
    ManualClock,
)
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.config import Settings
from stream_worker.core.codec import encode_event
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import MemoriesLost
from stream_worker.core.events import Outputs
from stream_worker.core.interfaces import MemoryStore, Snapshot
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.loop.line import Line
from stream_worker.loop.outside import Outside
from stream_worker.loop.worker_config import WorkerConfig

BATCH = 8
BAD = b"no event"
MODEL = LearnerConfig(
    dim=8, mini_batch=BATCH, ring_size=8, window=4, list_length=5, max_items=64, neighbours=8, candidates=32,
    encoder_candidates=4, negatives=16, replay_capacity=64,
)  # fmt: skip
SETTINGS = Settings(
    model=MODEL,
    memory=MemoryConfig(device_users=2 * BATCH, twin_users=1_000),
    worker=WorkerConfig(batch_size=BATCH),
)
Place = tuple[int, int]


class Killed(BaseException):
    """kill -9 at this step."""


@dataclass
class Traps:
    """Called by everything outside at every step, by name. `kill_at`: the count of each step at which to die.

    `steps` is the diary; `failures` are raised, one a call, before the step of that name.
    """

    kill_at: dict[str, int] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    failures: dict[str, list[Exception]] = field(default_factory=dict)

    def before(self, step: str) -> None:
        if waiting := self.failures.get(step):
            raise waiting.pop(0)

    def after(self, step: str) -> None:
        self.steps.append(step)
        if self.steps.count(step) == self.kill_at.get(step, 0):
            raise Killed(step)


def trapped(kind: type[Any]) -> type[Any]:
    """A store whose calls are steps: claim, load, peek, records, M, number_items."""

    class Trapped(kind):  # type: ignore[misc]
        traps = Traps()

        def _step(self, step: str, call: Callable[[], Any]) -> Any:
            self.traps.before(step)
            answer = call()
            self.traps.after(step)
            return answer

        def claim(self, *args: Any) -> Any:
            return self._step("claim", lambda: kind.claim(self, *args))

        def load(self, tokens: Any, keys: Any) -> Any:
            return self._step("load", lambda: kind.load(self, tokens, keys))

        def peek(self, keys: Any) -> Any:
            return self._step("peek", lambda: kind.peek(self, keys))

        def save(self, *args: Any) -> Any:
            return self._step("records", lambda: kind.save(self, *args))

        def set_floor(self, *args: Any) -> None:
            self._step("M", lambda: kind.set_floor(self, *args))

        def number_items(self, ids: Any) -> Any:
            return self._step("number_items", lambda: kind.number_items(self, ids))

    return Trapped


class _DurableTwin(InMemoryMemoryStore):
    """Stands for Redis: outlives the workers, and is no part of a checkpoint."""

    durable = True

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """It has its own."""


Twin, Durable, Redis = trapped(InMemoryMemoryStore), trapped(_DurableTwin), trapped(RedisMemoryStore)


class Sink(InMemorySink):
    """`transactions`: what each committed one published."""

    def __init__(self, topic: InMemoryTopic, slot: str, traps: Traps) -> None:
        super().__init__(topic, slot)
        self.traps = traps
        self.transactions: list[Outputs] = []

    def commit(self, outputs: Outputs, next_offsets: Mapping[int, int], membership: Any, marks: Any = None) -> None:
        self.traps.after("transaction")
        self.traps.before("Y")
        super().commit(outputs, next_offsets, membership, marks)
        self.transactions.append(published := Outputs())
        published.extend(replace(outputs, predictions=[]))
        self.traps.after("Y")


class Checkpoints(InMemoryCheckpoints):
    def __init__(self) -> None:
        super().__init__()
        self.traps = Traps()

    def save(self, snapshot: Snapshot) -> None:
        self.traps.before("L")
        super().save(snapshot)
        self.traps.after("L")


class World:
    """Everything that outlives a worker. `kind`: of the memory store (`Twin`, `Durable` or `Redis` with a URL)."""

    def __init__(
        self,
        kind: type[Any] = Durable,
        partitions: int = 2,
        url: str = "",
        group: str = "",
        settings: Settings = SETTINGS,
    ) -> None:
        self.topic, self.clock = InMemoryTopic(partitions), ManualClock()
        self.items: InMemoryTopic | None = None
        self.decisions: InMemoryTopic | None = None
        self.hears = False
        self.weights: InMemoryTopic | None = None
        self.kind, self.url, self.group, self.settings = kind, url, group, settings
        self.checkpoints: dict[str, Checkpoints] = defaultdict(Checkpoints)
        self.shared: Any = None if kind is Twin else self._store()
        self.pauses = 0
        self._starts: Counter[str] = Counter()

    def _store(self) -> Any:
        if self.kind is Redis:
            return Redis(replace(self.settings.memory, redis_url=self.url), self.group)
        return self.kind(self.settings.memory)

    def send(self, user: str, item: str, partition: int | None = None, **more: Any) -> None:
        kind = more.pop("type", "view")
        value = encode_event(user, item, kind, 1_700_000_000 + sum(map(len, self.topic.partitions)), **more)
        self.topic.append(user.encode(), value, 1_700_000_000_000, partition)

    def send_bad(self, partition: int) -> None:
        self.topic.append(b"k", BAD, 1_700_000_000_000, partition)

    def send_many(self, events: int, users: int = 5) -> None:
        """Users in both of two partitions, of many items, with a bad record now and then."""
        for k in range(events):
            self.send(f"u{k * 7 % users}", f"i{k * 5 % 13}", partition=k % 2)
            if k % 9 == 4:
                self.send_bad(k % 2)

    def worker(self, slot: str = "0", *, traps: Traps | None = None, own: bool = True, **more: Any) -> Run:
        """A start of the slot, from its own checkpoint if there is one."""
        return Run(self, slot, traps or Traps(), own, more)

    def name_of_start(self, slot: str) -> str:
        self._starts[slot] += 1
        return f"{slot}-{self._starts[slot]}"

    def pause(self, seconds: float) -> None:
        self.pauses += 1
        self.clock.sleep(seconds)

    # -- what should be so -------------------------------------------------------------------------------------

    def valid(self) -> dict[tuple[str, int], list[int]]:
        """(user, partition) -> offsets of its valid events."""
        places: dict[tuple[str, int], list[int]] = defaultdict(list)
        for records in self.topic.partitions:
            for record in records:
                if record.value != BAD:
                    places[(record.key or b"").decode(), record.partition].append(record.offset)
        return dict(places)

    def bad(self) -> list[Place]:
        return [(r.partition, r.offset) for records in self.topic.partitions for r in records if r.value == BAD]

    def check_contract_1(self) -> None:
        """For every list, not only in the sum; everything published, and every bad record exactly once."""
        valid, counted, last = self.valid(), Counter[tuple[str, int]](), dict[tuple[str, int], int]()
        for made in self.topic.outputs.recommendations:
            key = (made.user, made.partition)
            assert made.next_offset > last.get(key, 0), f"as_of of {key} does not grow"
            last[key] = made.next_offset
            counted[key] += made.events
            assert counted[key] == sum(offset < made.next_offset for offset in valid[key]), key
        assert counted == {key: len(offsets) for key, offsets in valid.items()}
        letters = [(d.record.partition, d.record.offset) for d in self.topic.outputs.dead_letters]
        assert sorted(letters) == self.bad()

    def check_memories(self, store: MemoryStore) -> None:
        """Every record counts each of its user's events once, in the order of the partition."""
        assert remembered(store) == {
            (user, partition): (len(offsets), offsets[-1] + 1, self._items(partition, offsets)[-MODEL.ring_size :])
            for (user, partition), offsets in self.valid().items()
        }

    def _items(self, partition: int, offsets: Sequence[int]) -> list[str]:
        events, _ = Decoder(self.settings.events).decode(
            [self.topic.partitions[partition][offset] for offset in offsets]
        )
        return events.items


class Run:
    """One start of a worker, from `World.worker` to its end or death. A write is due at every tick."""

    def __init__(self, world: World, slot: str, traps: Traps, own: bool, more: dict[str, Any]) -> None:
        self.world, self.traps, self._slot = world, traps, slot
        self.store: Any = world.shared if world.shared is not None else world._store()
        self.store.traps = traps
        self.checkpoints = world.checkpoints[slot]
        self.checkpoints.traps = traps
        self.source = InMemorySource(world.topic, slot)
        self.items = InMemoryItems(world.items) if world.items is not None else None
        self.decisions = InMemoryItems(world.decisions) if world.decisions is not None else None
        self.weights = InMemoryWeights(world.weights, slot) if world.weights is not None else None
        self.heard = more.pop("heard", None) or (InMemoryHeard(world.topic) if world.hears else None)
        self.sink = Sink(world.topic, slot, traps)
        pause, settings = more.pop("pause", world.pause), world.settings
        memory = replace(
            settings.memory,
            pending_users=more.pop("max_pending", settings.memory.pending_users),
            rebuild_records=more.pop("rebuild_records", settings.memory.rebuild_records),
        )
        self.worker = make_worker(
            replace(settings, worker=replace(settings.worker, slot=slot), memory=memory),
            Outside(
                self.source,
                self.sink,
                self.store,
                self.checkpoints,
                world.clock,
                pause=pause,
                items=self.items,
                decisions=self.decisions,
                weights=self.weights,
                heard=self.heard,
            ),
            more.pop("line", None) or self._line(),
            checkpoint_seconds=more.pop("checkpoint_seconds", 0.0),
            **more,
        )
        self.worker.start(self.checkpoints.load_newest(), own=own)

    def _line(self) -> Line:
        world = self.world
        name, told, decided = world.name_of_start(self._slot), world.items is not None, world.decisions is not None
        return make_line(world.settings, name, described=told, hears=world.hears, decided=decided)

    @property
    def learned(self) -> int:
        """Events that went into the line's weights, over all its starts."""
        return self.worker.line.learner.events

    def tick(self, count: int = 1) -> None:
        """Ticks, each with its write ended."""
        for _ in range(count):
            self._unless_killed(self.worker.run_once)
            self._unless_killed(self.settle)

    def settle(self) -> None:
        persistence, ownership = self.worker._persistence, self.worker._ownership
        while persistence.checkpointer.busy():
            try:
                persistence.settle(persistence.checkpointer.finished(1.0))
            except MemoriesLost as fault:
                ownership.start_over(fault)
            ownership.let_go()

    def to_the_end(self) -> None:
        """Everything that was sent, then a good end."""
        self.world.topic.ended = True
        while not self.source.exhausted():
            self.tick()
        self.finish()

    def finish(self) -> None:
        self._unless_killed(self.worker.finish)
        self.close()

    def close(self) -> None:
        self.worker._persistence.close()

    def _unless_killed(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Killed:
            self.close()
            raise


def remembered(store: MemoryStore) -> dict[tuple[str, int], tuple[int, int, list[str | None]]]:
    """(events, n, ring) of every (user, partition) that the store has a record of."""
    layout, found = MemoryFormat(MODEL.ring_size, MODEL.dim), {}
    for partition, user, blob in store.scan():
        record = layout.decode([blob])[0]
        ring = store.item_ids([int(number) for number in record["number"] if number])
        found[user, partition] = (int(record["events"]), int(record["next_offset"]), ring)
    return found


def run_into(run: Run) -> bool:
    """Whether the worker died on its way to the end."""
    try:
        run.to_the_end()
    except Killed:
        return True
    return False
