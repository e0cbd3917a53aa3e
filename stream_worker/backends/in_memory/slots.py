"""The holders of worker slots in memory."""

from __future__ import annotations

import threading
import time

from stream_worker.core.interfaces import Clock, Holder


class InMemorySlots:
    """Holders of slots, and until when each holds its. `clock`: None for the machine's own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._monotonic = clock.monotonic if clock else time.monotonic
        self._one_at_a_time = threading.Lock()
        self._held: dict[str, tuple[Holder | None, float]] = {}

    def end_others(self, slot: str, nonce: str) -> None:
        """End the holding of another start."""
        held = self._of(slot)
        if held is not None and held.nonce != nonce:
            del self._held[slot]

    def claim_slot(self, slot: str, holder: Holder, seconds: float, *, member: bool) -> bool:
        """See `interfaces.Slots`."""
        with self._one_at_a_time:
            if not self._is_free(slot, holder, member):
                return False
            self._held[slot] = holder, self._monotonic() + seconds
        return True

    def keep_slot(self, slot: str, holder: Holder, seconds: float) -> bool:
        """See `interfaces.Slots`."""
        if self._of(slot) not in (None, holder):
            return False
        self._held[slot] = holder, self._monotonic() + seconds
        return True

    def give_slot_back(self, slot: str, holder: Holder, seconds: float) -> None:
        """See `interfaces.Slots`."""
        if self._of(slot) == holder:
            self._held[slot] = None, self._monotonic() + seconds

    def _is_free(self, slot: str, holder: Holder, member: bool) -> bool:
        if slot not in self._held or self._held[slot][1] <= self._monotonic():
            return not member
        held = self._of(slot)
        return held is None or (held.place == holder.place != "")

    def _of(self, slot: str) -> Holder | None:
        held, until = self._held.get(slot, (None, 0.0))
        return held if until > self._monotonic() else None
