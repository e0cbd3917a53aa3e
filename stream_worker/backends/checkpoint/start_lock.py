"""A lock that a starting worker takes before Kafka has answered, so that a second start of the slot fails at once.

Its name comes from the configuration only. Once the source's ids are known, the lock in the slot's folder decides.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from stream_worker.backends.checkpoint.disk import locked, make_folder, unavailable

_FOLDER = ".starts"


def start_lock(path: Path, configured: tuple[str, ...], slot: str, *, shared: bool = False) -> IO[bytes]:
    """Take the lock, which is held until the returned file is closed. Raises SlotTaken.

    path: the configured folder of checkpoints.
    configured: the settings that tell this source from others (such as bootstrap servers, topic, group).
    shared: others may share the lock; who wants it alone is refused meanwhile.
    """
    file = start_lock_file(path, configured, slot)
    with unavailable(file.parent):
        make_folder(file.parent)
        return locked(file, slot, shared=shared)


def start_lock_file(path: Path, configured: tuple[str, ...], slot: str) -> Path:
    told = hashlib.blake2b("\0".join(configured).encode(), digest_size=8).hexdigest()
    return path / _FOLDER / f"{told}.{slot}.lock"
