"""Decisions stand over what is told of items: which items they hide, and that they change nothing else."""

from __future__ import annotations

import pytest

from model.items.decisions import Decisions
from tests.model.items.test_content_table import described, gone
from tests.model.lines import Event, Line, markov_log

_ITEMS = [f"i{k}" for k in range(20)]


def _line(described: bool = True, hold_new: bool = False) -> Line:
    line = Line(described=described, decisions=Decisions(hold_new))
    line.run(markov_log(1, 160), 16)
    return line


def _decide(line: Line, item: str, *words: str) -> None:
    assert line.learner.content is not None
    line.learner.content.decide([item] * len(words), list(words))


def _is_listed(line: Line, item: str) -> bool:
    """True if a list names the item when it is the only one that nothing else hides."""
    assert line.learner.content is not None
    hidden_N = line.learner.content.hidden_N
    row = line.learner.catalog.find([item])[0]
    others = [other for other in _ITEMS if other != item]
    before = hidden_N.copy()
    hidden_N[line.learner.catalog.find(others)] = True
    found = line.recommended("u1")
    hidden_N[:] = before
    assert found == ([] if hidden_N[row] else [item])
    return bool(found)


@pytest.mark.parametrize(
    ("words", "told", "listed"),
    [
        ([], {}, True),
        (["block"], {}, False),
        (["hold"], {}, False),
        (["block", "approve"], {}, True),
        (["hold", "approve"], {}, True),
        (["approve", "hold"], {}, False),
        (["approve", "block"], {}, False),
        ([], {"held_M": [True]}, False),
        (["approve"], {"held_M": [True]}, True),
        (["approve"], {"blocked_M": [True]}, False),
        (["approve"], {"available_M": [False]}, False),
        (["approve"], {"available_M": [False], "held_M": [True]}, False),
        (["hold"], {"blocked_M": [False], "available_M": [True]}, False),
    ],
)
def test_the_last_decision_stands_over_what_is_told(
    words: list[str], told: dict[str, list[bool]], listed: bool
) -> None:
    """Whichever comes first. Approved means reviewed: it makes nothing available, and lifts no block of the shop's."""
    for decide_first in (True, False):
        line = _line()
        if decide_first:
            _decide(line, "i3", *words)
        if told:
            line.learner.change_items(described("i3", **told))
        if not decide_first:
            _decide(line, "i3", *words)
        assert _is_listed(line, "i3") == listed


def test_an_item_that_is_gone_is_not_brought_back_and_one_that_is_told_again_stays_blocked() -> None:
    line = _line()
    _decide(line, "i3", "approve")
    line.learner.change_items(gone("i3"))
    assert not _is_listed(line, "i3")
    _decide(line, "i3", "block")
    for _ in range(3):
        line.learner.change_items(described("i3"))
        assert not _is_listed(line, "i3")


def test_new_items_wait_until_they_are_approved() -> None:
    """Known from events alone or told of, before and after the approval."""
    line = _line(hold_new=True)
    assert line.recommended("u1") == []
    _decide(line, "i3", "approve")
    assert line.recommended("u1") == ["i3"]
    line.learner.change_items(described("i4", "later"))
    line.run([Event(f"u{k}", "later", 1.7e9 + k) for k in range(4)], 4)
    assert line.recommended("u1") == ["i3"]
    _decide(line, "later", "approve")
    assert sorted(line.recommended("u1")) == ["i3", "later"]


def test_a_decision_on_an_item_that_nobody_has_touched_holds_from_its_first_event() -> None:
    line = _line(described=False)
    _decide(line, "later", "block")
    line.run([Event(f"u{k}", "later", 1.7e9 + k) for k in range(12)], 4)
    assert all("later" not in line.recommended(f"u{k}") for k in range(12))


def test_decisions_alone_change_no_prediction() -> None:
    """Without an items topic a line has no features of content, and predicts and learns as if nobody decided."""
    plain, deciding = Line(), Line(decisions=Decisions())
    log = markov_log(3, 160)
    _decide(deciding, "i3", "block")
    for one, other in zip(plain.run(log, 16), deciding.run(log, 16), strict=True):
        assert one.ranks == other.ranks
        assert one.log_probabilities == other.log_probabilities
        assert one.lists == other.lists
    assert any("i3" in plain.recommended(f"u{k}") for k in range(12))
    assert all("i3" not in deciding.recommended(f"u{k}") for k in range(12))


@pytest.mark.parametrize("described", [True, False])
def test_decisions_outlive_a_restart_and_are_left_out_where_nobody_decides_any_more(described: bool) -> None:
    line = _line(described)
    _decide(line, "i3", "block")
    _decide(line, "i4", "hold", "approve")
    again = line.resumed(decisions=Decisions())
    assert again.learner.decisions is not None
    assert again.learner.decisions.counts() == {"block": 1, "hold": 0, "approve": 1}
    assert again.learner.decisions.of(["i3", "i4", "i5"]) == ["block", "approve", ""]
    assert not _is_listed(again, "i3")
    without = again.resumed()
    assert any("i3" in without.recommended(f"u{k}") for k in range(12))


def test_what_was_told_is_left_out_where_only_decisions_are_read_any_more() -> None:
    line = _line()
    line.learner.change_items(described("i3", available_M=[False]))
    again = line.resumed(described=False, decisions=Decisions())
    assert _is_listed(again, "i3")


def test_forgotten_decisions_hide_nothing() -> None:
    line = _line()
    _decide(line, "i3", "block")
    assert line.learner.content is not None
    line.learner.content.forget_decisions()
    assert _is_listed(line, "i3")
    assert line.learner.decisions is not None
    assert line.learner.decisions.counts() == {"block": 0, "hold": 0, "approve": 0}


def test_a_million_approvals_take_little_room() -> None:
    decisions = Decisions()
    for start in range(0, 1_000_000, 100_000):
        ids = [f"item-{n}" for n in range(start, start + 100_000)]
        decisions.change(ids, ["approve"] * len(ids))
        decisions.change(ids, ["approve"] * len(ids))
    assert decisions.counts()["approve"] == 1_000_000
    assert decisions.nbytes <= 64 * 2**20
