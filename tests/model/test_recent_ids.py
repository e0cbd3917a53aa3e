"""An event whose id is among its user's last 64 is a repeat; nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from model.recent_ids import KEPT_IDS, Identified, Judged, judge
from model.user_table import UserTable

_USERS = 3


def _table(ids: int = KEPT_IDS) -> UserTable:
    table = UserTable(_USERS, 2, 2, torch.device("cpu"))
    table.keep(ids, 0)
    assert table.add(["a", "b", "c"]).tolist() == [0, 1, 2]
    return table


def _events(rows: Sequence[tuple[int, int, int, bool]]) -> Identified:
    """Rows of slot, offset, id and whether to remember."""
    slots, offsets, ids, remember = zip(*rows, strict=True)
    return Identified(np.array(slots), np.array(offsets), np.array(ids, np.uint32), np.array(remember, np.bool_))


def _told(table: UserTable, rows: Sequence[tuple[int, int, int, bool]]) -> list[bool]:
    """Judge a batch and put the ids, as the loop does."""
    told = judge(table, _events(rows))
    table.put_ids(told.slot_U, told.ids_UI)
    repeated: list[bool] = told.repeated_B.tolist()
    return repeated


class Slowly:
    """One event after another, with a list a user."""

    def __init__(self) -> None:
        self.ids: list[list[int]] = [[] for _ in range(_USERS)]

    def told(self, rows: Sequence[tuple[int, int, int, bool]]) -> list[bool]:
        repeated, of_record = [], dict[tuple[int, int, int], bool]()
        for slot, offset, code, remember in rows:
            known = self.ids[slot]
            place = (slot, offset, code)
            if not code or not remember:
                repeated.append(False)
                continue
            if place not in of_record:
                of_record[place] = code in known
                if code not in known:
                    self.ids[slot] = [*known, code][-KEPT_IDS:]
            repeated.append(of_record[place])
        return repeated


@pytest.mark.parametrize("seed", range(8))
def test_batches_are_told_as_one_event_after_another_is(seed: int) -> None:
    """Records of several events, of several users, with and without ids, some of them remembered before."""
    rng = np.random.default_rng(seed)
    table, slowly, offset = _table(), Slowly(), 0
    for _ in range(12):
        rows = []
        for _ in range(int(rng.integers(0, 30))):
            offset += 1
            remember, shared = bool(rng.random() < 0.9), int(rng.integers(0, 90))
            for _ in range(int(rng.choice([1, 1, 3]))):
                own = int(rng.integers(0, 90)) if rng.random() < 0.3 else shared
                rows.append((int(rng.integers(0, _USERS)), offset, own, remember))
        if rows:
            assert _told(table, rows) == slowly.told(rows)
    assert [[int(one) for one in row if one] for row in table.ids_SI] == slowly.ids


def test_a_repeat_is_told_within_a_batch_and_in_a_later_one() -> None:
    table = _table()
    assert _told(table, [(0, 1, 7, True), (1, 2, 7, True), (0, 3, 7, True)]) == [False, False, True]
    assert _told(table, [(0, 4, 7, True), (2, 5, 7, True)]) == [True, False]


def test_events_of_one_record_may_share_its_id_and_repeat_together() -> None:
    table = _table()
    assert _told(table, [(0, 1, 7, True), (0, 1, 7, True), (0, 1, 8, True)]) == [False, False, False]
    assert _told(table, [(0, 2, 7, True), (0, 2, 7, True), (0, 2, 9, True)]) == [True, True, False]


def test_an_id_is_forgotten_after_64_others_and_a_repeat_makes_it_no_newer() -> None:
    table = _table()
    others = [(0, 2 + k, 100 + k, True) for k in range(KEPT_IDS - 1)]
    assert not any(_told(table, [(0, 1, 7, True), *others]))
    assert _told(table, [(0, 70, 7, True), (0, 71, 300, True), (0, 72, 7, True)]) == [True, False, False]


def test_what_is_remembered_already_is_neither_told_nor_noted() -> None:
    """Its id stands in the record, as its own."""
    table = _table()
    _told(table, [(0, 1, 7, True)])
    assert _told(table, [(0, 1, 7, False), (0, 2, 8, False), (0, 3, 8, True)]) == [False, False, False]


def test_nothing_changes_before_the_ids_are_put() -> None:
    table = _table()
    events = _events([(0, 1, 7, True), (0, 2, 7, True)])
    first: Judged = judge(table, events)
    assert not table.ids_SI.any()
    assert judge(table, events).repeated_B.tolist() == first.repeated_B.tolist() == [False, True]


def test_without_places_nothing_is_a_repeat() -> None:
    assert _told(_table(ids=0), [(0, 1, 7, True), (0, 2, 7, True)]) == [False, False]
