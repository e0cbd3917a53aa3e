"""GRU4Rec and SASRec of `benchmarks/offline`: they learn what can be learned, and are scored as the worker is."""

from __future__ import annotations

import collections
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.offline import losses
from benchmarks.offline.__main__ import main
from benchmarks.offline.evaluate import StoppingConfig, in_all, ranked, retrained_at_tenths, score_of, top_lists
from benchmarks.offline.log import Log, log_of, read_log
from benchmarks.offline.models import CANONICAL, MODELS, Model
from benchmarks.offline.published import core, leave_one_out, measures
from benchmarks.offline.training import Trainer, TrainingConfig, Windows, cut

CYCLE = 40
EVENTS = 3_000
both = pytest.mark.parametrize("name", ["gru4rec", "sasrec"])


def walk(users: int = 25, events: int = EVENTS, items: int = CYCLE, seed: int = 0) -> Log:
    """Users who take the items in one fixed order, each from a place of its own, in random turns."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, items, users)
    turns = rng.integers(0, users, events)
    names = []
    for user in turns.tolist():
        at[user] += 1
        names.append(f"i{at[user] % items}")
    return log_of([f"u{user}" for user in turns.tolist()], names)


def small(name: str) -> Model:
    """A window that the walk's histories outgrow, and steps enough for so few events."""
    return replace(MODELS[name], training=TrainingConfig(window=10, places=64))


@both
def test_a_fixed_order_of_items_is_learned(name: str) -> None:
    """The next item stands first nearly always, once the whole order has been seen often enough."""
    model = small(name)
    tenths, _ = retrained_at_tenths(walk(), model.make, model.training, StoppingConfig(epochs=25), lambda _: None)
    assert tenths[-1].score.mrr > 0.97
    assert tenths[-1].score.hit_rate > 0.99


@both
def test_later_items_never_change_earlier_states(name: str) -> None:
    model = MODELS[name].make(30)
    model.train(False)
    items_1T = torch.randint(1, 31, (1, 20))
    other_1T = items_1T.clone()
    other_1T[0, 12:] = torch.randint(1, 31, (8,))
    with torch.inference_mode():
        states_TD, others_TD = model(items_1T)[0], model(other_1T)[0]
    assert torch.allclose(states_TD[:12], others_TD[:12], atol=1e-6)
    assert not torch.allclose(states_TD[12:], others_TD[12:], atol=1e-3)


@both
def test_a_list_does_not_depend_on_what_is_ranked_beside_it(name: str) -> None:
    """Shorter histories are padded behind."""
    model = MODELS[name].make(100)
    histories = [np.arange(n) * 3 % 100 for n in (1, 4, 40)]
    together = top_lists(model, histories)
    assert [top_lists(model, [one])[0].tolist() for one in histories] == together.tolist()


def test_every_event_but_a_users_first_is_a_target_once_an_epoch() -> None:
    """Its input is what the user did just before; long histories are cut elsewhere in another epoch."""
    log, rng = walk(users=30, events=2_000), np.random.default_rng(1)
    windows = Windows(log, 1_500, 10)
    expected: collections.Counter[tuple[int, int]] = collections.Counter()
    last: dict[int, int] = {}
    for user, item in zip(log.user_E[:1_500].tolist(), log.item_E[:1_500].tolist(), strict=True):
        if user in last:
            expected[last[user] + 1, item + 1] += 1
        last[user] = item
    shapes = []
    for _ in range(2):
        pairs: collections.Counter[tuple[int, int]] = collections.Counter()
        spans = windows.spans(rng)
        shapes.append(sorted(spans[:, 0].tolist()))
        for batch in cut(spans, 100, rng):
            inputs_BT, targets_BT = windows.batch(batch)
            assert inputs_BT.shape[1] <= 10
            real_BT = targets_BT > 0
            pairs.update(zip(inputs_BT[real_BT].tolist(), targets_BT[real_BT].tolist(), strict=True))
        assert pairs == expected
    assert shapes[0] != shapes[1]


def scored_by_hand(users: list[str]) -> list[int]:
    """The rule in words: not the first tenth, not a user's first event."""
    seen: set[str] = set()
    scored = []
    for number, user in enumerate(users):
        if user in seen and number >= len(users) // 10:
            scored.append(number)
        seen.add(user)
    return scored


