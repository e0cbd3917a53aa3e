"""Finds all memory records of a group, or those of one user in all partitions, on every master."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from stream_worker.backends.redis.connection import Connection

_SCANNED = 1_000  # keys per step of SCAN and per read; not tuned


def scanned(connection: Connection, prefix: str, user: str | None) -> Iterator[tuple[int, str, bytes]]:
    """Yield (partition, user, record). `user` None: all users."""
    pattern = f"{literal(prefix)}:*}}:u:{'*' if user is None else literal(user)}"
    with connection.available():
        keys: Any = connection.redis.scan_iter(match=pattern, count=_SCANNED)
        found = once(keys)
        while batch := list(islice(found, _SCANNED)):
            yield from _records(connection, _by_partition(prefix, batch, user))


def _by_partition(prefix: str, keys: list[bytes], wanted: str | None) -> dict[int, dict[bytes, str]]:
    """Return partition -> {key: user}, without keys that match the pattern by accident: those of group "g:x" under
    "g", or of user "a}:u:b" under "b"."""
    found: dict[int, dict[bytes, str]] = defaultdict(dict)
    for key in keys:
        partition, _, user = key.decode().removeprefix(f"{prefix}:").partition("}:u:")
        if partition.isdecimal() and wanted in (None, user):
            found[int(partition)][key] = user
    return found


def _records(connection: Connection, found: dict[int, dict[bytes, str]]) -> Iterator[tuple[int, str, bytes]]:
    for (partition, users), values in zip(found.items(), connection.values([*map(list, found.values())]), strict=True):
        for user, value in zip(users.values(), values, strict=True):
            if value is not None:
                yield partition, user, value


def once(keys: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each key once: SCAN returns keys again if Redis resizes its table meanwhile."""
    seen: set[bytes] = set()
    for key in keys:
        if key not in seen:
            seen.add(key)
            yield key


def literal(text: str) -> str:
    """Escape the wildcards of a MATCH pattern in `text`."""
    return "".join(f"\\{c}" if c in "*?[]^\\" else c for c in text)
