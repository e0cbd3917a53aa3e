"""The checkpoints of one worker slot: only its live process writes them, and only the newest few are kept."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from stream_worker.backends.checkpoint import reading
from stream_worker.backends.checkpoint.config import CheckpointConfig
from stream_worker.backends.checkpoint.disk import locked, make_folder, sync, unavailable
from stream_worker.backends.checkpoint.reading import (
    ARRAYS,
    MANIFEST,
    NAME,
    UNFINISHED,
    checkpoints_in,
    checksum,
    sealed,
    sequence,
)
from stream_worker.core.amounts import amount
from stream_worker.core.checkpoint_format import FORMAT
from stream_worker.core.errors import SlotTaken
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import Snapshot

LOCK = "owner.lock"
# Mode bits: only the owner may read and write.
_OWNERS_ALONE = 0o600


class DirectoryCheckpoints:
    """Writes and reads the checkpoints of one slot. Raises SlotTaken while another live process holds the slot's lock.

    config: `path` is the folder of the source; `keep` is the number of checkpoints to keep.
    nonce: random text (0-9, a-z) of this start of the worker, a part of the names of its checkpoints.
    owns: asked before a checkpoint is published or deleted, so that a former owner that had stalled changes nothing.
    now: the time in seconds since 1970.
    reached: called at each fault point.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        slot: str,
        nonce: str,
        owns: Callable[[], bool] = lambda: True,
        now: Callable[[], float] = time.time,
        reached: Reached = no_fault,
    ) -> None:
        self._keep = config.keep
        self._folder = Path(config.path) / slot
        self._nonce = nonce
        self._owns = owns
        self._now = now
        self._reached = reached
        self.bytes = 0
        if not NAME.fullmatch(f"00000000-{nonce}"):
            raise ValueError(f"checkpoint nonce: must be of 0-9 and a-z, got {nonce!r}")
        with unavailable(self._folder):
            make_folder(self._folder)
            self._lock = locked(self._folder / LOCK, slot)
            self._sequence = max((sequence(folder) for folder in checkpoints_in(self._folder)), default=0)

    def save(self, snapshot: Snapshot) -> None:
        self._sequence += 1
        final = self._folder / f"{self._sequence:08d}-{self._nonce}"
        beside = final.with_name(final.name + UNFINISHED)
        with unavailable(self._folder):
            try:
                self._reached("checkpoint.before")
                size = self._write(beside, snapshot)
                self._reached("checkpoint.written")
                if not self._owns():
                    raise SlotTaken(f"{self._folder}: another start of this slot owns it now")
                os.replace(beside, final)
                sync(self._folder)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
            self.bytes = size
            self._reached("checkpoint.published")
            if self._owns():
                self._clean()
            self._reached("checkpoint.cleaned")

    def _write(self, folder: Path, snapshot: Snapshot) -> int:
        """Write all files of a checkpoint and sync them. Returns the size of the arrays' file in bytes."""
        folder.mkdir(mode=0o700)
        arrays, manifest = folder / ARRAYS, folder / MANIFEST
        save_file({name: _in_order(array) for name, array in snapshot.arrays.items()}, arrays)
        size = arrays.stat().st_size
        self._reached("checkpoint.arrays")
        files = {ARRAYS: {"sha256": checksum(arrays), "bytes": size}}
        fields = {"format": FORMAT, "created": self._now(), "files": files, "meta": dict(snapshot.meta)}
        manifest.touch(mode=_OWNERS_ALONE)
        manifest.write_bytes(sealed(fields))
        for path in (arrays, manifest, folder):
            sync(path)
        return size

    def load_newest(self) -> Snapshot | None:
        return reading.newest_in(self._folder)

    def close(self) -> None:
        self._lock.close()

    def _clean(self) -> None:
        """Delete all checkpoints but the newest few, and unfinished ones of starts that died."""
        for folder in checkpoints_in(self._folder)[self._keep :]:
            shutil.rmtree(folder, ignore_errors=True)
        for leftover in self._folder.glob("*" + UNFINISHED):
            shutil.rmtree(leftover, ignore_errors=True)

    @staticmethod
    def describe(config: CheckpointConfig, slot: str | None) -> str:
        """Describe the folder in one line, for `check`. Raises Unavailable if nothing can be written there.

        slot: None for the checkpoints of all slots.
        """
        path = Path(config.path)
        with unavailable(path):
            make_folder(path)
            with tempfile.TemporaryDirectory(UNFINISHED, "probe-", path) as probe:
                (Path(probe) / "probe").write_bytes(b"probe")
            free = shutil.disk_usage(path).free
            slots = [*path.glob(slot or "*"), *path.glob(f"*/{slot or '*'}")]
        count = sum(len(checkpoints_in(folder)) for folder in slots)
        of = "all slots" if slot is None else f"slot {slot!r}"
        return f"{path}: writable, {amount(count, 'checkpoint')} of {of}, {free / 1e9:.1f} GB free"


def _in_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in C order: safetensors (0.8) ignores strides and would write a transposed array wrongly."""
    return array if array.flags.c_contiguous else np.array(array, order="C")
