"""The encoder: one step at a time is a run over the window, and empty places are nothing."""

from __future__ import annotations

import pytest
import torch

from model.recommender import Encoder, EncoderConfig

_CONFIG = EncoderConfig(dim=16, window=6)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(_CONFIG)


def test_steps_over_a_sequence_equal_a_run_over_the_window(encoder: Encoder) -> None:
    """Serving (one step an event) and training (a window at once) compute the same state, whatever the length."""
    torch.manual_seed(1)
    inputs, lengths = torch.randn(7, 6, 16), torch.arange(7)
    h, c = torch.zeros(7, 16), torch.zeros(7, 16)
    for step in range(6):
        alive = (step >= 6 - lengths)[:, None]
        new_h, new_c = encoder.step(inputs[:, step], h, c)
        h, c = torch.where(alive, new_h, h), torch.where(alive, new_c, c)
    run_h, run_c = encoder.run(inputs, lengths)
    torch.testing.assert_close(run_h, h)
    torch.testing.assert_close(run_c, c)
    assert not run_h[0].any(), "no events: the zero state"
    assert run_h[1:].any(dim=1).all()


def test_what_stands_in_the_padding_does_not_matter(encoder: Encoder) -> None:
    """Left of a window's first event anything may stand: state and query are the same to the bit."""
    torch.manual_seed(2)
    lengths = torch.tensor([0, 1, 3, 6])
    mask = torch.arange(6)[None] >= 6 - lengths[:, None]
    first, noise = torch.randn(4, 6, 16), torch.randn(4, 6, 16)
    second = torch.where(mask[:, :, None], first, noise)
    h = torch.randn(4, 16)
    assert torch.equal(encoder.run(first, lengths)[0], encoder.run(second, lengths)[0])
    assert torch.equal(encoder.queries(h, first, mask)[0], encoder.queries(h, second, mask)[0])
    changed = first.clone()
    changed[3, 0] += 1.0
    assert not torch.equal(encoder.run(first, lengths)[0][3], encoder.run(changed, lengths)[0][3])


def test_attention_is_a_distribution_over_the_filled_places(encoder: Encoder) -> None:
    """Weights are 0 in empty places, sum to 1 over the filled ones, and are all 0 for an empty ring."""
    torch.manual_seed(3)
    mask = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 1, 0, 1, 1], [1] * 6]).bool()
    _, attention = encoder.queries(torch.randn(4, 16), torch.randn(4, 6, 16), mask)
    torch.testing.assert_close(attention.sum(dim=1), torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert not attention[~mask].any()
    assert (attention[mask] > 0).all()


def test_queries_have_unit_length(encoder: Encoder) -> None:
    """So that scale * query . item is scale * cosine."""
    torch.manual_seed(4)
    mask = torch.rand(50, 6) < 0.5
    queries, _ = encoder.queries(torch.randn(50, 16), torch.randn(50, 6, 16), mask)
    torch.testing.assert_close(queries.norm(dim=1), torch.ones(50))


def test_logits_are_scaled_cosines_with_a_bias(encoder: Encoder) -> None:
    """The length of an item's vector says nothing."""
    torch.manual_seed(5)
    queries = torch.nn.functional.normalize(torch.randn(3, 16), dim=1)
    items, bias = torch.randn(9, 16) * 7, torch.randn(9)
    expected = 8.0 * torch.cosine_similarity(queries[:, None], items[None], dim=-1) + bias
    torch.testing.assert_close(encoder.logits(queries, items, bias), expected)


def test_type_gap_and_state_change_the_query(encoder: Encoder) -> None:
    """Nothing that an event says is dropped on the way."""
    item, zero = torch.randn(1, 16), torch.zeros(1, dtype=torch.long)
    inputs = [encoder.inputs(item, zero + kind, zero + gap) for kind, gap in ((0, 0), (1, 0), (0, 5))]
    states = [encoder.step(x, torch.zeros(1, 16), torch.zeros(1, 16))[0] for x in inputs]
    queries = [encoder.queries(h, item[:, None], torch.ones(1, 1).bool())[0] for h in states]
    assert not torch.allclose(queries[0], queries[1])
    assert not torch.allclose(queries[0], queries[2])


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"dim": 3}, "model.dim"), ({"window": 0}, "model.window"), ({"dropout": 1.0}, "model.dropout")],
)
def test_sizes_out_of_bounds_are_refused(fields: dict[str, float], message: str) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=message):
        EncoderConfig(**fields)  # type: ignore[arg-type]
