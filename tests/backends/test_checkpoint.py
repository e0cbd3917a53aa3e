"""Checkpoints: whole or passed over, whatever happens to the process, the files or the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from stream_worker.backends.checkpoint import (
    CheckpointConfig,
    DirectoryCheckpoints,
    disk,
    newest_in,
    newest_of,
    reading,
    sources,
)
from stream_worker.backends.checkpoint import slot as writing
from stream_worker.backends.in_memory import InMemoryCheckpoints
from stream_worker.core.checkpoint_format import FORMAT
from stream_worker.core.errors import ConfigurationError, SlotTaken, Unavailable
from stream_worker.core.interfaces import CheckpointStore, Snapshot

ARRAYS: dict[str, NDArray[Any]] = {
    "float32": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "float16": np.array([1.5, -2.0, np.inf, np.nan], dtype=np.float16),
    "uint16": np.array([0, 1, 65_535], dtype=np.uint16),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint8": np.frombuffer(b"read-only", dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.array(7, dtype=np.int64),
    "none": np.zeros(0, dtype=np.uint16),
    "no rows": np.zeros((0, 3), dtype=np.float16),
    "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "every second": np.arange(12, dtype=np.int32)[::2],
    "reversed": np.arange(5, dtype=np.float16)[::-1],
    "column order": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "ünïcode.name": np.ones(1, dtype=np.float64),
}
META: dict[str, Any] = {
    "step": 7, "big": 2**63 - 1, "float": 0.1, "tiny": 5e-324, "text": "ü\n\0", "none": None, "yes": True,
    "list": [1, [2.5, {}]], "nested": {"b": 1, "a": {"": []}},
}  # fmt: skip

Open = Callable[..., DirectoryCheckpoints]


def snapshot(step: int) -> Snapshot:
    return Snapshot({"w": np.full(4, step, dtype=np.float32)}, {"step": step})


def step_of(found: Snapshot | None) -> int | None:
    return None if found is None else int(found.meta["step"])


@pytest.fixture
def open_slot(tmp_path: Path) -> Iterator[Open]:
    """`open_slot(slot="0", nonce="abc", owns=..., keep=...)` opens a slot in `tmp_path`; all are closed at the end."""
    opened: list[DirectoryCheckpoints] = []

    def make(slot: str = "0", nonce: str = "abc", keep: int = 3, **more: Any) -> DirectoryCheckpoints:
        opened.append(DirectoryCheckpoints(CheckpointConfig(str(tmp_path), keep), slot, nonce, **more))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def published(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "owner.lock")


class TestBothKinds:
    @pytest.fixture(params=["files", "twin"])
    def store(self, request: pytest.FixtureRequest, open_slot: Open) -> CheckpointStore:
        return open_slot() if request.param == "files" else InMemoryCheckpoints()

    def test_without_a_checkpoint_there_is_none(self, store: CheckpointStore) -> None:
        assert store.load_newest() is None
        assert store.bytes == 0

    def test_a_snapshot_comes_back_as_it_was(self, store: CheckpointStore) -> None:
        """Every kind of array, whatever its strides, to the bit; and all of JSON."""
        store.save(Snapshot(ARRAYS, META))
        found = store.load_newest()
        assert found is not None
        assert found.meta == META
        assert found.arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert found.arrays[name].dtype == array.dtype, name
            assert found.arrays[name].shape == array.shape, name
            assert found.arrays[name].tobytes() == array.tobytes(), name

    def test_an_empty_snapshot_is_one_too(self, store: CheckpointStore) -> None:
        store.save(Snapshot())
        found = store.load_newest()
        assert found is not None
        assert (dict(found.arrays), dict(found.meta)) == ({}, {})

    def test_the_newest_is_loaded(self, store: CheckpointStore) -> None:
        for step in range(1, 13):
            store.save(snapshot(step))
        assert step_of(store.load_newest()) == 12

    def test_what_was_loaded_can_be_changed_without_changing_what_is_kept(self, store: CheckpointStore) -> None:
        store.save(snapshot(1))
        first = store.load_newest()
        assert first is not None
        first.arrays["w"][:] = 9
        second = store.load_newest()
        assert second is not None
        assert second.arrays["w"].tolist() == [1, 1, 1, 1]

    def test_meta_holds_json_types_afterwards(self, store: CheckpointStore) -> None:
        store.save(Snapshot({}, {"pair": (1, 2)}))
        found = store.load_newest()
        assert found is not None
        assert found.meta == {"pair": [1, 2]}

    def test_its_size_is_at_least_that_of_the_arrays(self, store: CheckpointStore) -> None:
        store.save(Snapshot({"w": np.zeros(1_000, dtype=np.float32)}))
        assert 4_000 <= store.bytes < 5_000


class TestFiles:
    def test_equal_snapshots_make_equal_bytes(self, open_slot: Open, tmp_path: Path) -> None:
        turned = dict(reversed(list(META.items())))
        for slot, meta in (("0", META), ("1", turned)):
            open_slot(slot, now=lambda: 5.0).save(Snapshot(ARRAYS, meta))
        for name in ("line.safetensors", "manifest.json"):
            assert len({(tmp_path / slot / "00000001-abc" / name).read_bytes() for slot in "01"}) == 1

    def test_the_manifest_says_format_time_and_files(self, open_slot: Open, tmp_path: Path) -> None:
        store = open_slot(now=lambda: 1234.5)
        store.save(snapshot(1))
        manifest = orjson.loads((tmp_path / "0" / "00000001-abc" / "manifest.json").read_bytes())
        assert (manifest["format"], manifest["created"], manifest["meta"]) == (FORMAT, 1234.5, {"step": 1})
        assert manifest["files"]["line.safetensors"]["bytes"] == store.bytes

    def test_the_newest_few_are_kept(self, open_slot: Open, tmp_path: Path) -> None:
        store = open_slot(keep=3)
        for step in range(1, 6):
            store.save(snapshot(step))
        assert published(tmp_path / "0") == ["00000003-abc", "00000004-abc", "00000005-abc"]

    def test_a_new_start_counts_on(self, open_slot: Open, tmp_path: Path) -> None:
        first = open_slot(nonce="first")
        first.save(snapshot(1))
        first.close()
        second = open_slot(nonce="second")
        assert step_of(second.load_newest()) == 1
        second.save(snapshot(2))
        assert published(tmp_path / "0") == ["00000001-first", "00000002-second"]
        assert step_of(second.load_newest()) == 2

    def test_numbers_beyond_eight_digits_are_still_in_order(self, open_slot: Open, tmp_path: Path) -> None:
        store = open_slot()
        store.save(snapshot(1))
        (tmp_path / "0" / "00000001-abc").rename(tmp_path / "0" / "99999999-abc")
        store.close()
        later = open_slot()
        later.save(snapshot(2))
        assert step_of(later.load_newest()) == 2

    def test_a_nonce_that_could_not_be_found_again_is_refused(self, open_slot: Open) -> None:
        with pytest.raises(ValueError, match="nonce"):
            open_slot(nonce="A-b")


def flipped(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


class TestTornOnes:
    @pytest.fixture
    def newest(self, open_slot: Open, tmp_path: Path) -> Path:
        """The folder of the newer of two checkpoints."""
        store = open_slot(now=lambda: 1.0)
        store.save(snapshot(1))
        store.save(snapshot(2))
        assert step_of(newest_in(tmp_path / "0")) == 2
        return tmp_path / "0" / "00000002-abc"

    def passed_over(self, folder: Path) -> bool:
        """The older one is given, and it is said which one was passed over."""
        with capture_logs() as logs:
            found = newest_in(folder.parent)
        reasons = [entry["reason"] for entry in logs if entry["event"] == "checkpoint passed over"]
        return step_of(found) == 1 and len(reasons) == 1 and folder.name in reasons[0]

    @pytest.mark.parametrize("name", ["line.safetensors", "manifest.json"])
    def test_a_flipped_bit_anywhere_is_noticed(self, newest: Path, name: str) -> None:
        path = newest / name
        whole = path.read_bytes()
        unnoticed = []
        for place in range(len(whole)):
            flipped(path, place, place % 8)
            if not self.passed_over(newest):
                unnoticed.append(place)
            path.write_bytes(whole)
        assert unnoticed == []
        assert step_of(newest_in(newest.parent)) == 2

    @pytest.mark.parametrize("name", ["line.safetensors", "manifest.json"])
    @pytest.mark.parametrize("length", [0, 1, 40, -1])
    def test_a_file_cut_short_is_noticed(self, newest: Path, name: str, length: int) -> None:
        (newest / name).write_bytes((newest / name).read_bytes()[:length])
        assert self.passed_over(newest)

    @pytest.mark.parametrize("name", ["line.safetensors", "manifest.json"])
    def test_a_file_that_grew_is_noticed(self, newest: Path, name: str) -> None:
        with (newest / name).open("ab") as file:
            file.write(b" ")
        assert self.passed_over(newest)

    @pytest.mark.parametrize("name", ["line.safetensors", "manifest.json"])
    def test_a_missing_file_is_noticed(self, newest: Path, name: str) -> None:
        (newest / name).unlink()
        assert self.passed_over(newest)

    @pytest.mark.parametrize("manifest", [b"", b"null", b"[]", b"{}", b'{"sha256":1}', b"\xff", b'{"format":1}'])
    def test_a_manifest_that_is_none_is_noticed(self, newest: Path, manifest: bytes) -> None:
        (newest / "manifest.json").write_bytes(manifest)
        assert self.passed_over(newest)

    def test_arrays_of_another_checkpoint_are_noticed(self, newest: Path) -> None:
        shutil.copy(newest.with_name("00000001-abc") / "line.safetensors", newest)
        assert self.passed_over(newest)

    def test_where_a_folder_should_be_a_file_is_noticed(self, newest: Path) -> None:
        shutil.rmtree(newest)
        newest.write_bytes(b"")
        assert self.passed_over(newest)

    def test_where_all_are_torn_there_is_none(self, newest: Path) -> None:
        for folder in newest.parent.glob("0*"):
            (folder / "manifest.json").unlink()
        assert newest_in(newest.parent) is None

    def test_another_format_is_an_error_and_not_passed_over(self, newest: Path) -> None:
        """An older program would go on from an old line, or from none."""
        manifest = orjson.loads((newest / "manifest.json").read_bytes())
        del manifest["sha256"]
        (newest / "manifest.json").write_bytes(reading.sealed(manifest | {"format": FORMAT + 1}))
        with pytest.raises(
            ConfigurationError,
            match=f"newer version.* expected format 1 to {FORMAT}, got {FORMAT + 1}; go back",
        ):
            newest_in(newest.parent)

    def test_a_disk_that_can_not_be_read_is_unavailable(self, newest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is not the checkpoint that is torn: beginning anew would lose the line."""
        monkeypatch.setattr(reading, "checksum", _failing(errno.EACCES))
        with pytest.raises(Unavailable):
            newest_in(newest.parent)

    def test_a_bad_sector_is_a_torn_checkpoint(self, newest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read = reading.checksum

        def checksum(path: Path) -> str:
            if path.parent == newest:
                raise OSError(errno.EIO, "bad sector")
            return read(path)

        monkeypatch.setattr(reading, "checksum", checksum)
        assert self.passed_over(newest)


def _failing(number: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


_KILLED = """
import os, sys, time
import numpy as np
from stream_worker.backends.checkpoint import CheckpointConfig, DirectoryCheckpoints
from stream_worker.core.interfaces import Snapshot

store = DirectoryCheckpoints(CheckpointConfig(sys.argv[1]), "0", "dead")
store.save(Snapshot({"w": np.zeros(4)}, {"step": 1}))
def wait(*_):
    print("written", flush=True)
    time.sleep(60)
os.replace = wait
store.save(Snapshot({"w": np.zeros(4)}, {"step": 2}))
"""


@pytest.fixture
def stuck_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Holds slot 0, has published step 1, and stands between the writing and the renaming of step 2."""
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
        process.kill()


class TestOwners:
    def test_a_second_process_on_the_slot_is_refused_until_the_first_dies(
        self, open_slot: Open, stuck_process: subprocess.Popen[str]
    ) -> None:
        with pytest.raises(SlotTaken, match="slot '0'"):
            open_slot("0")
        open_slot("1")
        stuck_process.send_signal(signal.SIGKILL)
        stuck_process.wait()
        assert step_of(open_slot("0").load_newest()) == 1

    def test_a_process_killed_between_write_and_rename_leaves_nothing_that_counts(
        self, open_slot: Open, stuck_process: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        stuck_process.kill()
        stuck_process.wait()
        assert published(tmp_path / "0") == ["00000001-dead", "00000002-dead.tmp"]
        store = open_slot()
        assert step_of(store.load_newest()) == 1
        store.save(snapshot(3))
        assert published(tmp_path / "0") == ["00000001-dead", "00000002-abc"]
        assert step_of(store.load_newest()) == 3

    def test_a_slot_that_was_let_go_can_be_taken(self, open_slot: Open) -> None:
        open_slot().close()
        open_slot()

    def test_who_no_longer_owns_the_slot_publishes_nothing(self, open_slot: Open, tmp_path: Path) -> None:
        owns = [True]
        store = open_slot(owns=lambda: owns[0])
        store.save(snapshot(1))
        owns[0] = False
        with pytest.raises(SlotTaken, match="another start of this slot owns it"):
            store.save(snapshot(2))
        assert published(tmp_path / "0") == ["00000001-abc"]
        assert step_of(store.load_newest()) == 1

    def test_who_loses_the_slot_after_publishing_deletes_nothing(self, open_slot: Open, tmp_path: Path) -> None:
        answers = iter([True, True, True, False])
        store = open_slot(keep=1, owns=lambda: next(answers))
        store.save(snapshot(1))
        store.save(snapshot(2))
        assert published(tmp_path / "0") == ["00000001-abc", "00000002-abc"]

    def test_an_owner_that_can_not_be_asked_leaves_nothing_behind(self, open_slot: Open, tmp_path: Path) -> None:
        def owns() -> bool:
            raise Unavailable("Redis")

        with pytest.raises(Unavailable, match="Redis"):
            open_slot(owns=owns).save(snapshot(1))
        assert published(tmp_path / "0") == []

    def test_a_disk_that_knows_no_locks_is_not_another_process(
        self, open_slot: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fcntl, "flock", _failing(errno.ENOLCK))
        with pytest.raises(Unavailable):
            open_slot()


class TestFailingDisk:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
    @pytest.mark.parametrize("step", ["save_file", "sync", "os.replace"])
    def test_it_is_unavailable_and_the_older_one_stays(
        self, open_slot: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
    ) -> None:
        """Nothing half-written stays, and once the disk is well the same call goes through."""
        store = open_slot()
        store.save(snapshot(1))
        size = store.bytes
        with monkeypatch.context() as broken:
            broken.setattr(f"stream_worker.backends.checkpoint.slot.{step}", _failing(number))
            with pytest.raises(Unavailable, match=str(tmp_path)):
                store.save(Snapshot({"w": np.zeros(100)}, {"step": 2}))
        assert published(tmp_path / "0") == ["00000001-abc"]
        assert (step_of(store.load_newest()), store.bytes) == (1, size)
        store.save(snapshot(3))
        assert step_of(store.load_newest()) == 3

    def test_a_disk_that_is_full_in_earnest_is_unavailable(self, open_slot: Open, tmp_path: Path) -> None:
        """A limit on the size of files: the library that writes them reports it in its own way."""
        code = (
            "import resource, signal, sys, numpy as np\n"
            "from stream_worker.backends.checkpoint import CheckpointConfig, DirectoryCheckpoints\n"
            "from stream_worker.core.errors import Unavailable\n"
            "from stream_worker.core.interfaces import Snapshot\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "store = DirectoryCheckpoints(CheckpointConfig(sys.argv[1]), '0', 'abc')\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
            "try: store.save(Snapshot({'w': np.zeros(100_000)}))\n"
            "except Unavailable as fault: print('unavailable')\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        assert done.stdout == "unavailable\n"
        assert published(tmp_path / "0") == []

    def test_a_file_in_place_of_the_folder_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        config = CheckpointConfig(str(tmp_path / "file"))
        with pytest.raises(Unavailable, match="file"):
            DirectoryCheckpoints(config, "0", "abc")
        with pytest.raises(Unavailable, match="file"):
            DirectoryCheckpoints.describe(config, "0")

    def test_files_and_folders_are_synced_before_the_rename_and_the_rename_after_it(
        self, open_slot: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, sync, replace = open_slot(), disk.sync, os.replace
        done: list[str] = []

        def noted_sync(path: Path) -> None:
            done.append(path.name)
            sync(path)

        def noted_replace(*args: Path) -> None:
            done.append("rename")
            replace(*args)

        monkeypatch.setattr(writing, "sync", noted_sync)
        monkeypatch.setattr(os, "replace", noted_replace)
        store.save(snapshot(1))
        assert done == ["line.safetensors", "manifest.json", "00000001-abc.tmp", "rename", "0"]


class TestAnySlot:
    def test_a_path_that_is_not_there_has_none(self, tmp_path: Path) -> None:
        assert newest_of(tmp_path / "nowhere") is None
        assert newest_of(tmp_path) is None

    def test_the_one_written_last_is_found_whichever_slots(self, open_slot: Open, tmp_path: Path) -> None:
        """By what it says of itself: folders that were copied have other times, and slots count for themselves."""
        for slot, times in (("a", (10, 20, 30)), ("b", (25, 40)), ("c", (5,))):
            clock = iter(times)
            store = open_slot(slot, now=lambda clock=clock: float(next(clock)))
            for time in times:
                store.save(snapshot(time))
        for folder in tmp_path.glob("c/0*"):
            os.utime(folder, (4e9, 4e9))
        assert step_of(newest_of(tmp_path)) == 40

    def test_after_a_torn_one_comes_the_next_of_all_slots(self, open_slot: Open, tmp_path: Path) -> None:
        times = iter([10.0, 30.0])
        early = open_slot("a", now=lambda: next(times))
        early.save(snapshot(10))
        open_slot("b", now=lambda: 20.0).save(snapshot(20))
        early.save(snapshot(30))
        for name, logged in (("line.safetensors", 1), ("manifest.json", 1)):
            (tmp_path / "a" / "00000002-abc" / name).write_bytes(b"torn")
            with capture_logs() as logs:
                assert step_of(newest_of(tmp_path)) == 20
            assert len(logs) == logged

    def test_one_that_its_owner_removes_meanwhile_is_passed_over(
        self, open_slot: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Other slots live on, and keep only so many."""
        for time in (1.0, 2.0):
            open_slot(f"{time}", now=lambda time=time: time).save(snapshot(int(time)))
        listed = reading.checkpoints_in

        def list_then_lose(folder: Path) -> list[Path]:
            found = listed(folder)
            if folder.name == "2.0" and found:
                shutil.rmtree(found[0])
            return found

        monkeypatch.setattr(sources, "checkpoints_in", list_then_lose)
        assert step_of(newest_of(tmp_path)) == 1

    def test_other_files_and_folders_do_not_matter(self, open_slot: Open, tmp_path: Path) -> None:
        open_slot("a").save(snapshot(1))
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "empty").mkdir()
        (tmp_path / "a" / "old").mkdir()
        assert step_of(newest_of(tmp_path)) == 1


class TestDescribe:
    def test_it_says_that_the_folder_is_writable_and_what_is_there(self, open_slot: Open, tmp_path: Path) -> None:
        open_slot().save(snapshot(1))
        line = DirectoryCheckpoints.describe(CheckpointConfig(str(tmp_path)), "0")
        assert "writable, 1 checkpoint" in line
        assert len(line.splitlines()) == 1
        assert published(tmp_path / "0") == ["00000001-abc"]

    def test_it_does_not_need_the_slot(self, stuck_process: subprocess.Popen[str], tmp_path: Path) -> None:
        assert "1 checkpoint" in DirectoryCheckpoints.describe(CheckpointConfig(str(tmp_path)), "0")
