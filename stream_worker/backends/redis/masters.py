"""Notices when a Redis master is not the one from which partitions were claimed.

A master is identified by its process (run_id) and by the history of its data (master_replid, which changes whenever a
replica becomes a master). A master that was restarted, or that took over from another, may have lost writes (ADR
0006). Keys that a cluster moves between known masters lose nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from stream_worker.core.errors import MemoriesLost

_FIELD = re.compile(r"^(run_id|redis_mode|role|master_replid):(\w+)", re.MULTILINE)


def fields_of(info: str) -> dict[str, str]:
    """Return the fields of an INFO text that identify a server."""
    return dict(_FIELD.findall(info))


class Masters:
    """The masters that were met: by address in a cluster, else the only one.

    Once `begun` was called, a new master of a cluster counts as a loss, and so does a changed one at any time.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._begun = False
        self._lost = ""

    def met(self, address: str, says: Mapping[str, Any]) -> None:
        """Note a server, unless it is a replica, by its fields of INFO. Raises MemoriesLost if a master has changed."""
        if says.get("role", "master") != "master":
            return
        clustered = says.get("redis_mode") == "cluster"
        place = address if clustered else ""
        identity = f"{says.get('run_id', '')}/{says.get('master_replid', '')}"
        known = self._known.setdefault(place, "" if self._begun and clustered else identity)
        if known != identity:
            self.lose(_changed(address, known, identity))

    def identity(self, place: str) -> str:
        """Return run_id and master_replid of the master at an address; empty: unknown."""
        return self._known.get(place, "")

    def begun(self) -> None:
        """Note that all masters of the cluster have been met."""
        self._begun = True

    def check(self) -> None:
        """Raise MemoriesLost if a loss was noticed, in whatever thread."""
        if self._lost:
            self.lose(self._lost)

    def lose(self, reason: str) -> NoReturn:
        """Raise MemoriesLost now and at every later `check`."""
        self._lost = self._lost or reason
        raise MemoriesLost(f"Redis may have lost memories: {self._lost}")


def _changed(address: str, known: str, identity: str) -> str:
    if not known:
        return f"{address} is a master now, but was not when the partitions were claimed"
    return f"run_id of {address} is {identity}, it was {known}"
