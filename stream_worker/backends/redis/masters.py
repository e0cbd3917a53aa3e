"""Whether the masters are still what they were when the partitions were claimed.

A master is known by its process (run_id) and by the history of its data (master_replid, another one after every change
between replica and master). One that was restarted, or that took over from another, may hold less than was written.
Keys that a cluster moves between masters that are known and unchanged lose nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from stream_worker.core.errors import MemoriesLost

_FIELD = re.compile(r"^(run_id|redis_mode|role|master_replid):(\w+)", re.MULTILINE)


def fields_of(info: str) -> dict[str, str]:
    """What a server says of itself (INFO), as far as it tells who it is."""
    return dict(_FIELD.findall(info))


class Masters:
    """What was met, by place: an address in a cluster, else the only one. After `begun`, no new one may come."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._begun = False
        self._lost = ""

    def met(self, address: str, says: Mapping[str, Any]) -> None:
        """There is a server that says this of itself. Replicas hold nothing that anybody relies on."""
        if says.get("role", "master") != "master":
            return
        clustered = says.get("redis_mode") == "cluster"
        place = address if clustered else ""
        identity = f"{says.get('run_id', '')}/{says.get('master_replid', '')}"
        known = self._known.setdefault(place, "" if self._begun and clustered else identity)
        if known != identity:
            self.lose(_changed(address, known, identity))

    def identity(self, place: str) -> str:
        return self._known.get(place, "")

    def begun(self) -> None:
        """All masters of the cluster were met."""
        self._begun = True

    def check(self) -> None:
        if self._lost:
            self.lose(self._lost)

    def lose(self, reason: str) -> NoReturn:
        """From here on, whatever thread asks is told, until it is begun again."""
        self._lost = self._lost or reason
        raise MemoriesLost(f"Redis is not what it was: {self._lost}")


def _changed(address: str, known: str, identity: str) -> str:
    if not known:
        return f"{address} is a master now, and was none when the partitions were claimed"
    return f"run_id of {address} is {identity}, it was {known}"
