"""Every checkpoint that is written has counted all events: of each partition, owned or heard, the events that it has
counted and its gap are the valid events below its L, by the topic alone.

The manifests are collected as they are published, since only the newest few are kept; that none was missed is told by
their numbers. A gap is allowed where the log begins after L, which no scenario that asks for this does: it has to be 0.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.onlooker import Onlooker
from tests.support.fleet import Sent
from tests.support.scene import Scene

_MANIFEST = "manifest.json"
_LOOK_SECONDS = 0.1  # a checkpoint is there for three intervals of a second at least
_WAIT_SECONDS = 20.0

Numbers = Mapping[int, int]


class Manifest(NamedTuple):
    """What a checkpoint says of the events that its line has counted, by partition."""

    name: str
    first: Numbers
    learned: Numbers
    counted: Numbers
    gap: Numbers

    @staticmethod
    def of(name: str, meta: Mapping[str, Any]) -> Manifest:
        names = "first", "offsets", "counted", "gap"
        return Manifest(name, *({int(p): int(at) for p, at in meta[column].items()} for column in names))

    def check(self, valid: Mapping[int, list[int]]) -> None:
        """`valid`: offsets of the valid events of each partition, in order."""
        assert self.learned.keys() >= self.counted.keys() | self.gap.keys(), (
            f"{self.name}: counted without an L: {self}"
        )
        for partition, learned in self.learned.items():
            offsets, first = valid.get(partition, []), self.first[partition]
            there = bisect_left(offsets, learned) - bisect_left(offsets, first)
            counted, gap = self.counted.get(partition, 0), self.gap.get(partition, 0)
            of = f"{self.name}: of partition {partition}, {first} to {learned}"
            assert counted + gap == there, f"{of}: {counted} events counted and {gap} in the gap, {there} in the log"
            assert gap == 0, f"{of}: a gap of {gap} events"

    @property
    def events(self) -> int:
        return sum(self.counted.values())


class Manifests(Onlooker):
    """Collects the manifests of all workers of a scene, from a thread of its own."""

    def __init__(self, scene: Scene) -> None:
        self._folder = scene.folder / "checkpoints"
        self._found: dict[Path, Manifest] = {}
        super().__init__("manifests", _LOOK_SECONDS)

    def newest(self, slot: str) -> Manifest | None:
        """The newest one of a slot."""
        of_slot = [path for path in list(self._found) if path.parent.name == slot]
        return self._found[max(of_slot)] if of_slot else None

    def all_counted(self, slots: Iterable[str], events: int) -> bool:
        """Whether the newest checkpoint of each slot has counted that many: all that there are."""
        return all((newest := self.newest(slot)) is not None and newest.events == events for slot in slots)

    def check(self, sent: Sent) -> dict[str, object]:
        """Of all that were written; what was seen. Call it when all workers have ended."""
        self._look()
        self._check_complete()
        valid = _valid(sent)
        for manifest in self._found.values():
            manifest.check(valid)
        return {"checkpoints": len(self._found)}

    def _check_complete(self) -> None:
        numbers: dict[str, set[int]] = defaultdict(set)
        for path in self._found:
            numbers[path.parent.name].add(int(path.name.partition("-")[0]))
        missed = {slot: sorted({*range(1, max(of_slot))} - of_slot) for slot, of_slot in numbers.items()}
        assert not any(missed.values()), f"checkpoints that were not collected: {missed}"

    def _look(self) -> None:
        for path in self._folder.glob(f"*/*/*/{_MANIFEST}"):
            folder = path.parent
            if folder in self._found or folder.name.endswith(".tmp"):
                continue
            try:
                text = path.read_bytes()
            except FileNotFoundError:  # deleted since: then it was not found in time, which its number will tell
                continue
            self._found[folder] = Manifest.of(f"{folder.parent.name}/{folder.name}", json.loads(text)["meta"])


def _valid(sent: Sent) -> dict[int, list[int]]:
    valid: dict[int, list[int]] = defaultdict(list)
    for (_, partition), offsets in sent.valid.items():
        valid[partition] += offsets
    return {partition: sorted(offsets) for partition, offsets in valid.items()}
