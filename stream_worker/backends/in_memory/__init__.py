"""Twins of Kafka, Redis and the other backends, in memory. They pass the same contract tests and need no service."""

from stream_worker.backends.in_memory.checkpoints import InMemoryCheckpoints
from stream_worker.backends.in_memory.clock import ManualClock
from stream_worker.backends.in_memory.heard import InMemoryHeard
from stream_worker.backends.in_memory.items import InMemoryItems
from stream_worker.backends.in_memory.sink import InMemorySink
from stream_worker.backends.in_memory.source import InMemorySource
from stream_worker.backends.in_memory.store import InMemoryMemoryStore
from stream_worker.backends.in_memory.topic import InMemoryTopic
from stream_worker.backends.in_memory.weights import InMemoryWeights

__all__ = [
    "InMemoryCheckpoints",
    "InMemoryHeard",
    "InMemoryItems",
    "InMemoryMemoryStore",
    "InMemorySink",
    "InMemorySource",
    "InMemoryTopic",
    "InMemoryWeights",
    "ManualClock",
]
