"""The rules of one named list (a scenario), as numbers.

Shape suffixes: Q quotas, F fields of items, T event types.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# What an event says of its item, in the order of their codes.
ROLES = ("", "view", "cart", "remove", "purchase")
NO_ROLE, VIEW, CART, REMOVE, PURCHASE = range(len(ROLES))
# For how long an item that the user bought is left out: not at all; as long as the log shows that it is not bought
# again (see `purchases`); for a stated time.
KEPT, LEARNED, FOR_A_TIME = range(3)
# Kinds of quotas: items of a promotion, items that are young, items that the user has seen, items of a group.
PROMOTED, FRESH, SEEN, GROUP = range(4)
CATEGORY = 0  # the place of the category among the fields; the others are columns of `group_NF`, from 1 on
NO_END = np.inf


class Quotas(NamedTuple):
    """Bounds of the places in a list for items of a kind.

    kind_Q: one of the kinds
    of_Q: of a promotion the bit in `holds_N`, of a group its code
    field_Q: of a group the place of its field
    seconds_Q: of young items the age at which they end to be; of promotions the time at which these end
    least_Q, most_Q: places
    """

    kind_Q: NDArray[np.int64]
    of_Q: NDArray[np.uint64]
    field_Q: NDArray[np.int64]
    seconds_Q: NDArray[np.float64]
    least_Q: NDArray[np.int64]
    most_Q: NDArray[np.int64]


class ListRules(NamedTuple):
    """The rules of one named list.

    length: places
    bought: KEPT, LEARNED or FOR_A_TIME
    bought_seconds: with FOR_A_TIME: for how long, NO_END: as long as the user's ring remembers the purchase
    in_session, in_cart: whether items are left out that the user touched in this session, or that lie in the cart
    clicks: views without a purchase after which an item is left out, 0: it never is
    holds: bits that `holds_N` of an item must have, all of them
    boost: column of `factor_NS`, -1: none
    diversity: 0: by score alone, 1: by unlikeness to what stands in the list alone (MMR)
    cap_F: most places for items that have the same code in a field, 0: any number; CATEGORY is the first one
    quotas: least and most places by kind
    """

    length: int
    bought: int
    bought_seconds: float
    in_session: bool
    in_cart: bool
    clicks: int
    holds: np.uint64
    boost: int
    diversity: float
    cap_F: NDArray[np.int64]
    quotas: Quotas


def no_quotas() -> Quotas:
    return quotas_of([])


def quotas_of(rows: list[tuple[int, int, int, float, int, int]]) -> Quotas:
    """Return quotas of rows (kind, of, field, seconds, least, most)."""
    kind, of, field, seconds, least, most = zip(*rows, strict=True) if rows else ((),) * 6
    return Quotas(
        kind_Q=np.array(kind, np.int64),
        of_Q=np.array(of, np.uint64),
        field_Q=np.array(field, np.int64),
        seconds_Q=np.array(seconds, np.float64),
        least_Q=np.array(least, np.int64),
        most_Q=np.array(most, np.int64),
    )


def best_alone(length: int) -> ListRules:
    """Return rules that change nothing: the best candidates are the list."""
    return ListRules(
        length=length,
        bought=KEPT,
        bought_seconds=NO_END,
        in_session=False,
        in_cart=False,
        clicks=0,
        holds=np.uint64(0),
        boost=-1,
        diversity=0.0,
        cap_F=np.zeros(0, np.int64),
        quotas=no_quotas(),
    )
