"""The encoder: one step at a time is a run over the window, and empty places are nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.encoder.encoder import Encoder, EncoderConfig, Window

_CONFIG = EncoderConfig(dim=16, window=6, dropout=0.4)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(_CONFIG)


def _window(encoder: Encoder, ring: Tensor, lengths: Tensor) -> Window:
    """Of right-aligned rings [B, 6, D], whose types and gaps are all 0."""
    rows = np.where(np.arange(6) >= 6 - lengths.numpy()[:, None], 0, -1).astype(np.int32)
    nothing = np.zeros(rows.shape, np.uint8)
    return encoder.window(ring, rows, nothing, nothing)


@pytest.mark.parametrize("started", [False, True])
def test_a_run_over_the_window_equals_the_steps_of_the_cell(encoder: Encoder, started: bool) -> None:
    """Whatever the length, and however the window is run."""
    torch.manual_seed(1)
    ring, lengths = torch.randn(7, 6, 16), torch.tensor([2, 0, 6, 3, 1, 5, 4])
    zero = torch.zeros(7, dtype=torch.long)
    start = (torch.randn(7, 16), torch.randn(7, 16)) if started else (torch.zeros(7, 16), torch.zeros(7, 16))
    h, c = start
    for step in range(6):
        alive = (step >= 6 - lengths)[:, None]
        new_h, new_c = torch.lstm_cell(encoder.inputs(ring[:, step], zero, zero), (h, c), *encoder.lstm.all_weights[0])
        h, c = torch.where(alive, new_h, h), torch.where(alive, new_c, c)
    run_h, run_c = encoder.run(_window(encoder, ring, lengths), start if started else None)
    torch.testing.assert_close(run_h, h)
    torch.testing.assert_close(run_c, c)
    once = encoder.hidden_after(_window(encoder, ring, lengths), start if started else None, prefixes=2)
    torch.testing.assert_close(once[0], h)
    shorter = _window(encoder, ring.roll(1, dims=1), (lengths - 1).clamp(min=0))
    without_last, _ = encoder.run(shorter, start if started else None)
    torch.testing.assert_close(once[1][lengths > 1], without_last[lengths > 1])
    assert torch.equal(run_h[1], start[0][1]), "no events: the state as it was"
    assert run_h[lengths > 0].any(dim=1).all()


def test_what_stands_in_the_padding_does_not_matter(encoder: Encoder) -> None:
    """Left of a window's first event anything may stand: state and query are the same to the bit."""
    torch.manual_seed(2)
    lengths = torch.tensor([0, 1, 3, 6])
    mask = torch.arange(6)[None] >= 6 - lengths[:, None]
    first, noise = torch.randn(4, 6, 16), torch.randn(4, 6, 16)
    second = torch.where(mask[:, :, None], first, noise)
    h = torch.randn(4, 16)
    for run in (encoder.run, encoder.hidden_after):
        runs = [run(_window(encoder, ring, lengths))[0] for ring in (first, second)]
        assert torch.equal(*runs)
    assert torch.equal(encoder.queries(h, first, mask)[0], encoder.queries(h, second, mask)[0])
    changed = first.clone()
    changed[3, 0] += 1.0
    assert not torch.equal(runs[0][3], encoder.run(_window(encoder, changed, lengths))[0][3])


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


def test_type_gap_and_state_change_the_query(encoder: Encoder) -> None:
    """Nothing that an event says is dropped on the way."""
    item, zero = torch.randn(1, 16), torch.zeros(1, dtype=torch.long)
    inputs = [encoder.inputs(item, zero + kind, zero + gap) for kind, gap in ((0, 0), (1, 0), (0, 5))]
    states = [encoder.read(x, torch.tensor([1]), torch.zeros(1, 16), torch.zeros(1, 16))[0] for x in inputs]
    queries = [encoder.queries(h, item[:, None], torch.ones(1, 1).bool())[0] for h in states]
    assert not torch.allclose(queries[0], queries[1])
    assert not torch.allclose(queries[0], queries[2])
