"""A simulated shop and its customers, who act by their tastes, so that a model can learn from their events.

Words: a *shelf* is a theme in one colour ("green kitchen"), and a *taste* is a liking for one shelf. Things of a theme
are bought in an order (after the kettle the teapot). A *customer* comes for sessions of views, sometimes with a cart
and a purchase of the viewed item. Items become more and less popular, and new ones appear. Once, abruptly, half of the
customers turn to other colours, which no customer liked before.

The shop uses no clock: the same configuration gives the same events.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heapreplace
from random import Random

THEMES = {
    "kitchen": ("kettle", "teapot", "cup", "bowl", "plate", "jug"),
    "garden": ("trowel", "watering can", "flowerpot", "bench", "hammock", "birdhouse"),
    "cycling": ("bicycle", "helmet", "bell", "saddle", "basket", "lamp"),
    "music": ("guitar", "ukulele", "drum", "flute", "tambourine", "songbook"),
    "camping": ("tent", "sleeping bag", "lantern", "stove", "rucksack", "compass"),
    "bath": ("towel", "bathrobe", "soap dish", "sponge", "mirror", "slippers"),
}
# Customers like the first `_LIKED` colours of a theme; to the others half of the customers turn later.
COLOURS = {
    "kitchen": ("green", "blue", "violet", "copper", "ivory"),
    "garden": ("red", "white", "orange", "khaki", "indigo"),
    "cycling": ("yellow", "black", "pink", "teal", "bronze"),
    "music": ("brown", "silver", "turquoise", "ruby", "amber"),
    "camping": ("olive", "grey", "crimson", "azure", "sand"),
    "bath": ("cream", "navy", "coral", "lilac", "mint"),
}
_LIKED = 2  # colours of a theme that customers like at first
# The customer whom the panel follows, and the time between their sessions as a share of the usual: short, so that there
# is always something to see.
FIRST_CUSTOMER = "customer-000"
_FIRST_AWAY = 0.15
_THINGS = {thing: theme for theme, things in THEMES.items() for thing in things}


@dataclass(frozen=True)
class ShopConfig:
    """`rate`: events a second of all customers together. `change_after_seconds`: when half of them change their taste;
    infinite: never. `models`: items of each thing and colour at the beginning."""

    rate: float = 300.0
    customers: int = 400
    models: int = 6
    session_events: float = 8.0
    change_after_seconds: float = math.inf
    new_items_a_second: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 100_000:
            raise ValueError(f"shop.rate: must be above 0 and at most 100000, got {self.rate}")
        if self.customers < 2 or self.models < 1 or self.session_events < 1:
            raise ValueError(
                "shop.customers, models, session_events: must be at least 2, 1 and 1, "
                f"got {self.customers}, {self.models}, {self.session_events}"
            )
        if self.new_items_a_second < 0:
            raise ValueError(f"shop.new_items_a_second: must be at least 0, got {self.new_items_a_second}")


@dataclass(frozen=True, slots=True)
class Action:
    """A customer's action, `seconds` after the shop opened."""

    seconds: float
    user: str
    item: str
    type: str
    session: str


@dataclass(frozen=True, slots=True)
class Taste:
    """A taste: the liking for one shelf, a theme in one colour."""

    theme: str
    colour: str

    def __str__(self) -> str:
        return f"{self.colour} {self.theme}"

    def likes(self, item: str) -> bool:
        colour, thing = parts(item)
        return colour == self.colour and _THINGS[thing] == self.theme


def parts(item: str) -> tuple[str, str]:
    """Return colour and thing of an item.

    >>> parts("white watering can #3")
    ('white', 'watering can')
    """
    colour, _, rest = item.partition(" ")
    return colour, rest.rpartition(" #")[0]


@dataclass(slots=True)
class _Item:
    """An item of the shop.

    `weight`: its mean popularity.
    `period_seconds`, `phase`: how its popularity rises and falls; `phase` is a share of the period.
    `born_seconds`: when it appeared; a new item is hot for some 15 seconds.
    """

    title: str
    weight: float
    period_seconds: float
    phase: float
    born_seconds: float = -math.inf

    def popularity(self, seconds: float) -> float:
        swing = math.sin(2 * math.pi * (seconds / self.period_seconds + self.phase))
        hot = 4.0 * math.exp((self.born_seconds - seconds) / 15.0)
        return self.weight * math.exp(swing) * (1.0 + hot)


