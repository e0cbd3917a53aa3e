"""What is compiled is kept until a source changes, also one in another file than the function's."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import counting, kernels


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sources in place of this package's."""
    for name in ("caller.py", "callee.py"):
        (tmp_path / name).write_text("one = 1\n")
    monkeypatch.setattr(kernels, "_PACKAGE", tmp_path)
    monkeypatch.setattr(kernels._config, "CACHE_DIR", "")
    return tmp_path


def test_kernels_are_kept_in_that_folder() -> None:
    assert counting._walk.stats.cache_path.startswith(kernels._config.CACHE_DIR)


def test_another_source_is_another_folder(package: Path) -> None:
    before = kernels._cache_folder()
    assert before == kernels._cache_folder()
    assert before.parent == package / "__pycache__"
    (package / "callee.py").write_text("one = 2\n")
    assert kernels._cache_folder() != before


def test_a_package_that_cannot_be_written_keeps_them_with_the_user(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels.os, "access", lambda path, mode: False)
    assert kernels._cache_folder().parent == Path.home() / ".cache" / "stream-worker"


def test_a_folder_of_numbas_own_setting_is_respected(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels._config, "CACHE_DIR", "/somewhere")
    assert kernels._cache_folder().parent == Path("/somewhere")
