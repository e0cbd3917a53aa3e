"""What a start of a slot holds before Kafka has told which source it reads, so that a second one is refused at once.

By what the configuration says alone; the lock in the slot's folder has the last word.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from stream_worker.backends.checkpoint.disk import locked, make_folder, unavailable

_FOLDER = ".starts"


def start_lock(path: Path, configured: tuple[str, ...], slot: str) -> IO[bytes]:
    """Held until it is closed. `configured`: what tells this source from others. Raises SlotTaken."""
    file = start_lock_file(path, configured, slot)
    with unavailable(file.parent):
        make_folder(file.parent)
        return locked(file, slot)


def start_lock_file(path: Path, configured: tuple[str, ...], slot: str) -> Path:
    told = hashlib.blake2b("\0".join(configured).encode(), digest_size=8).hexdigest()
    return path / _FOLDER / f"{told}.{slot}.lock"
