"""Simulated streams whose changes are known: users with tastes, items that follow one another within a taste.

A *taste* is a set of items with a popularity (Zipf) and, for each item, a few items that like to follow it. Every item
belongs to two tastes, in which different items follow it: what comes next can only be told from the user's own past.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random

_START_TS = 1_700_000_000  # seconds since 1970: November 2023
_FOLLOWS = (0.5, 0.3, 0.2)  # how often each of the items that like to follow does


@dataclass(frozen=True)
class StreamConfig:
    """Settings of a stream.

    follows: share of events that follow from the user's last item
    returns: share of events that repeat one of the user's own items of this taste; the rest is drawn by popularity
    new_item_every: events from one new item to the next, 0: none
    """

    events: int = 25_000
    users: int = 1_000
    tastes: int = 20
    items_per_taste: int = 200
    follows: float = 0.45
    returns: float = 0.15
    new_item_every: int = 0
    seed: int = 0


@dataclass
class Taste:
    """`items` by falling popularity; `following`: for each item the ones that like to follow it."""

    items: list[int]
    following: dict[int, list[int]]
    upto: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.upto = list(accumulate(1 / (place + 3) for place in range(len(self.items))))

    def draw(self, random: Random) -> int:
        return random.choices(self.items, cum_weights=self.upto)[0]

    def without(self, retired: set[int], random: Random) -> Taste:
        items = [item for item in self.items if item not in retired]
        kept = {i: [n if n not in retired else random.choice(items) for n in self.following[i]] for i in items}
        return Taste(items, kept)


class Simulation:
    """The world behind a stream. `changes`: event number -> change of the world before that event."""

    def __init__(self, config: StreamConfig, changes: dict[int, Callable[[Simulation], None]] | None = None) -> None:
        self.config = config
        self.random = Random(config.seed)
        self.changes = changes or {}
        self.tastes = _tastes(config, self.random)
        self.taste_of = [self.random.randrange(config.tastes) for _ in range(config.users)]
        self.counts: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._own: dict[int, list[int]] = {}
        self._users_upto = list(accumulate(1 / (user + 50) for user in range(config.users)))
        self._newest = config.tastes * config.items_per_taste // 2

    def events(self) -> list[tuple[int, int]]:
        """Return (user, item) in order."""
        return [self._event(number) for number in range(self.config.events)]

    def _event(self, number: int) -> tuple[int, int]:
        if change := self.changes.get(number):
            change(self)
        if self.config.new_item_every and number % self.config.new_item_every == 0:
            self._add_item()
        user = self.random.choices(range(self.config.users), cum_weights=self._users_upto)[0]
        item = self._next(user, self.tastes[self.taste_of[user]])
        self._last[user] = item
        self._own.setdefault(user, []).append(item)
        self.counts[item] = self.counts.get(item, 0) + 1
        return user, item

    def _next(self, user: int, taste: Taste) -> int:
        kind, last = self.random.random(), self._last.get(user, -1)
        if kind < self.config.follows and last in taste.following:
            return self.random.choices(taste.following[last], _FOLLOWS)[0]
        if kind > 1 - self.config.returns:
            own = [item for item in self._own.get(user, [])[-20:] if item in taste.following]
            if own:
                return self.random.choice(own)
        return taste.draw(self.random)

    def _add_item(self) -> None:
        """Add an item to the most popular ones of one taste, which often follows the popular ones there."""
        taste = self.random.choice(self.tastes)
        self._newest += 1
        taste.following[self._newest] = self.random.sample(taste.items, len(_FOLLOWS))
        for item in self.random.sample(taste.items[:30], 10):
            taste.following[item][0] = self._newest
        taste.items.insert(self.random.randrange(3), self._newest)
        taste.items.pop()


def swap_tastes(world: Simulation) -> None:
    """Make half of the users exchange their tastes with one another."""
    users = world.random.sample(range(world.config.users), world.config.users // 2)
    tastes = [world.taste_of[user] for user in users]
    for user, taste in zip(users, tastes[1:] + tastes[:1], strict=True):
        world.taste_of[user] = taste


def renew_tastes(world: Simulation) -> None:
    """Give half of the users tastes that nobody had before: other items are popular, and others follow each item."""
    for number in world.random.sample(range(world.config.tastes), world.config.tastes // 2):
        world.tastes[number] = _taste(world.tastes[number].items, world.random)


def retire(count: int) -> Callable[[Simulation], None]:
    """Return a change after which the `count` items that came most often until then never come again."""

    def change(world: Simulation) -> None:
        gone = set(sorted(world.counts, key=lambda item: -world.counts[item])[:count])
        world.tastes = [taste.without(gone, world.random) for taste in world.tastes]

    return change


def swap_tastes_and_retire(count: int) -> Callable[[Simulation], None]:
    """Return a change that does `swap_tastes` and `retire` at once."""

    def change(world: Simulation) -> None:
        swap_tastes(world)
        retire(count)(world)

    return change


def all_take_tastes(offset: int, among: int) -> Callable[[Simulation], None]:
    """Return a change that gives every user one of `among` tastes from number `offset` on."""

    def change(world: Simulation) -> None:
        world.taste_of = [offset + user % among for user in range(world.config.users)]

    return change


def write_log(path: Path, events: list[tuple[int, int]]) -> None:
    """Write a log for the mapping `examples/canonical.toml`, with five seconds between two events."""
    lines = [f"u{user},i{item},view,{_START_TS + 5 * number}" for number, (user, item) in enumerate(events)]
    path.write_text("\n".join(["user,item,type,ts", *lines]) + "\n")


def _tastes(config: StreamConfig, random: Random) -> list[Taste]:
    """Return tastes, of which neighbours share half of their items."""
    half = config.items_per_taste // 2
    tastes = []
    for number in range(config.tastes):
        own = [(number * half + place) % (config.tastes * half) for place in range(2 * half)]
        tastes.append(_taste(own, random))
    return tastes


def _taste(items: list[int], random: Random) -> Taste:
    items = random.sample(items, len(items))
    return Taste(items, {item: random.sample(items, len(_FOLLOWS)) for item in items})
