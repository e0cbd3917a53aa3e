"""`stream-worker why`: the ranks of a worker that goes on from the checkpoint, and what is said to a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from model.pace import Pace
from model.why import why
from stream_worker.assembly import make_line, simulated_worker
from stream_worker.backends.checkpoint import newest_of
from stream_worker.backends.files import FileSink, FileSource, load_mapping
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.commands import why as command
from stream_worker.config import Settings
from stream_worker.core.codec import encode_recommendation
from stream_worker.core.errors import ConfigurationError, Unavailable
from stream_worker.core.events import Recommendation, Record
from stream_worker.core.interfaces import Snapshot
from stream_worker.exit_codes import ExitCode
from stream_worker.loop.worker import Worker
from stream_worker.standing import Standing, memories_of
from tests.test_commands import call
from tests.test_replay import MAPPING, replay, shoppers, write_log

_PAIRS = 1_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "log.csv", shoppers(3_000))


@pytest.fixture(scope="module")
def learned(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a replay's checkpoints."""
    folder = tmp_path_factory.mktemp("learned")
    replay(log, folder / "out", "--checkpoint-to", str(folder / "checkpoints"))
    return folder / "checkpoints"


@pytest.fixture(scope="module")
def snapshot(learned: Path) -> Snapshot:
    found = newest_of(learned)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def no_broker() -> Iterator[mock.Mock]:
    """No output topic can be read, unless a test says what it holds."""
    with mock.patch.object(command, "require_topic", side_effect=Unavailable("kafka: no broker answers")) as asked:
        yield asked


def going_on(log: Path, snapshot: Snapshot) -> Worker:
    """A worker that goes on from the checkpoint, and has read nothing yet."""
    settings = Settings()
    source = FileSource([log], load_mapping(MAPPING))
    sink = FileSink(topic=source.name)
    worker = simulated_worker(settings, source, sink, make_line(settings, "new"), store=InMemoryMemoryStore())
    worker.start(snapshot)
    return worker


def test_the_ranks_are_those_of_a_worker_that_goes_on_from_the_checkpoint(log: Path, snapshot: Snapshot) -> None:
    """1,000 random pairs of user and item."""
    worker = going_on(log, snapshot)
    worker.run_once()  # claims the partition; the log has nothing more to read
    learner = worker.line.learner
    store = memories_of(Settings(), snapshot)
    records = {(partition, user): blob for partition, user, blob in store.scan()}
    slots = worker._memories.recall(list(records))
    learner.list_maker.refresh(learner.events)
    lists = learner.recommend(slots, Pace())["default"]
    _, ranking = learner.predictor.stand(slots, Pace(), learner.clock_ts)
    order_UC = ranking.scores_BC.topk(ranking.scores_BC.shape[1], dim=1).indices.numpy()
    ranked_UC = np.take_along_axis(ranking.found.candidates_BC, order_UC, axis=1)

    standing = Standing(Settings(), snapshot)
    ours = standing.put(list(records), list(records.values()), store)
    rng = np.random.default_rng(0)
    pairs = zip(
        rng.integers(0, len(records), _PAIRS).tolist(), rng.choice(learner.catalog.live_rows(), _PAIRS), strict=True
    )
    ranks = set()
    for user, row in pairs:
        found = why(standing.line.learner, int(ours[user]), int(row))
        assert found.rank == place_of(row, ranked_UC[user])
        assert found.place == place_of(row, lists.rows_UK[user])
        ranks.add(found.rank)
    assert len(ranks) > 50


def place_of(row: int, rows: NDArray[np.int32]) -> int:
    at = np.flatnonzero(rows == row)
    return int(at[0]) + 1 if len(at) else 0


def test_the_store_and_the_checkpoint_stay_as_they_are(learned: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(learned.rglob("*")) if path.is_file()}
    call("why", "u1", "i5", "--from", str(learned))
    assert {path: path.read_bytes() for path in sorted(learned.rglob("*")) if path.is_file()} == before


def test_a_state_that_other_weights_made_is_made_anew(snapshot: Snapshot) -> None:
    """As a worker does with the records of another line."""
    standing, store = Standing(Settings(), snapshot), memories_of(Settings(), snapshot)
    (partition, user, blob), *_ = store.scan("u1")
    theirs = bytearray(blob)
    theirs[12:20] = bytes([1] * 8)  # the line
    slots = standing.put([(partition, user), (partition, "other")], [blob, bytes(theirs)], store)
    ours, theirs_then = standing.line.learner.users.state(slots)[0].numpy()
    assert not np.array_equal(ours, theirs_then)
    standing.line.learner.rebuild(slots, lambda numbers: [None] * len(numbers))
    anew, theirs_now = standing.line.learner.users.state(slots)[0].numpy()
    np.testing.assert_allclose(anew, theirs_now, atol=2e-3)
    np.testing.assert_allclose(theirs_then, theirs_now, atol=2e-3)


