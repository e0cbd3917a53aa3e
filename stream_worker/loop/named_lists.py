"""Lists as they are published: with the ids of items, rounded scores, the reason for each item, and why one is short.

Shape suffixes: U users, K places of a list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.lists.lists import Lists
from model.reasons import KINDS
from stream_worker.core.events import SCORE_DIGITS, WEIGHT_DIGITS, NamedList, Reason


def named(lists: Lists, ids: Sequence[str]) -> list[NamedList]:
    """Return the list of each user. `ids`: the item id of each row of the catalogue."""
    rounded_UK = np.round(lists.scores_UK.astype(np.float64), SCORE_DIGITS)
    made, reasons = [], _reasons(lists, ids)
    for user, rows_K in enumerate(lists.rows_UK):
        items = [ids[row] for row in rows_K.tolist() if row >= 0]
        short = lists.short(user) if len(items) < len(rows_K) else {}
        scores, because = rounded_UK[user, : len(items)].tolist(), reasons[user][: len(items)]
        made.append(NamedList(items, scores, short, because))
    return made


def _reasons(lists: Lists, ids: Sequence[str]) -> list[list[Reason]]:
    """Return why each item is in its list, for each list; none where that was not looked for."""
    because = lists.because
    if because is None:
        return [[] for _ in lists.rows_UK]
    weight_UK = np.round(because.weight_UK.astype(np.float64), WEIGHT_DIGITS)
    columns = zip(because.kind_UK.tolist(), because.row_UK.tolist(), weight_UK.tolist(), strict=True)
    return [[_reason(*one, ids) for one in zip(*of_user, strict=True)] for of_user in columns]


def _reason(kind: int, row: int, weight: float, ids: Sequence[str]) -> Reason:
    if row < 0:
        return {"kind": KINDS[kind], "weight": weight}
    return {"kind": KINDS[kind], "item": ids[row], "weight": weight}
