"""What is compiled is kept until a source changes, also one in another file than the function's."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from model import kernels
from model.counting import walk as counting

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sources in place of this package's."""
    for name in ("caller.py", "callee.py"):
        (tmp_path / name).write_text("one = 1\n")
    monkeypatch.setattr(kernels, "_PACKAGE", tmp_path)
    monkeypatch.setattr(kernels._config, "CACHE_DIR", "")
    return tmp_path


def test_kernels_are_kept_in_that_folder() -> None:
    dispatcher: Any = counting._walk  # numba's types do not declare `stats`
    assert dispatcher.stats.cache_path.startswith(kernels._config.CACHE_DIR)


def test_another_source_is_another_folder(package: Path) -> None:
    before = kernels._cache_folder()
    assert before is not None
    assert before == kernels._cache_folder()
    assert before.parent == package / "__pycache__"
    (package / "callee.py").write_text("one = 2\n")
    assert kernels._cache_folder() != before


def test_a_source_in_a_folder_that_changed_is_another_folder_too(package: Path) -> None:
    (package / "wing").mkdir()
    (package / "wing" / "kernel.py").write_text("one = 1\n")
    before = kernels._cache_folder()
    (package / "wing" / "kernel.py").write_text("one = 2\n")
    assert kernels._cache_folder() != before


def test_compiled_code_is_found_once_numba_has_written_it(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kernels._cache_folder()
    assert folder is not None
    monkeypatch.setattr(kernels, "_folder", folder)
    assert not kernels.are_compiled()
    (folder / "sources").mkdir()
    (folder / "sources" / "kernel.nbi").touch()
    assert kernels.are_compiled()


def refusing(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """Nothing can be made below these, by root neither, as on a file system that is mounted read-only."""
    usual = Path.mkdir

    def mkdir(self: Path, *args: Any, **more: Any) -> None:
        if any(self.is_relative_to(place) for place in places):
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        usual(self, *args, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_package_that_cannot_be_written_keeps_them_with_the_user(
    package: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, package / "__pycache__")
    folder = kernels._cache_folder()
    assert folder is not None
    assert folder.parent == home / ".cache" / "stream-worker"
    assert kernels._note(folder) == ""


def test_where_neither_can_be_written_they_go_to_a_temporary_folder_and_that_is_said(
    package: Path, home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, package / "__pycache__", home)
    folder = kernels._cache_folder()
    assert folder is not None
    assert folder.parent == temporary / f"stream-worker-{os.getuid()}"
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert folder == kernels._cache_folder(), "a second start finds what the first one compiled"
    assert "set NUMBA_CACHE_DIR" in kernels._note(folder)


def test_a_temporary_folder_that_others_may_write_is_left_to_them(
    package: Path, home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba runs what it finds there."""
    refusing(monkeypatch, package / "__pycache__", home)
    (temporary / f"stream-worker-{os.getuid()}").mkdir()
    (temporary / f"stream-worker-{os.getuid()}").chmod(0o777)
    folder = kernels._cache_folder()
    assert folder is not None
    assert folder.parent.parent == temporary
    assert folder.parent.name != f"stream-worker-{os.getuid()}"


def test_where_nothing_can_be_written_nothing_is_kept(
    package: Path, home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, package / "__pycache__", home, temporary)
    assert kernels._cache_folder() is None
    assert "compiled again at every start" in kernels._note(None)


def test_a_folder_of_numbas_own_setting_is_respected(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels._config, "CACHE_DIR", str(package / "somewhere"))
    folder = kernels._cache_folder()
    assert folder is not None
    assert folder.parent == package / "somewhere"
    assert kernels._note(folder) == ""


def test_a_setting_that_cannot_be_written_is_named(
    package: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, package / "somewhere")
    monkeypatch.setattr(kernels._config, "CACHE_DIR", str(package / "somewhere"))
    folder = kernels._cache_folder()
    assert folder is not None
    assert folder.is_relative_to(temporary)
    assert f"{package / 'somewhere'} can't be written" in kernels._note(folder)


def test_an_installation_that_is_read_only_works_and_says_so(tmp_path: Path) -> None:
    """As in a unit with ProtectSystem and without a home: a kernel is compiled, kept and run all the same."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, to mount the sources read-only")
    code = (
        "import numpy; from model import kernels; from model.counting import categories; print(kernels.NOTE); "
        "found = numpy.zeros(3, int); categories.assign(found, 1, 7); print(found)"
    )
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 9; cd "$1"; exec "$2" -c "$3"'
    environ = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    ended = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", str(ROOT), sys.executable, code],
        capture_output=True, text=True, check=False, env={**environ, "HOME": "/proc/none", "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    if ended.returncode in (1, 9) and ("unshare" in ended.stderr or "mount" in ended.stderr):
        pytest.skip(f"nothing can be mounted here: {ended.stderr.strip()}")
    assert ended.returncode == 0, ended.stderr
    note, result = ended.stdout.splitlines()
    assert note.startswith(f"compiled code is kept in {tmp_path}/stream-worker-0")
    assert result == "[0 7 0]"
    assert list(tmp_path.glob("stream-worker-0/kernels-*/*/*.nbi")), "what was compiled is there"
