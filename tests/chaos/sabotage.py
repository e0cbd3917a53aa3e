"""The real program with one guard removed: what a negative control starts in place of `python -m stream_worker`.

python -m tests.chaos.sabotage NAME[,NAME...] run|replay ...

No setting of the product does this. A guard that is not where it was any more is an error here, not a control that
removes nothing.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from confluent_kafka import Producer

from model.learner import Learner
from model.user_table import UserTable
from stream_worker.backends.files import sink as files
from stream_worker.backends.kafka.config import writer_settings
from stream_worker.backends.kafka.heard import KafkaHeard
from stream_worker.backends.kafka.producer import TransactionalProducer
from stream_worker.backends.kafka.sink import KafkaSink
from stream_worker.backends.redis import scripts
from stream_worker.cli import main as program
from stream_worker.core import offsets as four_offsets
from stream_worker.core.codec import encode_shared_list
from stream_worker.core.errors import TransactionAborted
from stream_worker.core.events import Record, SharedList
from stream_worker.core.offsets import Offsets
from stream_worker.loop import checkpointer
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.worker import Worker

_ABORTED_EVERY = 3
# More than a session, less than a claim waits for what is heard.
_LATE_SECONDS = 7.0


def swap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """`owner.name` becomes what `make` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))


def cut(owner: Any, name: str, text: str, instead: str) -> None:
    """In a script: `text`, which has to be there once, is replaced."""
    script: str = getattr(owner, name)
    assert script.count(text) == 1, f"{name}: expected {text!r} once in\n{script}"
    setattr(owner, name, script.replace(text, instead))


# -- the rule of the four offsets ------------------------------------------------------------------------------


def _claim_with(**others: Callable[[int, int, int], int]) -> None:
    """A claim sees other offsets than there are: functions of Y, L and M."""

    def make(original: Callable[..., int]) -> Callable[..., int]:
        def claim(
            self: Offsets, partition: int, published: int, learned: int, floor: int, *, heard: bool = False
        ) -> int:
            seen = {"published": published, "learned": learned, "floor": floor}
            seen |= {name: choose(published, learned, floor) for name, choose in others.items()}
            return original(self, partition, **seen, heard=heard)

        return claim

    swap(Offsets, "claim", make)


def publish_again() -> None:
    """Y is ignored: whatever is read is published."""
    _claim_with(published=lambda published, learned, floor: min(published, floor))


def learn_again() -> None:
    """L is ignored: whatever is remembered is learned."""
    _claim_with(learned=lambda published, learned, floor: 0)


def skip_to_published() -> None:
    """M is ignored: reading starts at Y."""
    _claim_with(floor=lambda published, learned, floor: published)


def dead_letters_again() -> None:
    """Y is ignored for records that are no events."""
    swap(Offsets, "publishes", lambda original: lambda self, partition, offset: True)


def remember_again() -> None:
    """n is ignored: whatever is read is remembered."""
    swap(
        Offsets,
        "effects",
        lambda original: (
            lambda self, partition_B, offset_B, remembered_B, *heard: original(
                self, partition_B, offset_B, np.zeros_like(remembered_B), *heard
            )
        ),
    )


# -- the order of writing --------------------------------------------------------------------------------------


def floor_first() -> None:
    """M of all partitions is written before their records."""

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def save_memories(store: Any, owed: Any, tokens: Any, floors: Any, *more: Any) -> None:
            for partition, floor in floors.items():
                store.set_floor(partition, tokens[partition], floor)
            original(store, owed, tokens, floors, *more)

        return save_memories

    swap(checkpointer, "save_memories", make)


def written_first() -> None:
    """L, records and M are written before what they are past is published."""

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def commit(self: Worker) -> None:
            self._persistence.write_all(self._clock.monotonic() + 30)
            original(self)

        return commit

    swap(Worker, "_commit", make)


def outputs_first() -> None:
    """Outputs are committed in a transaction of their own, then the offsets."""

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def send_offsets(self: TransactionalProducer, *arguments: Any) -> None:
            self.commit()
            self.begin()
            original(self, *arguments)

        return send_offsets

    swap(TransactionalProducer, "send_offsets", make)


def shared_outside() -> None:
    """Shared lists are written beside the transaction, by a producer of their own."""
    apart: list[Producer] = []

    def make(_: Callable[..., int]) -> Callable[..., int]:
        def produce_shared(self: KafkaSink, _producer: Any, topic: str, by: Any, made: Sequence[SharedList]) -> int:
            apart.extend([] if apart else [Producer(writer_settings(self._config))])
            for one in map(self._of_topic, made):
                apart[0].produce(topic, encode_shared_list(one, by, self._config.input_topic), one.key.encode())
            apart[0].flush()
            return 0

        return produce_shared

    swap(KafkaSink, "_produce_shared", make)


def offsets_first() -> None:
    """Offsets are committed in a transaction of their own, then the outputs."""
    produce = TransactionalProducer.produce
    late: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def send_offsets(self: TransactionalProducer, *arguments: Any) -> None:
            original(self, *arguments)
            self.commit()
            self.begin()
            for record, more in late:
                produce(self, *record, **more)
            late.clear()

        return send_offsets

    swap(TransactionalProducer, "send_offsets", make)
    swap(TransactionalProducer, "produce", lambda _: lambda self, *record, **more: late.append((record, more)))


