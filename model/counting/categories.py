"""What kind of items a user took lately: the category that the newest event of each item named.

A category is a code, 0: none is known. It is what the caller makes of a name; nothing is told of it but whether two are
the same.
"""

from __future__ import annotations

from model.kernels import kernel

SPAN = 20  # newest items of a ring that are looked at


@kernel
def assign(category_N, row, category):  # type: ignore[no-untyped-def]
    """Of a row, what its newest event named (0: nothing, and it keeps what it has)."""
    if category > 0:
        category_N[row] = category


@kernel
def recent(category_N, window_L, category_S):  # type: ignore[no-untyped-def]
    """Write the categories of the newest items, the newest first; returns of how many one is known."""
    known = 0
    for d in range(len(category_S)):
        row = window_L[len(window_L) - 1 - d] if d < len(window_L) else -1
        category_S[d] = category_N[row] if row >= 0 else 0
        known += category_S[d] > 0
    return known


@kernel
def share(category, category_S, known):  # type: ignore[no-untyped-def]
    """Of the `known` categories of `recent` those that are this one."""
    same = 0
    for d in range(len(category_S)):
        same += category_S[d] == category
    return same / known if category > 0 else 0.0
