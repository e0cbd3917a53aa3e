"""Chooses the worker slot of this start, and holds it while the process lives.

A slot that the configuration names is taken as it is. `auto` is a StatefulSet's ordinal, or the first slot that nobody
has: no start holds it in the store, and the group has no member of it, or whoever held it is known to have ended.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from stream_worker.assembly import start_of
from stream_worker.backends.checkpoint import start_lock
from stream_worker.backends.kafka import look_at_group
from stream_worker.config import Settings
from stream_worker.core.errors import ConfigurationError, SlotTaken, StreamWorkerError
from stream_worker.core.interfaces import Holder, Slots
from stream_worker.logs import get_logger
from stream_worker.loop.worker_config import AUTO

_log = get_logger(__name__)
# A slot is held for so long beyond the last sign of life of a machine that went down. Not tuned.
_HELD_SECONDS = 30.0
_KEPT_EVERY_SECONDS = 5.0
# The group keeps a member that left for its session's timeout, and a little longer while it notices.
_NOTICING_SECONDS = 10.0
_SLOTS_TRIED = 1_000
_ORDINAL = re.compile(r".+-(0|[1-9][0-9]{0,3})")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class HeldSlot:
    """The slot of this start. Raises SlotTaken where a named slot has another live process on this machine.

    nonce: the name of this start.
    members: asks the group for its members, by the names of static ones. May raise Unavailable.
    """

    def __init__(
        self,
        settings: Settings,
        slots: Slots,
        nonce: str,
        members: Callable[[], Collection[str]] | None = None,
        environ: Mapping[str, str] = os.environ,
        host: str | None = None,
    ) -> None:
        self._settings, self._slots, self._nonce = settings, slots, nonce
        self._members = members or (lambda: look_at_group(settings.kafka).members)
        self._locks, self._ended = ExitStack(), threading.Event()
        self._holder: Holder | None = None
        self._keeper: threading.Thread | None = None
        self._locked_at = ""
        self.named = settings.worker.slot
        self._ordinal = ordinal(environ, socket.gethostname() if host is None else host)
        self.is_free_choice = self.named == AUTO and slots.durable and self._ordinal is None
        # `reset` wants the lock of `auto` alone, so it is refused while such a worker lives.
        self._lock(self.named, shared=self.named == AUTO)

    def take(self) -> str:
        """Return the slot; of `auto` take it now. May raise Unavailable: ask again. A second call changes nothing."""
        if self.named != AUTO:
            return self.named
        if self.is_free_choice:
            self.named = self._first_free()
            why = "the first one that no other worker has"
        elif self._ordinal is not None:
            self._lock(self._ordinal)
            self.named, why = self._ordinal, "the ordinal of this pod"
        else:
            self._lock("0")
            self.named, why = "0", "without Redis (memory.redis_url) a group has one worker"
        _log.info("slot chosen", slot=self.named, why=why)
        return self.named

    def hold(self) -> None:
        """Hold the slot from now on in the store, so that no start with `auto` takes it. May raise Unavailable."""
        self._slots.take_slot(self.named, self._nonce)
        self._holder = self._holder or Holder(self._nonce, self._locked_at)
        self._slots.keep_slot(self.named, self._holder, _HELD_SECONDS)
        self._begin_to_keep()

    def close(self) -> None:
        """Give the slot back: the next start may have it at once."""
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._holder is not None:
            seconds = self._settings.kafka.session_timeout_ms / 1000 + _NOTICING_SECONDS
            with suppress(StreamWorkerError):
                self._slots.give_slot_back(self.named, self._holder, seconds)
        self._locks.close()

    def _first_free(self) -> str:
        members, group = self._members(), self._settings.kafka.group_id
        for slot in map(str, range(_SLOTS_TRIED)):
            if self._claim(slot, member=f"{group}-{slot}" in members):
                self._begin_to_keep()
                return slot
        raise ConfigurationError(f"worker.slot: all slots from 0 to {_SLOTS_TRIED - 1} are taken")

    def _claim(self, slot: str, *, member: bool) -> bool:
        """Take the lock of a slot on this machine, then the slot in the store; False: another start has one of them."""
        with ExitStack() as undo:
            try:
                lock = undo.enter_context(start_lock(*self._start_of(slot)))
            except SlotTaken:
                return False
            holder = Holder(self._nonce, _place(lock))
            if not self._slots.claim_slot(slot, holder, _HELD_SECONDS, member=member):
                return False
            self._holder = holder
            self._locks.push(undo.pop_all())
        return True

    def _begin_to_keep(self) -> None:
        if self._keeper is None and self._slots.durable:
            self._keeper = threading.Thread(target=self._keep, name="slot", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        while not self._ended.wait(_KEPT_EVERY_SECONDS):
            assert self._holder is not None
            with suppress(StreamWorkerError):  # the loop says so, too, and waits
                if not self._slots.keep_slot(self.named, self._holder, _HELD_SECONDS):
                    _log.error("another start holds this worker's slot", slot=self.named)
                    return

    def _lock(self, slot: str, *, shared: bool = False) -> None:
        self._locked_at = _place(self._locks.enter_context(start_lock(*self._start_of(slot), shared=shared)))

    def _start_of(self, slot: str) -> tuple[Path, tuple[str, ...], str]:
        path, configured, _ = start_of(self._settings)
        return path, configured, slot


def ordinal(environ: Mapping[str, str], host: str) -> str | None:
    """Return the number at the end of a StatefulSet's pod name; None elsewhere.

    A Deployment's pods end in five letters and digits, other machines may be named after an address.
    """
    found = _ORDINAL.fullmatch(host) if "KUBERNETES_SERVICE_HOST" in environ else None
    return found[1] if found else None


def _place(lock: IO[bytes]) -> str:
    """Return a name for a lock's file that is the same for all processes under one running kernel, in whatever
    containers, and for no others; empty where the kernel has no name for its run."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        return ""
    stat = os.fstat(lock.fileno())
    return f"{boot}:{stat.st_dev}:{stat.st_ino}"
