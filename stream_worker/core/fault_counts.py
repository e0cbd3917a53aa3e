"""Counts of faulty input by kind of fault, with the first fault of each kind as an example."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

_MOST_KINDS = 200  # kinds told apart by what was expected; bounds the memory (not tuned)


@dataclass
class FaultKind:
    """Faults with the same name and the same expectation.

    `name`: the class of a dead letter, or the name of a dropped field.
    `reason`, `place`: those of the first such fault.
    `count`: how many there were.
    """

    name: str
    reason: str
    place: str
    count: int = 0


class FaultCounts:
    """Counts of faults by kind.

    Two faults are of one kind if their name and what was expected are equal, whatever came instead; so there are few
    kinds. Past 200 kinds the name alone decides.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], FaultKind] = {}

    def add(self, name: str, reason: str, place: str) -> FaultKind | None:
        """Count a fault. Return its kind if it is the first of that kind, else None."""
        expected = reason.partition(", got ")[0] if len(self._kinds) < _MOST_KINDS else ""
        kind = self._kinds.get((name, expected))
        first = kind is None
        if kind is None:
            kind = self._kinds[name, expected] = FaultKind(name, reason, place)
        kind.count += 1
        return kind if first else None

    def commonest(self, n: int) -> list[FaultKind]:
        """Return the `n` most frequent kinds; of equally frequent ones the kind that came first stands first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)[:n]

    def by_name(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for kind in self._kinds.values():
            counts[kind.name] += kind.count
        return counts

    def total(self) -> int:
        return sum(kind.count for kind in self._kinds.values())