class Shelves:
    """The items of the shop; draws one of them by its present popularity. `models`: items of each thing and colour."""

    def __init__(self, models: int, random: Random) -> None:
        self._random = random
        self._items: dict[tuple[str, str, str], list[_Item]] = {}
        self._drawing: dict[tuple[str, ...], tuple[list[str], list[float]]] = {}
        for theme, things in THEMES.items():
            for colour in COLOURS[theme]:
                for thing in things:
                    self._items[theme, colour, thing] = []
                    for _ in range(models):
                        self._add(theme, colour, thing)

    def __len__(self) -> int:
        return sum(len(items) for items in self._items.values())

    def add(self, taste: Taste, seconds: float) -> str:
        """Add a new item of a random thing to the shelf; return its title."""
        return self._add(taste.theme, taste.colour, self._random.choice(THEMES[taste.theme]), seconds)

    def restock(self, seconds: float) -> None:
        """Compute the popularity of all items, `seconds` after the shop opened."""
        self._drawing = {}
        for (theme, colour, thing), items in self._items.items():
            titles, weights = [i.title for i in items], [i.popularity(seconds) for i in items]
            for key in ((theme, colour, thing), (theme, colour)):
                shelf = self._drawing.setdefault(key, ([], []))
                shelf[0].extend(titles)
                shelf[1].extend(weights)

    def draw(self, taste: Taste) -> str:
        return self._draw(taste.theme, taste.colour)

    def draw_after(self, taste: Taste, item: str) -> str:
        """Draw an item of the theme's next thing after this item's, in the taste's colour."""
        things = THEMES[taste.theme]
        return self._draw(taste.theme, taste.colour, things[(things.index(parts(item)[1]) + 1) % len(things)])

    def _draw(self, *key: str) -> str:
        titles, weights = self._drawing[key]
        return self._random.choices(titles, weights)[0]

    def _add(self, theme: str, colour: str, thing: str, born_seconds: float = -math.inf) -> str:
        random, shelf = self._random, self._items[theme, colour, thing]
        title = f"{colour} {thing} #{len(shelf) + 1}"
        weight = random.paretovariate(2.0)
        shelf.append(_Item(title, weight, random.uniform(30, 90), random.random(), born_seconds))
        return title


@dataclass(slots=True)
class _Customer:
    name: str
    taste: Taste
    away: float = 1.0  # time between two sessions, as a share of the usual
    sessions: int = 0
    left: int = 0  # actions left in this session
    last: tuple[str, str] | None = None  # type and item of the last action in this session


class Shop:
    """The shop from its opening on. `changed`: True after the change of taste; `tastes`: who likes what now."""

    def __init__(self, config: ShopConfig) -> None:
        self.config = config
        self.changed = False
        self._random = Random(config.seed)
        self.shelves = Shelves(config.models, self._random)
        liked = [Taste(theme, colour) for theme in THEMES for colour in COLOURS[theme][:_LIKED]]
        self._customers = [
            _Customer(f"customer-{number:03d}", liked[number % len(liked)]) for number in range(config.customers)
        ]
        self._customers[0].away = _FIRST_AWAY
        self._seconds_an_event = config.customers / config.rate

    @property
    def tastes(self) -> dict[str, Taste]:
        return {customer.name: customer.taste for customer in self._customers}

    def actions(self) -> Iterator[Action]:
        """Yield the customers' actions in the order of time, without end."""
        random = self._random
        turn = self.config.session_events * self._seconds_an_event
        due = [(random.uniform(0, turn) * customer.away, number) for number, customer in enumerate(self._customers)]
        heapify(due)
        second = -1
        while True:
            seconds, number = due[0]
            while second < int(seconds):
                second += 1
                self._pass_second(second)
            if not self.changed and seconds >= self.config.change_after_seconds:
                self._change_tastes()
            customer = self._customers[number]
            yield self._act(customer, seconds)
            heapreplace(due, (seconds + self._pause(customer), number))

    def _pass_second(self, second: int) -> None:
        chance = self.config.new_items_a_second
        for _ in range(int(chance) + (self._random.random() < chance % 1)):
            self.shelves.add(self._random.choice(self._customers).taste, second)
        self.shelves.restock(second)

    def _change_tastes(self) -> None:
        """Give half of the customers, with the first one, a colour of their theme that no customer has liked yet."""
        self.changed = True
        first, *others = self._customers
        for customer in [first, *self._random.sample(others, len(self._customers) // 2 - 1)]:
            theme = customer.taste.theme
            customer.taste = Taste(theme, self._random.choice(COLOURS[theme][_LIKED:]))

    def _pause(self, customer: _Customer) -> float:
        """Return the seconds until the customer's next action: few within a session, many before the next one."""
        within, events = 0.3 * self._seconds_an_event, self.config.session_events
        between = customer.away * (events * self._seconds_an_event - (events - 1) * within)
        mean = within if customer.left else between
        return self._random.uniform(0.5, 1.5) * mean

    def _act(self, customer: _Customer, seconds: float) -> Action:
        if customer.left == 0:
            customer.sessions += 1
            customer.left = self._random.randint(1, round(2 * self.config.session_events) - 1)
            customer.last = None
        kind, item = self._choice(customer)
        customer.left -= 1
        customer.last = kind, item
        return Action(seconds, customer.name, item, kind, f"{customer.name}-{customer.sessions}")

    def _choice(self, customer: _Customer) -> tuple[str, str]:
        random, kind, item = self._random, *(customer.last or ("", ""))
        if kind == "view" and random.random() < 0.12:
            return "cart", item
        if kind == "cart" and random.random() < 0.5:
            return "purchase", item
        if random.random() < 0.1:
            return "view", self.shelves.draw(random.choice(self._customers).taste)
        if item and customer.taste.theme == _THINGS[parts(item)[1]] and random.random() < 0.5:
            return "view", self.shelves.draw_after(customer.taste, item)
        return "view", self.shelves.draw(customer.taste)
