"""What a scenario is, and what it says of itself in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.chaos.nursery import ForkedFleet
from tests.support.fleet import Event
from tests.support.scene import Scene
from tests.support.services import KafkaCluster, RedisService

Seen = dict[str, object]


class NotShown(Exception):  # noqa: N818
    """What the scenario is about did not happen: it says nothing about the promise."""


class Skipped(Exception):  # noqa: N818
    """The scenario can't be played here; the message says why."""


@dataclass(frozen=True)
class Stage:
    """What a scenario is given: services, a folder of its own, a recorded log, and how long it may take.

    `short`: the form for CI. `protocol`: of the consumer group, "classic" or "consumer" (KIP-848). `log`: events in
    time order, of a real log where one was given, else made up.
    """

    kafka: KafkaCluster
    redis: RedisService
    folder: Path
    log: list[Event]
    short: bool
    protocol: str
    seed: int = 0

    @contextmanager
    def scene(
        self,
        name: str = "scene",
        environment: Mapping[str, str] = MappingProxyType({}),
        *,
        partitions: int = 8,
        replicas: int = 1,
        forked: bool | None = None,
    ) -> Iterator[Scene]:
        """Fresh topics, group and checkpoints; all workers are gone at the end.

        `environment`, `partitions` and `replicas`: see `Scene`. `forked`: see `nursery`; by default in the short form.
        """
        folder = self.folder / name
        folder.mkdir()
        settings = {"KAFKA__GROUP_PROTOCOL": self.protocol, **environment}
        services = self.kafka.bootstrap, self.redis.url
        scene = Scene(*services, folder, partitions=partitions, replicas=replicas, environment=settings)
        if self.short if forked is None else forked:
            scene.fleet = ForkedFleet(folder, **scene.environment)
        with scene.fleet:
            yield scene


@dataclass(frozen=True)
class Scenario:
    """One line of the table. `run` raises AssertionError where a promise is broken, and returns what was seen."""

    number: int
    name: str
    run: Callable[[Stage], Seen]
    protocols: tuple[str, ...] = ("classic",)
    in_short: bool = True