@pytest.mark.parametrize("events", [1_000, 1_009])
def test_the_events_scored_are_those_of_the_rule(events: int) -> None:
    log = walk(users=300, events=events)
    names = [log.user_names[user] for user in log.user_E.tolist()]
    assert np.flatnonzero(log.histories().scored()).tolist() == scored_by_hand(names)


def test_a_history_is_what_the_user_did_before_and_the_training_knew() -> None:
    log = log_of(list("aabaab"), list("xyxzxy"))
    histories = log.histories()
    assert histories.earlier(4, known=3, length=10).tolist() == [0, 1, 2]
    assert histories.earlier(4, known=2, length=10).tolist() == [0, 1]
    assert histories.earlier(4, known=3, length=2).tolist() == [1, 2]
    assert histories.earlier(0, known=3, length=10).tolist() == []
    assert histories.earlier(5, known=3, length=10).tolist() == [0]


def quick(log: Log) -> np.ndarray:
    model = small("gru4rec")
    return retrained_at_tenths(log, model.make, model.training, StoppingConfig(epochs=1), lambda _: None)[1]


def test_later_events_change_no_earlier_list_and_untrained_items_are_in_none() -> None:
    log = walk(users=60, events=800, items=400)
    shuffled = log.item_E.copy()
    shuffled[500:] = np.random.default_rng(3).permutation(shuffled[500:])
    lists = quick(log)
    others = quick(Log(log.user_E, shuffled, log.user_names, log.item_names))
    assert (lists[:501] == others[:501]).all()
    assert (lists[501:] != others[501:]).any()
    for number in range(1, 10):
        begin, end = (800 * n // 10 for n in (number, number + 1))
        assert lists[begin:end].max() < log.known_items(begin)
    asked = lists[lists[:, 0] >= 0]
    assert len(asked) == log.histories().scored().sum()
    assert all(len(set(row)) == len(row) for row in (one[one >= 0].tolist() for one in asked))


def test_a_history_of_unknown_items_gets_what_was_frequent_lately() -> None:
    users = ["a"] * 100 + ["b", "b"]
    items = [f"i{n % 30}" for n in range(90)] + ["late"] * 6 + ["i7"] * 3 + ["i8", "new", "late"]
    log = log_of(users, items)
    model = small("gru4rec")
    lists = ranked(model.make(log.known_items(100)), log, log.histories(), np.array([101]), 100, 10)
    assert [log.item_names[row] for row in lists[0] if row >= 0] == ["late", "i7", "i8"]


def test_a_score_counts_hits_and_reciprocal_ranks() -> None:
    lists = np.array([[3, 1, 2], [5, 4, -1], [0, 1, 2]])
    score = score_of(lists, np.array([1, 5, 9]))
    assert (score.events, score.hits, score.reciprocal) == (3, 2, 1.5)


def test_sampled_softmax_over_all_other_items_is_the_full_one() -> None:
    """With q alike for all, and each item drawn once: the target counts once, as itself."""
    torch.manual_seed(0)
    states_MD, vectors_ND, bias_N = torch.randn(6, 4), torch.randn(11, 4), torch.randn(11)
    targets_M, logq_N = torch.randint(1, 11, (6,)), torch.full((11,), 0.1).log()
    full = losses.full_softmax(states_MD, targets_M, vectors_ND, bias_N)
    sampled = losses.sampled_softmax(states_MD, targets_M, vectors_ND, bias_N, torch.arange(1, 11), logq_N)
    assert sampled.item() == pytest.approx(full.item(), rel=1e-5)


def test_sampled_softmax_finds_how_often_each_item_comes_however_negatives_are_drawn() -> None:
    """Without its correction, items that are drawn often would be thought rare."""
    torch.manual_seed(0)
    p_N = torch.tensor([0.0, 0.4, 0.3, 0.2, 0.1])
    q_N = torch.tensor([0.0, 0.7, 0.1, 0.1, 0.1])
    states_MD, vectors_ND, bias_N = torch.zeros(256, 2), torch.zeros(5, 2), torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.Adam([bias_N], lr=0.02)
    for _ in range(300):
        targets_M, sampled_S = p_N.multinomial(256, replacement=True), q_N.multinomial(200, replacement=True)
        optimizer.zero_grad()
        losses.sampled_softmax(
            states_MD, targets_M, vectors_ND, bias_N, sampled_S, q_N.clamp_min(1e-12).log()
        ).backward()
        optimizer.step()
    assert torch.allclose(bias_N.detach()[1:].softmax(0), p_N[1:], atol=0.05)


@both
@pytest.mark.parametrize("loss", ["softmax", "binary"])
def test_each_loss_falls(name: str, loss: str) -> None:
    """Of a catalogue too large for the full softmax, too."""
    config = TrainingConfig(window=10, places=64, loss=loss, full_up_to=10, negatives=20)
    trainer = Trainer(MODELS[name].make, walk(events=1_000), 1_000, config)
    first = trainer.epoch()
    assert np.mean([trainer.epoch() for _ in range(10)][-3:]) < 0.8 * first


def test_the_command_leaves_lists_that_score_as_it_says(tmp_path: Path) -> None:
    log = walk(users=80, events=700)
    path, lists, figures = tmp_path / "log.csv", tmp_path / "lists.jsonl", tmp_path / "figures.json"
    rows = zip(log.user_E.tolist(), log.item_E.tolist(), strict=True)
    lines = [f"{log.user_names[u]},{log.item_names[i]},{1_700_000_000 + n},click" for n, (u, i) in enumerate(rows)]
    path.write_text("\n".join(["user,item,ts,type", *lines]) + "\n")
    arguments = [str(path), "--model", "gru4rec", "--limit", "500", "--predictions", str(lists), "--json", str(figures)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    predictions = [json.loads(line) for line in lists.read_text().splitlines()]
    assert [(one["user"], one["item"]) for one in predictions] == [tuple(line.split(",")[:2]) for line in lines[:500]]
    scored = [predictions[number] for number in scored_by_hand([one["user"] for one in predictions])]
    hits = sum(one["item"] in one["ranked"][:20] for one in scored)
    told = json.loads(figures.read_text())["all"]
    assert (told["events"], told["hit_rate"]) == (len(scored), round(hits / len(scored), 4))
    assert len(read_log([path], CANONICAL, 500)) == 500


def test_scores_of_tenths_add_up() -> None:
    log = walk(users=60, events=600)
    model = small("gru4rec")
    stopping = StoppingConfig(epochs=1)
    tenths, lists = retrained_at_tenths(log, model.make, model.training, stopping, lambda _: None)
    events = np.flatnonzero(log.histories().scored())
    assert [tenth.number for tenth in tenths] == list(range(2, 11))
    assert in_all(tenths).hits == score_of(lists[events], log.item_E[events]).hits


def test_leave_one_out_trains_on_all_but_the_last_two_of_each_user() -> None:
    log = core(log_of(list("aaaaaabbbbbc"), list("xyxyxxyxyxyx")))
    assert "c" not in log.user_names
    train, sequences = leave_one_out(log)
    assert [len(sequence) for sequence in sequences] == [6, 5]
    assert np.bincount(train.user_E).tolist() == [4, 3]
    assert train.item_E.tolist() == [*sequences[0][:-2], *sequences[1][:-2]]


def test_the_core_has_no_user_or_item_of_few_events() -> None:
    """Leaving out a rare item can make a user rare, and so on."""
    log = core(walk(users=40, events=400, items=60))
    assert len(log)
    assert np.bincount(log.user_E).min() >= 5
    assert np.bincount(log.item_E).min() >= 5


def test_the_measures_of_leave_one_out_look_at_the_item_held_back() -> None:
    model = small("gru4rec")
    log = walk(users=30, events=EVENTS)
    train, sequences = leave_one_out(log)
    trainer = Trainer(model.make, train, len(train), model.training)
    for _ in range(20):
        trainer.epoch()
    hit10, hit20, ndcg = measures(trainer.model, sequences, 1, 10)
    assert hit10 > 0.95
    assert hit20 >= hit10 >= ndcg > 0.9
