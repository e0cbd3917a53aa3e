"""Checkpoint folders: whole or passed over, one owner a slot, an older one whenever the newest is in doubt."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import orjson
import pytest

from stream_worker.backends import checkpoint
from stream_worker.backends.checkpoint import CheckpointConfig, DirectoryCheckpoints, newest_of_any_slot
from stream_worker.backends.in_memory import InMemoryCheckpoints
from stream_worker.core.errors import SlotTaken, Unavailable
from stream_worker.core.interfaces import CheckpointStore, Snapshot

Make = Callable[..., DirectoryCheckpoints]
_HOLD = """
import sys, time
from stream_worker.backends.checkpoint import CheckpointConfig, DirectoryCheckpoints
held = DirectoryCheckpoints(CheckpointConfig(path=sys.argv[1]), "0", "aaaa")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(slot="0", nonce="aaaa", keep=3, owns=...)`: checkpoints below one folder, closed at the end."""
    made: list[DirectoryCheckpoints] = []

    def build(slot: str = "0", nonce: str = "aaaa", keep: int = 3, **more: Callable[[], bool]) -> DirectoryCheckpoints:
        made.append(DirectoryCheckpoints(CheckpointConfig(path=str(tmp_path), keep=keep), slot, nonce, **more))
        return made[-1]

    yield build
    for store in made:
        store.close()


def snapshot(n: int) -> Snapshot:
    return Snapshot({"weights": np.arange(n, n + 50, dtype=np.float32)}, {"n": n, "text": "ü", "share": 0.1 + n})


def number(found: Snapshot | None) -> int | None:
    """Which `snapshot(n)` it is, to the last value."""
    if found is None:
        return None
    n = int(found.meta["n"])
    assert same(found, snapshot(n))
    return n


def same(one: Snapshot, other: Snapshot) -> bool:
    return (
        one.meta == other.meta
        and one.arrays.keys() == other.arrays.keys()
        and all(
            array.dtype == other.arrays[name].dtype
            and array.shape == other.arrays[name].shape
            and array.tobytes() == other.arrays[name].tobytes()
            for name, array in one.arrays.items()
        )
    )


def folders(tmp_path: Path, slot: str = "0") -> list[str]:
    """Everything in the slot's folder but the lock."""
    return sorted(path.name for path in (tmp_path / slot).iterdir() if path.name != "owner.lock")


def newest(tmp_path: Path, slot: str = "0") -> Path:
    return tmp_path / slot / folders(tmp_path, slot)[-1]


class TestRoundTrip:
    @pytest.mark.parametrize("twin", [False, True])
    def test_what_was_saved_last_is_loaded(self, make: Make, twin: bool) -> None:
        store: CheckpointStore = InMemoryCheckpoints() if twin else make()
        assert store.load_newest() is None
        for n in (1, 2):
            store.save(snapshot(n))
            assert number(store.load_newest()) == n
        assert store.bytes >= 200

    @pytest.mark.parametrize(
        "dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "?"]
    )  # fmt: skip
    @pytest.mark.parametrize("shape", [(7,), (0,), (0, 3), (), (2, 3, 4)])
    def test_arrays_come_back_to_the_bit(self, make: Make, dtype: str, shape: tuple[int, ...]) -> None:
        """Every type that a state has, NaN, infinities and the extremes included, and none of it aligned."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.random.default_rng(0).integers(0, 2 if dtype == "?" else 256, size, dtype=np.uint8)
        wanted = Snapshot({"odd": np.ones(3, np.uint8), "a.b": raw.view(dtype).reshape(shape)})
        store = make()
        store.save(wanted)
        found = store.load_newest()
        assert found is not None
        assert same(found, wanted)

    def test_the_order_in_memory_does_not_matter(self, make: Make) -> None:
        """Transposed, strided, reversed and broadcast arrays are saved as what they look like."""
        base = np.arange(24, dtype=np.int32).reshape(4, 6)
        views = {"t": base.T, "s": base[::2, 1::2], "r": base[::-1], "b": np.broadcast_to(base[0], (3, 6))}
        store = make()
        store.save(Snapshot(views))
        found = store.load_newest()
        assert found is not None
        for name, view in views.items():
            assert np.array_equal(found.arrays[name], view), name

    def test_meta_comes_back_as_it_was(self, make: Make) -> None:
        """Order of keys, deep values, numbers that are exact in no decimal form, 64-bit integers."""
        meta = {"z": [1, 2.5, None, True, "ü\n"], "a": {"b": {"c": 0.1 + 0.2}}, "big": 2**63 - 1, "empty": {}}
        store = make()
        store.save(Snapshot({}, meta))
        found = store.load_newest()
        assert found is not None
        assert (found.meta, dict(found.arrays)) == (meta, {})

    def test_another_start_of_the_slot_goes_on(self, make: Make, tmp_path: Path) -> None:
        """Its folders carry its own nonce and come after the earlier ones."""
        first = make()
        first.save(snapshot(1))
        first.close()
        second = make(nonce="bbbb")
        assert number(second.load_newest()) == 1
        second.save(snapshot(2))
        assert folders(tmp_path) == ["00000001-aaaa", "00000002-bbbb"]
        assert number(second.load_newest()) == 2


class TestDamage:
    def test_a_flipped_bit_anywhere_in_the_arrays_is_found(self, make: Make, tmp_path: Path) -> None:
        store = self.two(make)
        whole = (file := newest(tmp_path) / "line.safetensors").read_bytes()
        for place in range(len(whole)):
            file.write_bytes(flipped(whole, place, place % 8))
            assert number(store.load_newest()) == 1, place
        file.write_bytes(whole)
        assert number(store.load_newest()) == 2

    def test_a_flipped_bit_anywhere_in_the_manifest_never_gives_anything_else(self, make: Make, tmp_path: Path) -> None:
        """What the checkpoint says is never changed by it; nearly always the older one is used."""
        store = self.two(make)
        whole = (file := newest(tmp_path) / "manifest.json").read_bytes()
        used = []
        for place in range(8 * len(whole)):
            file.write_bytes(flipped(whole, place // 8, place % 8))
            used.append(number(store.load_newest()))
        assert set(used) <= {1, 2}
        assert used.count(1) > 0.95 * len(used)

    @pytest.mark.parametrize("name", ["line.safetensors", "manifest.json"])
    def test_a_cut_or_missing_file_is_found(self, make: Make, tmp_path: Path, name: str) -> None:
        store = self.two(make)
        whole = (file := newest(tmp_path) / name).read_bytes()
        for length in (0, 1, 8, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:length])
            assert number(store.load_newest()) == 1, length
        file.write_bytes(whole + b"\0")
        assert number(store.load_newest()) == 1
        file.unlink()
        assert number(store.load_newest()) == 1

    @pytest.mark.parametrize(
        "manifest",
        [
            b"{}",
            b"[]",
            b"null",
            b"1",
            b'"x"',
            b"\xff",
            b'{"format":1}',
            b'{"format":1,"files":1,"meta":{}}',
            b"{" * 500,
        ],
    )
    def test_a_manifest_that_is_something_else_is_passed_over(
        self, make: Make, tmp_path: Path, manifest: bytes
    ) -> None:
        store = self.two(make)
        (newest(tmp_path) / "manifest.json").write_bytes(manifest)
        assert number(store.load_newest()) == 1

    def test_a_format_of_the_future_is_passed_over_and_said_aloud(self, make: Make, tmp_path: Path) -> None:
        store = self.two(make)
        file = newest(tmp_path) / "manifest.json"
        file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | {"format": checkpoint.FORMAT + 1}))
        with mock.patch.object(checkpoint._log, "error") as said:
            assert number(store.load_newest()) == 1
        assert "expected format 1, got 2" in said.call_args.kwargs["reason"]

    def test_a_file_in_place_of_a_folder_is_passed_over(self, make: Make, tmp_path: Path) -> None:
        store = self.two(make)
        shutil.rmtree(newest(tmp_path))
        (tmp_path / "0" / "00000009-cccc").write_bytes(b"")
        assert number(store.load_newest()) == 1

    def test_when_all_are_torn_there_is_none(self, make: Make, tmp_path: Path) -> None:
        store = self.two(make)
        for folder in folders(tmp_path):
            (tmp_path / "0" / folder / "manifest.json").write_bytes(b"")
        assert store.load_newest() is None

    def test_after_a_torn_one_the_next_is_the_newest(self, make: Make, tmp_path: Path) -> None:
        first = self.two(make)
        (newest(tmp_path) / "manifest.json").write_bytes(b"")
        first.close()
        again = make(nonce="bbbb")
        again.save(snapshot(3))
        assert number(again.load_newest()) == 3

    def two(self, make: Make) -> DirectoryCheckpoints:
        store = make()
        store.save(snapshot(1))
        store.save(snapshot(2))
        return store


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


class TestKeeping:
    @pytest.mark.parametrize("keep", [1, 2, 5])
    def test_only_so_many_are_kept(self, make: Make, tmp_path: Path, keep: int) -> None:
        store = make(keep=keep)
        for n in range(1, 12):
            store.save(snapshot(n))
            assert len(folders(tmp_path)) == min(n, keep)
        assert folders(tmp_path)[-1] == "00000011-aaaa"

    def test_what_dead_starts_left_half_written_is_removed(self, make: Make, tmp_path: Path) -> None:
        """And never read: a folder that was not renamed is not a checkpoint, even a whole one."""
        store = make()
        store.save(snapshot(1))
        shutil.copytree(newest(tmp_path), tmp_path / "0" / "00000007-dead.tmp")
        assert number(store.load_newest()) == 1
        store.save(snapshot(2))
        assert folders(tmp_path) == ["00000001-aaaa", "00000002-aaaa"]

    def test_what_is_no_checkpoint_is_left_alone(self, make: Make, tmp_path: Path) -> None:
        store = make(keep=1)
        (tmp_path / "0" / "notes").mkdir()
        store.save(snapshot(1))
        store.save(snapshot(2))
        assert folders(tmp_path) == ["00000002-aaaa", "notes"]

    def test_the_files_are_on_the_disk_before_the_name(self, make: Make) -> None:
        """Data, manifest, the folder; then the rename; then the folder above it."""
        order: list[str] = []
        store = make()

        def note_sync(descriptor: int) -> None:
            order.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

        def note_rename(source: Path, target: Path) -> None:
            order.append("renamed")
            os.rename(source, target)

        with mock.patch.object(os, "fsync", note_sync), mock.patch.object(os, "replace", note_rename):
            store.save(snapshot(1))
        assert order == ["line.safetensors", "manifest.json", "00000001-aaaa.tmp", "renamed", "0"]


class TestOwnership:
    def test_a_slot_has_one_live_process(self, make: Make, tmp_path: Path) -> None:
        """A real process; killed, it lets go at once. Another slot is free all the while."""
        with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(SlotTaken, match="slot '0'"):
                make()
            make(slot="1")
            process.send_signal(signal.SIGKILL)
            process.wait()
        make().save(snapshot(1))

    def test_a_second_one_in_this_process_is_refused_until_the_first_is_closed(self, make: Make) -> None:
        first = make()
        with pytest.raises(SlotTaken):
            make()
        first.close()
        make()

    def test_a_file_system_without_locks_is_not_another_process(self, make: Make) -> None:
        fault = OSError(errno.ENOLCK, "No locks available")
        with mock.patch.object(checkpoint.fcntl, "flock", side_effect=fault), pytest.raises(Unavailable, match="locks"):
            make()

    def test_a_start_that_lost_its_slot_publishes_and_deletes_nothing(self, make: Make, tmp_path: Path) -> None:
        """Though all it has is there to be deleted: more than `keep`, and another's half-written folder."""
        owns = True
        store = make(keep=2, owns=lambda: owns)
        store.save(snapshot(1))
        store.save(snapshot(2))
        (tmp_path / "0" / "00000003-bbbb.tmp").mkdir()
        owns = False
        before = contents(tmp_path)
        with pytest.raises(Unavailable, match="owns it now"):
            store.save(snapshot(3))
        assert contents(tmp_path) == before
        assert number(store.load_newest()) == 2

    def test_whether_it_owns_is_asked_after_the_writing(self, make: Make, tmp_path: Path) -> None:
        """A start that stalls while it writes is the one to be stopped."""
        seen: list[list[str]] = []
        make(owns=lambda: not seen.append(folders(tmp_path))).save(snapshot(1))  # type: ignore[func-returns-value]
        assert seen == [["00000001-aaaa.tmp"]]


def contents(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() if file.is_file() else b"" for file in sorted(path.rglob("*"))}


class TestFailingDisk:
    @pytest.mark.parametrize("what", ["save_file", "fsync", "replace", "write_bytes", "mkdir"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
    def test_a_failing_disk_is_unavailable_and_the_older_one_stays(
        self, make: Make, tmp_path: Path, what: str, code: int
    ) -> None:
        """Whichever step fails, nothing half-written is left, and the next save works."""
        store = make()
        store.save(snapshot(1))
        place: Any = {"save_file": checkpoint, "fsync": os, "replace": os}.get(what, Path)
        fault = OSError(code, os.strerror(code))
        with mock.patch.object(place, what, side_effect=fault), pytest.raises(Unavailable, match=os.strerror(code)):
            store.save(snapshot(2))
        assert folders(tmp_path) == ["00000001-aaaa"]
        assert number(store.load_newest()) == 1
        store.save(snapshot(3))
        assert number(store.load_newest()) == 3

    def test_a_disk_that_is_really_full_is_unavailable(self, make: Make, tmp_path: Path) -> None:
        """A file size limit stands for it: the kernel refuses the write inside safetensors itself."""
        script = """
import resource, signal, sys
import numpy as np
from stream_worker.backends.checkpoint import CheckpointConfig, DirectoryCheckpoints
from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import Snapshot
store = DirectoryCheckpoints(CheckpointConfig(path=sys.argv[1]), "0", "bbbb")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    store.save(Snapshot({"big": np.zeros(1_000_000)}))
except Unavailable as fault:
    print("unavailable", store.load_newest().meta["n"])
"""
        first = make()
        first.save(snapshot(1))
        first.close()
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.stdout == "unavailable 1\n", done.stderr
        assert folders(tmp_path) == ["00000001-aaaa"]

    def test_a_place_that_cannot_be_a_folder_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        config = CheckpointConfig(path=str(tmp_path / "file"))
        with pytest.raises(Unavailable):
            DirectoryCheckpoints(config, "0", "aaaa")
        with pytest.raises(Unavailable):
            DirectoryCheckpoints.describe(config, "0")


class TestAnySlot:
    def test_the_newest_of_all_slots_is_found(self, make: Make, tmp_path: Path) -> None:
        assert newest_of_any_slot(tmp_path / "nowhere") is None
        assert newest_of_any_slot(tmp_path) is None
        self.three(make, tmp_path)
        (tmp_path / "file").write_bytes(b"")
        assert number(newest_of_any_slot(tmp_path)) == 3

    def test_a_torn_one_is_passed_over_for_the_next_newest_whichever_slot_it_is_of(
        self, make: Make, tmp_path: Path
    ) -> None:
        """Not for an older one of the same slot."""
        self.three(make, tmp_path)
        (newest(tmp_path, "b") / "line.safetensors").write_bytes(b"torn")
        assert number(newest_of_any_slot(tmp_path)) == 2
        (newest(tmp_path, "a") / "line.safetensors").write_bytes(b"torn")
        assert number(newest_of_any_slot(tmp_path)) == 1

    def test_one_that_its_owner_removes_meanwhile_is_passed_over(self, make: Make, tmp_path: Path) -> None:
        self.three(make, tmp_path)
        gone = newest(tmp_path, "b")
        listed = checkpoint._folders

        def list_then_lose(folder: Path) -> list[Path]:
            found = listed(folder)
            if folder == gone.parent:
                shutil.rmtree(gone, ignore_errors=True)
            return found

        with mock.patch.object(checkpoint, "_folders", list_then_lose):
            assert number(newest_of_any_slot(tmp_path)) == 2

    def test_it_needs_no_lock(self, make: Make, tmp_path: Path) -> None:
        """The owner of the slot lives and goes on."""
        store = make()
        store.save(snapshot(1))
        assert number(newest_of_any_slot(tmp_path)) == 1
        store.save(snapshot(2))

    def three(self, make: Make, tmp_path: Path) -> None:
        """1 and 3 are of slot b, 2 of slot a; written in this order, an hour apart."""
        stores = {slot: make(slot) for slot in "ab"}
        for n, slot in ((1, "b"), (2, "a"), (3, "b")):
            stores[slot].save(snapshot(n))
            for path in (newest(tmp_path, slot) / "manifest.json", newest(tmp_path, slot)):
                os.utime(path, (3600 * n, 3600 * n))


def test_check_says_what_is_there_and_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    store = make()
    store.save(snapshot(1))
    line = DirectoryCheckpoints.describe(CheckpointConfig(path=str(tmp_path)), "0")
    assert line.startswith(f"{tmp_path / '0'}: writable, 1 checkpoints")
    assert folders(tmp_path) == ["00000001-aaaa"]


@pytest.mark.parametrize(
    "wrong", [{"path": ""}, {"keep": 0}, {"interval_seconds": 0.0}, {"interval_seconds": float("nan")}]
)
def test_a_setting_out_of_bounds_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"checkpoint.{next(iter(wrong))}"):
        CheckpointConfig(**wrong)
