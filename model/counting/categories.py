"""Categories of items: the share of each among a user's newest items.

An item's category is the one that its newest event named. It is a code that the caller makes of a name, 0: unknown;
codes are only compared for equality.

Shape suffixes: N rows of the catalogue, L ring entries, S newest items.
"""

from __future__ import annotations

from model.kernels import kernel

# Newest items of a ring whose categories count; the only value on record: docs/experiments/categories.md.
SPAN = 20


@kernel
def assign(category_N, row, category):  # type: ignore[no-untyped-def]
    """Set the category of a row; with 0 it keeps the one that it has."""
    if category > 0:
        category_N[row] = category


@kernel
def recent(category_N, window_L, category_S):  # type: ignore[no-untyped-def]
    """Write the categories of the newest items, newest first. Returns how many of them are known."""
    known = 0
    for d in range(len(category_S)):
        row = window_L[len(window_L) - 1 - d] if d < len(window_L) else -1
        category_S[d] = category_N[row] if row >= 0 else 0
        known += category_S[d] > 0
    return known


@kernel
def share(category, category_S, known):  # type: ignore[no-untyped-def]
    """Return the share of `category` among the `known` categories that `recent` wrote."""
    same = 0
    for d in range(len(category_S)):
        same += category_S[d] == category
    return same / known if category > 0 else 0.0
