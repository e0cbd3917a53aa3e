"""What is gone on from: checkpoints of older formats, of other shapes, and of another kind of store.

`tests/data/checkpoints/` has a checkpoint of the last formats (weights rounded, so that the files are small) and the
list of the arrays of today's: see `core/checkpoint_format.py` for the rule.
"""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from stream_worker.assembly import make_line, memory_layout
from stream_worker.backends.checkpoint import newest_of
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.config import Settings, load_settings
from stream_worker.core.checkpoint_format import FORMAT
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId
from stream_worker.exit_codes import ExitCode
from stream_worker.loop.line import UNFIT, Line, unfit
from tests.support.worker_world import Durable, Twin, World
from tests.test_commands import call

DATA = Path(__file__).parent / "data" / "checkpoints"
CANONICAL = str(Path(__file__).parent.parent / "examples" / "canonical.toml")
TINY = DATA / "tiny.toml"
FORMATS = ("format-1", "format-1-without-categories", "format-2", "format-3")
EVENTS, ITEMS, USERS = 300, 30, 12


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(DATA / f"{name}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder


def found_in(folder: Path) -> Snapshot:
    found = newest_of(folder)
    assert found is not None
    return found


def restored(snapshot: Snapshot, **model: Any) -> tuple[Line, dict[str, str]]:
    """A line of the configuration that wrote these checkpoints, but for `model`; and what of it began anew."""
    settings = tiny(**model)
    line, store = make_line(settings, "new"), InMemoryMemoryStore(settings.memory)
    store.load_state_dict(snapshot.state_below("memories"))
    return line, line.restore(snapshot, store.number_items)


def tiny(**model: Any) -> Settings:
    settings = load_settings(TINY, environ={})
    return replace(settings, model=replace(settings.model, **model))


def recorded_log(path: Path) -> Path:
    """The log that these checkpoints stand at row 300 of."""
    rng = np.random.default_rng(3)
    last = rng.integers(0, ITEMS, size=USERS)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("user", "item", "ts", "type"))
        for k in range(400):
            user = int(rng.integers(0, USERS))
            last[user] = (last[user] + rng.integers(1, 4)) % ITEMS
            rows.writerow((f"u{user}", f"i{last[user]}", 1_700_000_000 + 7 * k, "view" if k % 9 else "purchase"))
    return path


class TestOlderFormats:
    @pytest.mark.parametrize("name", FORMATS)
    def test_all_that_fits_is_kept(self, name: str, tmp_path: Path) -> None:
        """Of all parts. The early one knew fewer features: its ranker goes on, with weights of 0 for the new ones."""
        snapshot = found_in(unpacked(name, tmp_path))
        line, anew = restored(snapshot)
        assert not anew
        assert (line.learner.events, len(line.learner.catalog), line.monitor.events) == (EVENTS, ITEMS, EVENTS)
        assert line.offsets == {0: EVENTS}
        kept = line.snapshot(SourceId("x"), {}, snapshot.state_below("memories")).arrays
        for part in ("learner.catalog", "learner.counting", "learner.encoder", "learner.items", "monitor", "floor"):
            theirs = {key: array for key, array in snapshot.arrays.items() if key.startswith(part + ".")}
            assert theirs
            for key, array in theirs.items():
                assert kept[key].tobytes() == array.tobytes(), key

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_source_gets_ids(self, name: str, tmp_path: Path) -> None:
        snapshot = found_in(unpacked(name, tmp_path))
        assert SourceId.of_json(snapshot.meta["source"]).name.startswith("file:log.csv:")
        assert isinstance(snapshot.meta["source"], dict)

    @pytest.mark.parametrize("name", FORMATS)
    def test_counts_by_partition_begin_at_l(self, name: str, tmp_path: Path) -> None:
        line, _ = restored(found_in(unpacked(name, tmp_path)))
        assert line.counted.state_dict() == {"first": {"0": EVENTS}, "counted": {}, "gap": {}, "heard": []}
        assert line.learner.examined == EVENTS

    def test_a_replay_of_an_older_version_goes_on(self, tmp_path: Path) -> None:
        """From row 300 of its log, with its memories, in a folder of its own."""
        folder, log = unpacked("format-1", tmp_path / "learned"), recorded_log(tmp_path / "log.csv")
        both = ("--checkpoint-from", str(folder), "--checkpoint-to", str(folder))
        code, out, err = call("replay", str(log), "-m", CANONICAL, "-c", str(TINY), *both)
        assert code == ExitCode.DONE, err
        assert "100 events in" in out
        assert "checkpoints of an older version moved" in err
        found = found_in(folder).meta
        assert found["learner"]["events"] == 400
        assert (found["first"], found["counted"]) == ({"0": EVENTS}, {"0": 100})
        assert not (folder / "0").exists()


