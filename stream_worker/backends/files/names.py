"""Names of recorded logs, and of files of items: they differ where bytes or their meaning do."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from stream_worker.core.errors import ConfigurationError

_HASHED_BYTES = 1 << 20  # bytes at the beginning of each file that name the log; not tuned, and fixed by existing names


def file_name(what: str, paths: Sequence[Path], meaning: bytes) -> str:
    """Return `file:<first file>:<hash>` over what rows mean, and the size and first bytes of each file.

    what: what the files are, for the error.

    Raises ConfigurationError for a file that can't be read.
    """
    digest = hashlib.sha256(meaning)
    try:
        for path in paths:
            with path.open("rb") as file:
                digest.update(f"|{path.stat().st_size}|".encode() + file.read(_HASHED_BYTES))
    except OSError as fault:
        raise ConfigurationError(f"{what} {fault.filename}: {fault.strerror}") from fault
    return f"file:{paths[0].name}:{digest.hexdigest()[:12]}"