def test_the_answer_as_json(learned: Path) -> None:
    code, out, _ = call("why", "u1", "i5", "--from", str(learned), "--json")
    told = orjson.loads(out)
    assert code == ExitCode.DONE
    assert (told["user"], told["item"]) == ("u1", "i5")
    assert told["published"] == {"unread": "kafka: no broker answers"}
    assert told["checkpoint"]["events"] == 2_940
    assert told["candidate"] == (told["rank"] is not None)


def listed(learned: Path) -> str:
    """An item of u1's list."""
    return next(item for item in (f"i{k}" for k in range(200)) if place_told(learned, item) is not None)


def place_told(learned: Path, item: str) -> int | None:
    place: int | None = orjson.loads(call("why", "u1", item, "--from", str(learned), "--json")[1])["place"]
    return place


def test_the_answer_for_a_person_has_place_reason_features_and_the_age_of_all(learned: Path) -> None:
    code, out, _ = call("why", "u1", listed(learned), "--from", str(learned))
    assert code == ExitCode.DONE
    first, *rest = out.splitlines()
    assert "for u1: place " in first
    text = "\n".join(rest)
    for part in (
        " s ago (line replay-0, step ",
        "rank ",
        "proposed by ",
        "because: ",
        "what its features add",
        "was not read",
    ):
        assert part in text


def test_what_features_add_makes_up_the_score(snapshot: Snapshot) -> None:
    standing, store = Standing(Settings(), snapshot), memories_of(Settings(), snapshot)
    (partition, user, blob), *_ = store.scan("u1")
    slot = int(standing.put([(partition, user)], [blob], store)[0])
    learner = standing.line.learner
    _, ranking = learner.predictor.stand(np.array([slot]), Pace(), learner.clock_ts)
    ranker = learner.ranker_trainer.optimizer.slow.module
    present = ranking.candidates_BC[0] >= 0
    mean_F = ranking.features_BCF[0, present].mean(dim=0)
    usual = float(ranker(mean_F[None, None], present[:1][None])[0, 0])
    for at in (0, 1, 5):
        found = why(learner, slot, int(ranking.found.candidates_BC[0, at]))
        score = float(ranking.scores_BC[0, at])
        assert sum(part.adds for part in found.parts) == pytest.approx(score - usual, abs=0.02)


def test_it_says_how_old_the_published_list_is_and_where_the_item_stands_in_it(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_700_000_000.0
    older, newer = (
        Recommendation("u1", 2, offset, 1, now, items, (0.5,) * len(items), "0-ab", 7)
        for offset, items in ((11, ("i1",)), (21, ("i9", "i5")))
    )
    values = [(b"u1", older), (b"u2", older), (b"u1", newer), (b"u2", older)]
    records = [
        Record(0, k, int(now * 1000) - 60_000, key, encode_recommendation(value, "events"))
        for k, (key, value) in enumerate(values)
    ]
    reader = mock.Mock(newest=mock.Mock(return_value=records))
    monkeypatch.setattr(command, "require_topic", lambda *_: None)
    monkeypatch.setattr(command, "SpanReader", lambda *_: reader)
    monkeypatch.setattr(time, "time", lambda: now)
    code, out, _ = call("why", "u1", "i5", "--from", str(learned))
    assert code == ExitCode.DONE
    assert "in the list published 60 s ago (2:20, line 0-ab, step 7) it has place 2" in out
    code, out, _ = call("why", "u1", "i6", "--from", str(learned))
    assert "it is not in it" in out
    reader.newest.return_value = records[1:2]
    assert (
        "no list of this user is among the newest 1 of recommendations"
        in call("why", "u1", "i6", "--from", str(learned))[1]
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody", "i5"), ExitCode.FAILED, "user 'nobody': no memory record in the checkpoint"),
        (("u1", "nothing"), ExitCode.FAILED, "item 'nothing': not among the 200 items of the checkpoint"),
    ],
)
def test_what_is_not_there_is_said(learned: Path, arguments: tuple[str, str], code: int, said: str) -> None:
    got, _, err = call("why", *arguments, "--from", str(learned))
    assert (got, said in err) == (code, True)


def test_memories_are_the_checkpoints_or_in_redis(snapshot: Snapshot) -> None:
    """A checkpoint of a worker with Redis holds none."""
    elsewhere = Settings(memory=replace(Settings().memory, redis_url="redis://127.0.0.1:1/0"))
    assert not memories_of(elsewhere, snapshot).durable
    bare = replace(
        snapshot, arrays={name: x for name, x in snapshot.arrays.items() if not name.startswith("memories.")}
    )
    assert memories_of(elsewhere, bare).durable
    with pytest.raises(ConfigurationError, match=r"memory\.redis_url: not set"):
        memories_of(Settings(), bare)


def test_without_a_checkpoint_it_says_what_to_do(tmp_path: Path) -> None:
    code, _, err = call("why", "u1", "i5", CHECKPOINT__PATH=str(tmp_path))
    assert code == ExitCode.CONFIGURATION
    assert "no checkpoint of" in err
    assert "--from" in err
    code, _, err = call("why", "u1", "i5", "--from", str(tmp_path))
    assert (code, "--from: no readable checkpoint" in err) == (ExitCode.CONFIGURATION, True)
