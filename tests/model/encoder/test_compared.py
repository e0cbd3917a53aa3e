"""The fused loss is the loss of all scores at once, and so is its gradient; however many are looked at at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.encoder import compared
from model.encoder.compared import Compared, compared_loss
from model.encoder.losses import LOSSES, Losses
from model.optimizers.row_adam import Rows

QUERIES, ITEMS, DIM = 11, 30, 5


def _case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(QUERIES, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    table = torch.randn(ITEMS, DIM + 1, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.rand(QUERIES, generator=generator, dtype=torch.float64)
    return queries, table, torch.randint(0, ITEMS, (QUERIES,), generator=generator), weight


def _place(rows: list[int], target: Tensor) -> Tensor:
    return torch.tensor([rows.index(row) if row in rows else -1 for row in target.tolist()])


SOME = [0, 3, 4, 9, 17, 18, 29]
CASES: dict[str, tuple[Rows, list[int], Tensor | None]] = {
    "all": (slice(0, ITEMS), list(range(ITEMS)), None),
    "a slice": (slice(4, 20), list(range(4, 20)), None),
    "a sample": (torch.tensor(SOME), SOME, -torch.rand(len(SOME), generator=torch.Generator().manual_seed(1)).double()),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cells", [1, 3 * len(SOME), 1 << 18])
def test_it_is_the_sum_of_all_losses(name: str, case: str, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient, against scores that are all in memory and each loss's own derivative by them."""
    monkeypatch.setattr(compared, "_CELLS", cells)
    rows, listed, log_q = CASES[case]
    queries, table, target, weight = _case()
    place = _place(listed, target)
    total = compared_loss(queries, table, Compared(rows, log_q, target, place, weight), LOSSES[name])
    by_queries, by_table = torch.autograd.grad(total, (queries, table))

    scores = queries @ table[:, :-1].T + table[:, -1]
    own = scores.gather(1, target[:, None])[:, 0]
    others = scores[:, listed].masked_fill(torch.tensor(listed)[None] == target[:, None], -torch.inf)
    losses, by_own, by_others = LOSSES[name](own.detach(), others.detach().clone(), log_q)
    torch.testing.assert_close(total, losses @ weight)
    kept = torch.isfinite(others)
    surrogate = (own * by_own) @ weight + (torch.where(kept, others, 0.0) * by_others).sum(dim=1) @ weight
    expected = torch.autograd.grad(surrogate, (queries, table))
    torch.testing.assert_close((by_queries, by_table), expected)


def test_softmax_of_all_rows_is_torchs_cross_entropy() -> None:
    """Independently of `losses`."""
    queries, table, target, weight = _case()
    both = []
    for total in (
        compared_loss(queries, table, Compared(slice(0, ITEMS), None, target, target, weight), LOSSES["softmax"]),
        torch.nn.functional.cross_entropy(queries @ table[:, :-1].T + table[:, -1], target, reduction="none") @ weight,
    ):
        both.append((total, *torch.autograd.grad(total, (queries, table))))
    torch.testing.assert_close(*both)


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    """Referees only look."""
    queries, table, target, weight = _case()

    def without_a_gradient(*given: Any) -> Losses:
        return LOSSES["softmax"](*given)._replace(by_others_MS=torch.zeros(0, 0))

    given = Compared(slice(0, ITEMS), None, target, target, weight)
    looked = compared_loss(queries.detach(), table.detach(), given, without_a_gradient)
    torch.testing.assert_close(looked, compared_loss(queries, table, given, LOSSES["softmax"]).detach())
    with pytest.raises(RuntimeError, match="shape"):  # it is asked for where one is wanted
        compared_loss(queries, table, given, without_a_gradient)


def test_what_is_no_number_shows_in_the_loss() -> None:
    """So that the step is not taken."""
    queries, table, target, weight = _case()
    with torch.no_grad():
        table[7, 0] = torch.nan
    assert torch.isnan(
        compared_loss(queries, table, Compared(slice(0, ITEMS), None, target, target, weight), LOSSES["softmax"])
    )
