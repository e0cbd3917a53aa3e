"""`kernel`: a function compiled by numba, kept on disk until any source of this package changes.

numba itself looks only at the file that a function stands in: it does not see that what the function calls has changed
in another file (as its documentation says), and would go on with the older version after an upgrade.

Kernels do not allocate, so they go without numba's runtime: to count references to arrays, which are never released
here, took as long as all the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_PACKAGE = Path(__file__).parent
_config: Any = numba.config
_njit: Any = numba.njit  # its types do not declare `_nrt`


def _cache_folder() -> Path:
    """Beside the sources where that can be written, else the user's own; a folder for each state of the sources."""
    state = hashlib.blake2b(digest_size=8)
    for source in sorted(_PACKAGE.glob("*.py")):
        state.update(source.read_bytes())
    usual = _PACKAGE / "__pycache__" if os.access(_PACKAGE, os.W_OK) else Path.home() / ".cache" / "stream-worker"
    return Path(_config.CACHE_DIR or usual) / f"kernels-{state.hexdigest()}"


_config.CACHE_DIR = str(_cache_folder())


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = _njit(cache=True, nogil=True, _nrt=False)(function)
    return compiled
