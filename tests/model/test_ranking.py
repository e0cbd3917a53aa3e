"""Top-k by blocks is the top-k of everything, and a rank is what plain counting says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import ranking
from model.items.item_table import with_one
from model.ranking import rank_of, top_k_blocked


def _rows(vectors: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.cat([vectors, bias[:, None]], dim=1)


def _places(banned: torch.Tensor) -> np.ndarray:
    return np.flatnonzero(banned.numpy())


@pytest.mark.parametrize("items", [7, 8, 9, 15, 16, 17, 40])
def test_blocks_give_what_one_sort_gives(monkeypatch: pytest.MonkeyPatch, items: int) -> None:
    """Scores and rows equal torch's over the whole table, on both sides of a block's edge."""
    monkeypatch.setattr(ranking, "_BLOCK", 8)
    generator = torch.Generator().manual_seed(items)
    queries, table = torch.randn(5, 4, generator=generator), torch.randn(items, 4, generator=generator)
    bias, banned = torch.randn(items, generator=generator), torch.rand(items, generator=generator) < 0.3
    scores, rows, _ = top_k_blocked(with_one(queries), _rows(table, bias), _places(banned), 5)
    allowed = (queries @ table.T + bias).masked_fill(banned, -torch.inf)
    expected = allowed.topk(5)
    torch.testing.assert_close(scores, expected.values)
    finite = scores > -torch.inf
    assert torch.equal(rows[finite], expected.indices[finite])
    assert not banned[rows[finite]].any()


@pytest.mark.parametrize("items", [79, 80, 81, 500, 1_001])
@pytest.mark.parametrize("cells", [1, 700, 1 << 20])
def test_groups_and_few_queries_at_a_time_give_what_one_sort_gives(
    monkeypatch: pytest.MonkeyPatch, items: int, cells: int
) -> None:
    """The best of a group may hide others that are as good as the best of another; and what is banned is put back."""
    monkeypatch.setattr(ranking, "_CELLS", cells)
    generator = torch.Generator().manual_seed(items)
    queries, table = torch.randn(7, 4, generator=generator), torch.randn(items, 4, generator=generator)
    table[items // 2 :: 3] *= 5  # the best stand close together
    bias, banned = torch.randn(items, generator=generator), torch.rand(items, generator=generator) < 0.1
    top = top_k_blocked(with_one(queries), _rows(table, bias), _places(banned), 5)
    everything = queries @ table.T + bias
    expected = everything.masked_fill(banned, -torch.inf).topk(5)
    torch.testing.assert_close(top.scores_BK, expected.values)
    assert torch.equal(top.rows_BK, expected.indices)
    assert top.all_BN is not None
    torch.testing.assert_close(top.all_BN, everything)


def test_fewer_allowed_rows_than_k_leave_places_at_minus_infinity() -> None:
    """Banned rows never fill a list up with a score."""
    banned = torch.tensor([True, False, True, True])
    scores, rows, _ = top_k_blocked(torch.ones(2, 3), torch.ones(4, 3), _places(banned), 3)
    assert torch.isinf(scores).tolist() == [[False, True, True]] * 2
    assert rows[:, 0].tolist() == [1, 1]


def test_a_whole_banned_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of no rows are none, and push nobody out."""
    monkeypatch.setattr(ranking, "_BLOCK", 2)
    banned = torch.tensor([False, False, True, True])
    _, rows, _ = top_k_blocked(torch.ones(1, 1), torch.arange(1.0, 5.0)[:, None], _places(banned), 2)
    assert rows.tolist() == [[1, 0]]


@given(st.lists(st.tuples(st.integers(-1, 6), st.integers(0, 3)), min_size=1, max_size=9), st.integers(0, 6))
def test_ranks_are_those_of_plain_counting(row: list[tuple[int, int]], target: int) -> None:
    """1 + the candidates that score at least as much; absent places do not count; 0 when the target is absent."""
    unique = {candidate: score for candidate, score in row if candidate >= 0}
    pairs = [*unique.items(), (-1, 3)]
    own = unique.get(target)
    expected = 0 if own is None else 1 + sum(s >= own for c, s in unique.items() if c != target)
    candidates = torch.tensor([[c for c, _ in pairs]])
    scores = torch.tensor([[-torch.inf if c < 0 else float(s) for c, s in pairs]])
    assert rank_of(scores, candidates, torch.tensor([target])).tolist() == [expected]


def test_a_constant_scorer_gains_nothing() -> None:
    """With all scores equal every target is last."""
    candidates = torch.tensor([[4, 2, 9, -1]]).expand(3, 4)
    scores = torch.zeros(3, 4).masked_fill(candidates < 0, -torch.inf)
    assert rank_of(scores, candidates, torch.tensor([4, 9, 5])).tolist() == [3, 3, 0]
