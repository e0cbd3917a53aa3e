"""How often input was faulty, by what was wrong with it, with the first of each kind to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

_MOST_KINDS = 200


@dataclass
class FaultKind:
    """Faults of one `name` (a dead letter's class, a dropped field) of which the same was expected: reason and place
    of the first, and how many there were."""

    name: str
    reason: str
    place: str
    count: int = 0


class FaultCounts:
    """Counts of faults. Kinds are told apart by name and by what was expected, never by what came instead, so that
    there are few of them; past a bound by name alone."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], FaultKind] = {}

    def add(self, name: str, reason: str, place: str) -> FaultKind | None:
        """Count a fault. Returns its kind where it is the first of it."""
        expected = reason.partition(", got ")[0] if len(self._kinds) < _MOST_KINDS else ""
        kind = self._kinds.get((name, expected))
        first = kind is None
        if kind is None:
            kind = self._kinds[name, expected] = FaultKind(name, reason, place)
        kind.count += 1
        return kind if first else None

    def commonest(self, n: int) -> list[FaultKind]:
        """The `n` kinds of which there were most; of equals the one that came first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)[:n]

    def by_name(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for kind in self._kinds.values():
            counts[kind.name] += kind.count
        return counts

    def total(self) -> int:
        return sum(kind.count for kind in self._kinds.values())
