"""Whose checkpoints are whose, where several sources share one folder."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from structlog.testing import capture_logs

from stream_worker.backends.checkpoint import CheckpointConfig, DirectoryCheckpoints, newest_in, newest_of, reading
from stream_worker.backends.checkpoint.sources import adopt, folder_of
from stream_worker.backends.checkpoint.start_lock import start_lock
from stream_worker.beginning import Beginning, beginning_of, named_snapshot
from stream_worker.core.errors import ConfigurationError, SlotTaken
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId

SHOP = SourceId("clicks", "t1", "c1", "shop")
BAKERY = SourceId("clicks", "t1", "c1", "bakery")
LOG = SourceId("file:clicks.csv:786f124614f0")
Open = Callable[..., DirectoryCheckpoints]


def snapshot(step: int, source: SourceId = SHOP) -> Snapshot:
    return Snapshot({"w": np.full(4, step, np.float32)}, {"step": step, "source": source.to_json()})


def step_of(found: Snapshot | None) -> int | None:
    return None if found is None else int(found.meta["step"])


@pytest.fixture
def clock() -> Iterator[int]:
    """A second later at every checkpoint."""
    return iter(range(1, 1_000))


@pytest.fixture
def open_slot(tmp_path: Path, clock: Iterator[int]) -> Iterator[Open]:
    """`open_slot(source, slot="0", nonce="abc")` as `run` does, all closed at the end."""
    opened: list[DirectoryCheckpoints] = []

    def make(source: SourceId, slot: str = "0", nonce: str = "abc") -> DirectoryCheckpoints:
        adopt(tmp_path, source, slot)
        config = CheckpointConfig(str(folder_of(tmp_path, source)))
        opened.append(DirectoryCheckpoints(config, slot, nonce, now=lambda: float(next(clock))))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def older_version(path: Path, slot: str, steps: dict[int, SourceId], at: float = 0.0) -> None:
    """Checkpoints right below `path`, of format 1, whose sources are names."""
    with closing(DirectoryCheckpoints(CheckpointConfig(str(path), keep=9), slot, "old", now=lambda: at)) as store:
        for step, source in steps.items():
            store.save(Snapshot(snapshot(step).arrays, {"step": step, "source": source.name}))
    for manifest in (path / slot).glob("*/manifest.json"):
        fields = orjson.loads(manifest.read_bytes())
        del fields["sha256"]
        manifest.write_bytes(reading.sealed(fields | {"format": 1}))


class TestTwoSourcesInOneFolder:
    def test_neither_starts_from_the_others_line_nor_rotates_it_away(self, open_slot: Open, tmp_path: Path) -> None:
        """Same slot, same topic: another group is another source."""
        shop, bakery = open_slot(SHOP), open_slot(BAKERY)
        shop.save(snapshot(1))
        assert beginning_of(bakery, tmp_path, BAKERY) == Beginning()
        for step in range(10, 20):
            bakery.save(snapshot(step, BAKERY))
        assert step_of(shop.load_newest()) == 1
        assert step_of(bakery.load_newest()) == 19

    def test_both_live_at_the_same_time_and_no_slot_twice(self, open_slot: Open) -> None:
        open_slot(SHOP), open_slot(BAKERY), open_slot(replace(SHOP, cluster_id="c2"))
        with pytest.raises(SlotTaken, match="slot '0'"):
            open_slot(SHOP)

    def test_names_that_no_file_may_have_do_not_meet(self, tmp_path: Path) -> None:
        names = ["a/b", "a:b", "../up", "a" * 300, "a" * 299 + "b"]
        folders = {folder_of(tmp_path, SourceId(name)) for name in names}
        assert len(folders) == len(names)
        assert {folder.parent for folder in folders} == {tmp_path}
        for folder in folders:
            (folder / "0").mkdir(parents=True)


class TestBeginnings:
    def test_a_slot_goes_on_from_its_own_whatever_is_newer_or_named(self, open_slot: Open, tmp_path: Path) -> None:
        own, other = open_slot(SHOP), open_slot(SHOP, "1")
        own.save(snapshot(1))
        other.save(snapshot(2))
        with capture_logs() as logs:
            found = beginning_of(own, tmp_path, SHOP, tmp_path)
        assert (step_of(found.snapshot), found.own) == (1, True)
        assert [entry["event"] for entry in logs] == ["--from is ignored: the slot goes on from its own checkpoint"]

    def test_a_slot_without_one_begins_with_the_newest_of_the_same_source(
        self, open_slot: Open, tmp_path: Path
    ) -> None:
        open_slot(SHOP, "1").save(snapshot(1))
        open_slot(SHOP, "2").save(snapshot(2))
        open_slot(BAKERY, "1").save(snapshot(3, BAKERY))
        older_version(tmp_path, "4", {4: LOG}, at=50.0)
        found = beginning_of(open_slot(SHOP), tmp_path, SHOP)
        assert (step_of(found.snapshot), found.own) == (2, False)

    def test_one_of_an_older_version_in_another_slot_counts_too(self, open_slot: Open, tmp_path: Path) -> None:
        older_version(tmp_path, "7", {4: SHOP})
        assert step_of(beginning_of(open_slot(SHOP), tmp_path, SHOP).snapshot) == 4

    def test_a_topic_made_again_begins_with_what_the_one_before_taught_and_says_so(
        self, open_slot: Open, tmp_path: Path
    ) -> None:
        open_slot(SHOP).save(snapshot(1))
        again = replace(SHOP, topic_id="t2")
        slot = open_slot(again)
        with capture_logs() as logs:
            found = beginning_of(slot, tmp_path, again)
        assert (step_of(found.snapshot), found.own) == (1, False)
        (said,) = logs
        assert (said["log_level"], said["before"], said["topic_id"]) == ("warning", "t1", "t2")
        slot.save(snapshot(2, again))
        assert step_of(newest_of(tmp_path, SHOP.is_same)) == 1, "the old topic's line is still there"

    def test_another_sources_is_begun_with_by_name(self, open_slot: Open, tmp_path: Path) -> None:
        """The folder may be that of all, of a source, of a slot, or of one checkpoint."""
        log = open_slot(LOG)
        log.save(snapshot(1, LOG))
        slot = folder_of(tmp_path, LOG) / "0"
        shop = open_slot(SHOP)
        for named in (tmp_path, slot.parent, slot, slot / "00000001-abc"):
            found = beginning_of(shop, tmp_path, SHOP, named)
            assert (step_of(found.snapshot), found.own) == (1, False), named

    def test_of_a_named_folder_the_own_source_goes_before_newer_ones(self, open_slot: Open, tmp_path: Path) -> None:
        open_slot(SHOP, "1").save(snapshot(1))
        open_slot(LOG).save(snapshot(2, LOG))
        assert step_of(named_snapshot(tmp_path, SHOP, "--from")) == 1

    @pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
    def test_a_named_folder_without_a_checkpoint_is_refused(self, open_slot: Open, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match=f"--from: no readable checkpoint in .*{name}"):
            beginning_of(open_slot(SHOP), tmp_path, SHOP, tmp_path / name)


class TestIdsThatBecomeKnown:
    UNKNOWN = SourceId("clicks", group="shop")

    def test_the_folder_stays_the_sources_when_its_ids_are_told_later(self, open_slot: Open, tmp_path: Path) -> None:
        """An old broker was upgraded; later it does not answer for a while."""
        first = open_slot(self.UNKNOWN)
        first.save(snapshot(1, self.UNKNOWN))
        first.close()
        second = open_slot(SHOP, nonce="def")
        assert step_of(second.load_newest()) == 1
        second.save(snapshot(2, SHOP))
        second.close()
        assert step_of(open_slot(self.UNKNOWN, nonce="ghi").load_newest()) == 2
        assert folder_of(tmp_path, replace(SHOP, topic_id="t2")) != folder_of(tmp_path, SHOP)

    def test_without_ids_the_newest_of_the_name_is_meant(self, open_slot: Open, tmp_path: Path) -> None:
        again = replace(SHOP, topic_id="t2")
        open_slot(SHOP).save(snapshot(1, SHOP))
        open_slot(again).save(snapshot(2, again))
        assert folder_of(tmp_path, self.UNKNOWN) == folder_of(tmp_path, again)


class TestFoldersOfAnOlderVersion:
    def test_what_is_ours_is_moved_once_and_said(self, open_slot: Open, tmp_path: Path) -> None:
        older_version(tmp_path, "0", {1: SHOP, 2: SHOP})
        with capture_logs() as logs:
            slot = open_slot(SHOP)
        assert [(entry["event"], entry["count"]) for entry in logs] == [("checkpoints of an older version moved", 2)]
        assert not (tmp_path / "0").exists()
        found = slot.load_newest()
        assert step_of(found) == 2
        assert found is not None
        assert found.meta["source"] == SourceId("clicks").to_json()
        slot.save(snapshot(3))
        with capture_logs() as logs:
            slot.close()
            assert step_of(open_slot(SHOP).load_newest()) == 3
        assert logs == []

    def test_what_is_anothers_stays_for_it(self, open_slot: Open, tmp_path: Path) -> None:
        """Two shops took turns in one folder."""
        cakes = replace(BAKERY, name="cakes")
        older_version(tmp_path, "0", {1: SHOP, 2: cakes, 3: LOG})
        assert step_of(open_slot(SHOP).load_newest()) == 1
        assert step_of(open_slot(LOG).load_newest()) == 3
        assert step_of(open_slot(cakes).load_newest()) == 2
        assert not (tmp_path / "0").exists()

    def test_while_its_process_lives_the_slot_is_taken(self, open_slot: Open, tmp_path: Path) -> None:
        older_version(tmp_path, "0", {1: SHOP})
        with closing(DirectoryCheckpoints(CheckpointConfig(str(tmp_path)), "0", "old")):
            with pytest.raises(SlotTaken, match="slot '0'"):
                open_slot(SHOP)
            assert open_slot(LOG).load_newest() is None
        assert step_of(open_slot(SHOP).load_newest()) == 1

    def test_they_go_behind_what_is_there_if_they_are_newer(self, open_slot: Open, tmp_path: Path) -> None:
        """A version without folders for sources came back for a while."""
        slot = open_slot(SHOP)
        for step in (1, 2, 3):
            slot.save(snapshot(step))
        slot.close()
        older_version(tmp_path, "0", {4: SHOP}, at=500.0)
        assert step_of(open_slot(SHOP).load_newest()) == 4
        older_version(tmp_path, "0", {0: SHOP}, at=0.5)
        assert step_of(newest_in(folder_of(tmp_path, SHOP) / "0")) == 4

    def test_a_torn_one_is_nobodys_and_stays(self, open_slot: Open, tmp_path: Path) -> None:
        older_version(tmp_path, "0", {1: SHOP, 2: SHOP})
        (tmp_path / "0" / "00000002-old" / "manifest.json").write_bytes(b"torn")
        assert step_of(open_slot(SHOP).load_newest()) == 1
        assert (tmp_path / "0" / "00000002-old").exists()


class TestWhatAManifestMayName:
    @pytest.fixture
    def checkpoint(self, open_slot: Open, tmp_path: Path) -> Path:
        open_slot(SHOP).save(snapshot(1))
        return folder_of(tmp_path, SHOP) / "0" / "00000001-abc"

    @pytest.mark.parametrize(
        "names", [[], ["/etc/hostname"], ["../../x"], ["line.safetensors", "/etc/hostname"], ["line.safetensors", "x"]]
    )
    def test_its_own_file_and_nothing_else(self, checkpoint: Path, names: list[str]) -> None:
        """Without names nothing would be checked; with others, files from anywhere would be read."""
        fields = orjson.loads((checkpoint / "manifest.json").read_bytes())
        del fields["sha256"]
        own = fields["files"]["line.safetensors"]
        changed = fields | {"files": dict.fromkeys(names, own)}
        (checkpoint / "manifest.json").write_bytes(reading.sealed(changed))
        with capture_logs() as logs:
            assert newest_in(checkpoint.parent) is None
        assert "files must be line.safetensors alone" in logs[0]["reason"]

    def test_a_link_is_no_file_of_its_folder(self, checkpoint: Path, tmp_path: Path) -> None:
        arrays = checkpoint / "line.safetensors"
        arrays.rename(tmp_path / "elsewhere")
        arrays.symlink_to(tmp_path / "elsewhere")
        with capture_logs() as logs:
            assert newest_in(checkpoint.parent) is None
        assert "got a link" in logs[0]["reason"]

    def test_folders_and_files_are_for_their_owner_alone(self, checkpoint: Path, tmp_path: Path) -> None:
        below = [path for path in tmp_path.rglob("*") if path.name != "owner.lock"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in below if path.is_dir()} == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in below if path.is_file()} == {0o600}


class TestStartLock:
    def test_a_second_start_is_refused_before_anybody_has_answered(self, tmp_path: Path) -> None:
        known = ("127.0.0.1:9092", "clicks", "shop")
        with closing(start_lock(tmp_path, known, "0")), closing(start_lock(tmp_path, known, "1")):
            start_lock(tmp_path, (*known[:2], "bakery"), "0").close()
            with pytest.raises(SlotTaken, match="slot '0': another process holds"):
                start_lock(tmp_path, known, "0")
        start_lock(tmp_path, known, "0").close()
