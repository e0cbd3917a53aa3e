"""What the encoder trains on: rows of today's items only, from states as young as asked for, by the loss asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from model.encoder.encoder import Encoder, EncoderConfig
from model.encoder.losses import LOSSES
from model.encoder.replay import Examples
from model.encoder.window_starts import WindowStarts
from model.items.catalog import Catalog
from model.items.item_table import ItemTable
from tests.model.lines import CPU, SMALL, Line, changed, markov_log

_BURN_IN, _WINDOW = 5, 3


def _trained_on(line: Line, monkeypatch: pytest.MonkeyPatch) -> Examples:
    """A step on replayed examples alone: which they were."""
    learner = line.learner
    seen: list[Examples] = []

    def noted(examples: Examples, *_: Any) -> float:
        seen.append(examples)
        return 0.0

    monkeypatch.setattr(learner.encoder_trainer, "_step", noted)
    kept = learner.encoder_trainer.replay.sample(1, np.random.default_rng(0))
    none = {name: column[:0] for name, column in kept.items()}
    live, popularity = learner.catalog.live_rows(), np.ones(learner.catalog.capacity)
    learner.encoder_trainer.collect(none)
    learner.encoder_trainer.learn(400, live, popularity, learner.catalog, 1.0)
    return seen[0]


def _recycled(line: Line) -> int:
    """A row that was many examples' target, and is another item's now."""
    learner = line.learner
    targets = learner.encoder_trainer.replay.sample(400, np.random.default_rng(0))["target"]
    row = int(np.bincount(targets).argmax())
    line.recycle(row)
    return row


def test_an_example_of_a_recycled_row_does_not_train_the_item_that_has_it_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as target nor in a window; the windows of others that name it are trained on without it."""
    line = Line()
    line.run(markov_log(1, 160), 16)
    row = _recycled(line)
    examples = _trained_on(line, monkeypatch)
    assert len(examples["target"]) > 100
    assert row not in examples["target"]
    assert row not in examples["window"]


def test_the_check_sees_a_stale_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without generations the newcomer would learn another item's past."""
    line = Line()
    line.run(markov_log(1, 160), 16)
    row = _recycled(line)
    monkeypatch.setattr(Catalog, "current", lambda self, rows, generations: rows)
    examples = _trained_on(line, monkeypatch)
    assert row in examples["target"]
    assert row in examples["window"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("full_softmax_items", [4_000, 8])
def test_each_loss_falls_on_a_stream_that_can_be_learned(loss: str, full_softmax_items: int) -> None:
    """With all rows compared and with a sample of them."""
    line = Line(changed(SMALL, loss=loss, full_softmax_items=full_softmax_items, dropout=0.0))
    losses = [tick.outcome.losses.get("encoder", np.nan) for tick in line.run(markov_log(2, 1_200, noise=0.0), 16)]
    assert np.nanmean(losses[-10:]) < 0.6 * np.nanmean(losses[5:15])


# -- stored states ---------------------------------------------------------------------------------------------------


def _starts(stale_steps: int = 10) -> tuple[Encoder, ItemTable, WindowStarts]:
    torch.manual_seed(3)
    encoder, items = Encoder(EncoderConfig(dim=16, window=_WINDOW, dropout=0.4)), ItemTable(40, 16, CPU)
    items.start(np.arange(40, dtype=np.int32), torch.nn.functional.normalize(torch.randn(40, 16), dim=1))
    return encoder, items, WindowStarts(encoder, items, _BURN_IN, stale_steps)


def _examples(lengths: list[int]) -> Examples:
    rng, shape = np.random.default_rng(4), (len(lengths), _BURN_IN + _WINDOW)
    empty = np.arange(shape[1]) < shape[1] - np.array(lengths)[:, None]
    return {
        "window": np.where(empty, -1, rng.integers(0, 40, shape)).astype(np.int32),
        "type": rng.integers(0, 3, shape).astype(np.uint8),
        "gap": rng.integers(0, 9, shape).astype(np.uint8),
    }


def _run(encoder: Encoder, items: ItemTable, examples: Examples, last: int, start: Any = None) -> torch.Tensor:
    rows, types, gaps = (examples[name][:, -last:] for name in ("window", "type", "gap"))
    ring, _ = encoder.ring(rows, items.table_ND1)
    return encoder.run(encoder.window(ring, rows, types, gaps), start)[0]


@torch.no_grad()
def test_a_window_from_its_stored_state_is_the_end_of_a_longer_one() -> None:
    """State and window together are the whole of what was kept, up to half precision; short ones start from zero."""
    encoder, items, starts = _starts()
    examples = starts.added(_examples([8, 6, 3, 1]), step=0)
    from_state = _run(encoder, items, examples, _WINDOW, starts.of(examples))
    torch.testing.assert_close(from_state, _run(encoder, items, examples, _BURN_IN + _WINDOW), rtol=0, atol=2e-3)
    from_zero = _run(encoder, items, examples, _WINDOW)
    assert not torch.allclose(from_state[:2], from_zero[:2], atol=1e-2)
    torch.testing.assert_close(from_state[2:], from_zero[2:])


def test_only_stale_states_are_made_again() -> None:
    """Young ones are taken as they were stored, though the weights have moved on."""
    encoder, _, starts = _starts(stale_steps=10)
    old, young = starts.added(_examples([8, 7]), step=0), starts.added(_examples([8, 7]), step=5)
    examples = {name: np.concatenate([old[name], young[name]]) for name in old}
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.mul_(1.5)
    renewed = starts.renewed({name: column.copy() for name, column in examples.items()}, step=15)
    expected = starts.added(_examples([8, 7]), step=15)
    assert np.array_equal(renewed["h"][:2], expected["h"])
    assert not np.array_equal(renewed["h"][:2], old["h"])
    assert np.array_equal(renewed["h"][2:], young["h"])
    assert np.array_equal(renewed["c"][2:], young["c"])


def test_stored_states_are_constants() -> None:
    """Back-propagation ends at the window's start."""
    encoder, items, starts = _starts()
    examples = starts.added(_examples([8, 8]), step=0)
    start = starts.of(examples)
    assert start is not None
    h, c = start
    assert not h.requires_grad
    assert not c.requires_grad
    items.table_ND1.requires_grad_()
    [gradient] = torch.autograd.grad(_run(encoder, items, examples, _WINDOW, start).sum(), [items.table_ND1])
    touched = set(gradient.abs().sum(dim=1).nonzero().flatten().tolist())
    assert touched == set(examples["window"][:, -_WINDOW:].flatten().tolist())


def test_without_burn_in_an_example_keeps_no_state() -> None:
    """Windows start from zero, and the replay is as small as it can be."""
    encoder, items, _ = _starts()
    starts, examples = WindowStarts(encoder, items, 0, 10), _examples([8])
    assert starts.added(examples, 0) is examples
    assert starts.renewed(examples, 99) is examples
    assert starts.of(examples) is None