class TestOtherShapes:
    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ({"dim": 16}, {"item vectors", "encoder", "training windows"}),
            ({"window": 6}, {"encoder", "training windows"}),
            ({"burn_in": 2}, {"training windows"}),
            ({"replay_capacity": 32}, {"training windows"}),
            ({"ranker_examples": 16}, {"training choices"}),
            ({"ring_size": 16}, set()),
            ({"ring_size": 5}, set()),
        ],
    )
    def test_only_what_does_not_fit_begins_anew(
        self, model: Mapping[str, Any], expected: set[str], tmp_path: Path
    ) -> None:
        snapshot = found_in(unpacked("format-1", tmp_path))
        line, anew = restored(snapshot, **model)
        assert anew.keys() == expected
        assert all(reason and "\n" not in reason for reason in anew.values())
        assert (line.learner.events, len(line.learner.catalog), line.monitor.events) == (EVENTS, ITEMS, EVENTS)
        assert line.learner.items.table_ND1.shape[1] == line.learner.config.dim + 1
        lengths = np.linalg.norm(line.learner.items.all_vectors[:ITEMS].numpy(), axis=1)
        assert np.allclose(lengths, 1.0, atol=0.01)
        records = memory_layout(tiny(**model)).decode([blob for _, _, blob in _memories(snapshot).scan()])
        assert records["events"].sum() == EVENTS
        assert (records["number"] > 0).sum() >= min(5, line.learner.config.ring_size) * USERS

    def test_under_other_weights_states_are_made_anew_from_rings_and_the_line_has_another_name(
        self, tmp_path: Path
    ) -> None:
        folder, log = unpacked("format-1", tmp_path / "learned"), recorded_log(tmp_path / "log.csv")
        both = ("--checkpoint-from", str(folder), "--checkpoint-to", str(folder))
        code, _, err = call("replay", str(log), "-m", CANONICAL, "-c", str(TINY), *both, MODEL__DIM="16")
        assert code == ExitCode.DONE, err
        assert "parts of the checkpoint do not fit, and begin anew" in err
        assert "model.dim: the state has 8, the configuration 16" in err
        found = found_in(folder)
        assert (found.meta["line"], found.meta["learner"]["events"]) == ("replay-0-300", 400)
        assert found.arrays["learner.items.table"].shape == (ITEMS, 17)

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("MODEL__NEIGHBOURS", "16", "model.neighbours: the state has 8, the configuration 16"),
            ("MODEL__MAX_ITEMS", "64", ""),
        ],
    )
    def test_without_counts_nothing_is_gone_on_with_and_the_remedy_is_named(
        self, key: str, value: str, said: str, tmp_path: Path
    ) -> None:
        folder, log = unpacked("format-1", tmp_path / "learned"), recorded_log(tmp_path / "log.csv")
        options = ("--checkpoint-from", str(folder), "--limit", "20")
        code, _, err = call("replay", str(log), "-m", CANONICAL, "-c", str(TINY), *options, **{key: value})
        assert code == (ExitCode.CONFIGURATION if said else ExitCode.DONE), err
        if said:
            assert f"{said}; set the key back, go back to the version that wrote it, or start anew" in err
            assert "stream-worker reset" in err
        assert "Traceback" not in err

    def test_whatever_is_missing_has_a_name(self, tmp_path: Path) -> None:
        """A part begins anew, or the sentence says what is not there."""
        snapshot = found_in(unpacked("format-1", tmp_path))
        names = [name for name in sorted(snapshot.arrays) if not name.startswith("memories.")]
        refused: dict[str, str] = {}
        for name in names[::7]:
            less = {key: array for key, array in snapshot.arrays.items() if key != name}
            try:
                restored(Snapshot(less, snapshot.meta))
            except UNFIT as fault:
                refused[name] = unfit(fault)
        assert {name.split(".")[1] for name in refused} <= {"catalog", "counting", "attic"}
        assert len(refused) >= 3
        for name, said in refused.items():
            assert name.rpartition(".")[2] in said.partition(";")[0], said


def _memories(snapshot: Snapshot) -> InMemoryMemoryStore:
    store = InMemoryMemoryStore()
    store.load_state_dict(snapshot.state_below("memories"))
    return store


class TestAnotherKindOfStore:
    def test_redis_taken_out_of_the_configuration_reads_memories_again(self) -> None:
        """The same checkpoint, which has none; what was learned and published stays as it is."""
        world = World(Durable)
        world.send_many(40)
        world.worker().to_the_end()
        world.topic.ended = False
        world.kind, world.shared = Twin, None
        world.send_many(20)
        with capture_logs() as logs:
            run = world.worker()
        assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"] == ["they were kept in Redis"]
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.learned == 60

    def test_redis_put_into_the_configuration_too(self) -> None:
        world = World(Twin)
        world.send_many(40)
        world.worker().to_the_end()
        world.topic.ended = False
        world.kind = Durable
        world.shared = world._store()
        world.send_many(20)
        with capture_logs() as logs:
            run = world.worker()
        said = [entry["reason"] for entry in logs if entry["log_level"] == "warning"]
        assert said == ["they are in the checkpoint's files, not in Redis"]
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.learned == 60


def test_arrays_do_not_change_without_another_format_number() -> None:
    """If this fails: has a version with the old arrays been out? Then FORMAT grows, with an upgrade and a checkpoint of
    the old format here. Else the list is made again: it is what is written now."""
    world = World(Twin)
    world.send_many(60)
    world.worker().to_the_end()
    found = world.checkpoints["0"].load_newest()
    assert found is not None
    arrays = sorted(f"{name} {array.dtype} {array.ndim}" for name, array in found.arrays.items())
    meta = sorted(f"meta.{key}" for key in (*found.meta, *(f"learner.{key}" for key in found.meta["learner"])))
    expected = (DATA / f"format-{FORMAT}.txt").read_text().splitlines()
    assert [*arrays, *meta] == expected, f"expected the arrays of format {FORMAT}"
