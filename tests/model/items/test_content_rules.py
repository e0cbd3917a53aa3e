"""What rules say of items stands in the rows of the catalogue, whatever comes first: the item or what is told of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.items.catalog import Catalog
from model.items.content import Content
from tests.model.items.test_content_table import UNKNOWN, described, said

NOBODY = (4, [0.5, 2.0], [7])
Step = tuple[str, list[str], int]
ITEMS = [f"i{k}" for k in range(40)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["tell", "gone", "add", "evict", "restart"]),
        st.lists(st.sampled_from(ITEMS), min_size=1, max_size=12, unique=True),
        st.integers(0, 9),
    ),
    max_size=16,
)


def seen(content: Content, row: int) -> tuple[int, list[float], list[int]]:
    return int(content.holds_N[row]), content.factor_NS[row].tolist(), content.group_NF[row].tolist()


@given(STEPS)
@settings(deadline=None)
def test_every_row_holds_what_was_said_last_of_its_item(steps: list[Step]) -> None:
    catalog = Catalog(64, 4, 0.0)
    content, told = Content(catalog, unknown=UNKNOWN), dict[str, int]()
    for what, items, number in steps:
        there = catalog.find(items)
        if what in ("tell", "gone"):
            numbers = [number + place for place in range(len(items))]
            content.change(described(*items, gone_M=[what == "gone"] * len(items), rules=said(*numbers)))
            told |= dict(zip(items, numbers, strict=True))
        elif what == "add":
            new = [item for item, row in zip(items, there.tolist(), strict=True) if row < 0]
            rows = catalog.add(new, [ITEMS.index(item) + 1 for item in new], 0, 0.0)
            content.begin(rows)
        elif what == "evict":
            leaving = there[there >= 0].astype(np.int64)
            catalog.evict(leaving)
            content.forget(leaving)
            assert all(seen(content, row) == NOBODY for row in leaving.tolist())
        else:
            content.load_state_dict({name: array.copy() for name, array in content.state_dict().items()})
        for item, row in zip(ITEMS, catalog.find(ITEMS).tolist(), strict=True):
            known = told.get(item)
            if row >= 0:
                assert seen(content, row) == (NOBODY if known is None else (known, [known, known], [known]))


def test_without_rules_columns_are_empty() -> None:
    content = Content(Catalog(64, 4, 0.0))
    assert len(content.holds_N) == 0
    assert (content.factor_NS.shape[1], content.group_NF.shape[1]) == (0, 0)
    assert content.rules.nbytes == 0