def aborts() -> None:
    """No guard: every third transaction is aborted, once all of it has been sent."""
    sent = 0

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def send_offsets(self: TransactionalProducer, *arguments: Any) -> None:
            nonlocal sent
            original(self, *arguments)
            sent += 1
            if sent % _ABORTED_EVERY == 0:
                self.abort()
                raise TransactionAborted("sabotage")

        return send_offsets

    swap(TransactionalProducer, "send_offsets", make)


def abort_forgets() -> None:
    """What was in an aborted transaction is not sent again; its offsets are."""

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def commit(self: KafkaSink, outputs: Any, *arguments: Any) -> None:
            try:
                original(self, outputs, *arguments)
            except TransactionAborted:
                outputs.recommendations.clear()
                outputs.dead_letters.clear()
                raise

        return commit

    swap(KafkaSink, "commit", make)


# -- hearing ---------------------------------------------------------------------------------------------------


def hears_late() -> None:
    """No guard: what others own is heard seconds late."""
    waiting: deque[tuple[float, Record]] = deque()

    def polling(original: Callable[..., list[Record]]) -> Callable[..., list[Record]]:
        def poll(self: KafkaHeard, max_records: int, timeout_seconds: float) -> list[Record]:
            now = time.monotonic()
            waiting.extend((now + _LATE_SECONDS, record) for record in original(self, max_records, timeout_seconds))
            due = 0
            while due < min(len(waiting), max_records) and waiting[due][0] <= now:
                due += 1
            return [waiting.popleft()[1] for _ in range(due)]

        return poll

    def leaving(original: Callable[..., None]) -> Callable[..., None]:
        def leave(self: KafkaHeard, partitions: Any) -> None:
            original(self, partitions)
            kept = [late for late in waiting if late[1].partition not in partitions]
            waiting.clear()
            waiting.extend(kept)

        return leave

    swap(KafkaHeard, "poll", polling)
    swap(KafkaHeard, "leave", leaving)


def owned_and_heard() -> None:
    """A partition that is claimed is heard, too."""
    swap(Hearing, "leave", lambda original: lambda self, partitions: None)


def claimed_unheard() -> None:
    """A partition is claimed before it was heard up to Y, or up to what is remembered."""
    swap(Hearing, "has_reached", lambda original: lambda self, partition, published: True)
    swap(Hearing, "lacks", lambda original: lambda self, partition, claim: False)


def heard_again() -> None:
    """L of heard partitions is ignored: what is read again to fill rings is learned."""
    swap(Hearing, "learned", lambda original: lambda self: dict.fromkeys(original(self), 0))


def published_for_others() -> None:
    """Lists are published for what is only heard."""
    four_offsets._NEVER = 0


def published_as_heard() -> None:
    """What was heard before the claim counts as published."""
    _claim_with(published=lambda published, learned, floor: max(published, learned))


# -- fences and records ----------------------------------------------------------------------------------------


def any_token() -> None:
    """Redis takes a write under whatever token."""
    for script in ("SAVE", "SET_FLOOR"):
        cut(scripts, script, "if current ~= ARGV[1] then", "if false then")


def any_write() -> None:
    """Redis takes a write under whatever token, and an older record over a newer one."""
    any_token()
    cut(scripts, "SAVE", "or not lower(", "or not (function() return false end)(")


def forget_states() -> None:
    """(h, c) of a record is not put back on the device; counters and rings are."""

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def put(self: UserTable, slots: Any, memories: Any) -> None:
            empty = memories.copy()
            empty["h"] = empty["c"] = 0
            original(self, slots, empty)

        return put

    swap(UserTable, "put", make)


# -- replay ----------------------------------------------------------------------------------------------------


def keep_tails() -> None:
    """Files are not cut to the length that the checkpoint knows."""
    swap(files, "_open_at", lambda original: lambda path, length: path.open("ab"))


def fresh_dice() -> None:
    """Random numbers begin anew at a restart."""

    def make(original: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
        def load_state_dict(self: Learner, *arguments: Any) -> dict[str, str]:
            anew = original(self, *arguments)
            self.rng.bit_generator.state = np.random.default_rng(self.config.seed).bit_generator.state
            return anew

        return load_state_dict

    swap(Learner, "load_state_dict", make)


REMOVALS = {
    remove.__name__: remove
    for remove in (
        publish_again,
        learn_again,
        skip_to_published,
        dead_letters_again,
        remember_again,
        floor_first,
        written_first,
        outputs_first,
        offsets_first,
        shared_outside,
        aborts,
        abort_forgets,
        any_token,
        any_write,
        forget_states,
        hears_late,
        owned_and_heard,
        claimed_unheard,
        heard_again,
        published_for_others,
        published_as_heard,
        keep_tails,
        fresh_dice,
    )
}


def main(arguments: Sequence[str]) -> int:
    for name in arguments[0].split(","):
        REMOVALS[name]()
    return program(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
