"""`kernel`: compiles a function with numba, and keeps the result on disk until any source of this package changes.

numba itself looks only at the file that a function stands in. It does not see a change in another file of what the
function calls (as its documentation says), and would keep using the older version after an upgrade.

Kernels do not allocate, so they are compiled without numba's runtime: counting references to arrays, which are never
released here, took as long as all the rest (docs/experiments/cheaper-learning.md).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numba

_PACKAGE = Path(__file__).parent
_config: Any = numba.config
_njit: Any = numba.njit  # its types do not declare `_nrt`


def _cache_folder() -> Path | None:
    """Return a folder for this state of the sources, in the first place that can be written; None: there is none."""
    state = hashlib.blake2b(digest_size=8)
    for source in sorted(_PACKAGE.rglob("*.py")):
        state.update(source.read_bytes())
    for place in chain(_lasting(), _fleeting()):  # lazily, since `_fleeting` makes a folder
        if _can_be_written(folder := place / f"kernels-{state.hexdigest()}"):
            return folder
    return None


def _lasting() -> Iterator[Path]:
    """Yield the places that outlive a restart: the one that numba is told, else beside the sources, then ~/.cache."""
    if _config.CACHE_DIR:
        yield Path(_config.CACHE_DIR)
        return
    yield _PACKAGE / "__pycache__"
    with suppress(RuntimeError):  # the user has no home folder
        yield Path.home() / ".cache" / "stream-worker"


def _fleeting() -> Iterator[Path]:
    with suppress(OSError):  # there is no temporary folder either
        yield _temporary()


def _temporary() -> Path:
    """Return a temporary folder; the same one at every start only if no other user can write to it.

    numba runs whatever it finds in the folder.
    """
    folder = Path(tempfile.gettempdir()) / f"stream-worker-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o040000:
        return folder
    return Path(tempfile.mkdtemp(prefix="stream-worker-"))


def _can_be_written(folder: Path) -> bool:
    """Try to write a file: permissions alone don't tell, since root has all of them on a read-only mount, too."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _note(folder: Path | None) -> str:
    """Return a note for people if compiled code will not be kept, empty if it will."""
    if folder is None:
        return "compiled code is kept nowhere, and compiled again at every start: set NUMBA_CACHE_DIR to a folder"
    if any(folder.is_relative_to(place) for place in _lasting()):
        return ""
    told = _config.CACHE_DIR
    why = f"{told} can't be written" if told else "neither the installation nor ~/.cache can be written"
    return f"compiled code is kept in {folder.parent}, since {why}: set NUMBA_CACHE_DIR to a folder that stays"


_folder = _cache_folder()
NOTE = _note(_folder)
_config.CACHE_DIR = str(_folder or "")


def are_compiled() -> bool:
    """Return True if compiled code of the present sources is on disk."""
    return _folder is not None and next(_folder.rglob("*.nbi"), None) is not None


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = _njit(cache=_folder is not None, nogil=True, _nrt=False)(function)
    return compiled
