"""Publishes a worker slot's outputs to an `InMemoryTopic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream_worker.backends.in_memory.topic import InMemoryTopic
from stream_worker.core.errors import SlotTaken, StreamWorkerError, TransactionAborted
from stream_worker.core.events import Outputs
from stream_worker.core.offsets import Mark


class InMemorySink:
    """The writer of a slot; creating another one for the same slot fences it.

    A test appends errors to `failures`: each commit raises the first one, removes it, and publishes nothing. A commit
    whose membership is older than the last rebalance raises TransactionAborted, as with a real broker.
    """

    shortened = 0

    def __init__(self, topic: InMemoryTopic, slot: str = "0") -> None:
        self._topic, self._slot = topic, slot
        self.failures: list[StreamWorkerError] = []
        topic.writers[slot] = self

    @property
    def outputs(self) -> Outputs:
        """Everything that any sink has committed to the topic."""
        return self._topic.outputs

    def commit(
        self,
        outputs: Outputs,
        next_offsets: Mapping[int, int],
        membership: Any,
        marks: Mapping[int, Mark] | None = None,
    ) -> None:
        outputs.require_offsets(next_offsets)
        if self._topic.writers[self._slot] is not self:
            raise SlotTaken(f"another sink uses slot {self._slot!r} of {self._topic.name}")
        if self.failures:
            raise self.failures.pop(0)
        if membership != self._topic.generation:
            raise TransactionAborted(f"generation {membership} is over, it is {self._topic.generation} now")
        self._topic.committed |= next_offsets
        self._topic.marks |= marks or {}
        self._topic.outputs.extend(outputs)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: the topic keeps what was published."""

    def close(self) -> None:
        """Do nothing: the sink holds nothing open."""
