"""All keys of a group: how many there are of each kind, and their removal."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

from stream_worker.backends.redis.connection import Connection
from stream_worker.backends.redis.scan import literal, once

_SCANNED = 1_000
# Behind the group's name; what only looks alike is of group "g:x" under "g".
_OURS = re.compile(r"([^:{}]+)\}(:|$)")
MEMORIES, PARTITIONS, OTHERS = "memories", "partitions", "other keys"
ONE_OF = {MEMORIES: "memory", PARTITIONS: "partition", OTHERS: "other key"}


def counted(connection: Connection, prefix: str) -> dict[str, int]:
    """How many memories, partitions, and other keys (numbers of items, owners of slots) there are."""
    kinds, partitions = Counter[str](), set[str]()
    for batch in _batches(connection, prefix):
        for tag, keys in batch.items():
            memories = sum(key.decode().startswith(f"{prefix}:{tag}}}:u:") for key in keys)
            kinds[MEMORIES] += memories
            kinds[OTHERS] += 0 if tag.isdecimal() else len(keys) - memories
            partitions |= {tag} if tag.isdecimal() else set()
    return {MEMORIES: kinds[MEMORIES], PARTITIONS: len(partitions), OTHERS: kinds[OTHERS]}


def wipe(connection: Connection, prefix: str) -> int:
    """Remove them all; returns how many. Those of one hash tag are of one slot of a cluster."""
    removed = 0
    for batch in _batches(connection, prefix):
        for keys in batch.values():
            with connection.available():
                answer: Any = connection.redis.unlink(*keys)
            removed += int(answer)
    return removed


def _batches(connection: Connection, prefix: str) -> Iterator[dict[str, list[bytes]]]:
    """Some keys at a time, by what is in their hash tag behind the group: a partition, or what else is kept."""
    with connection.available():
        found = once(connection.redis.scan_iter(match=f"{literal(prefix)}:*", count=_SCANNED))
        while batch := list(islice(found, _SCANNED)):
            by_tag: dict[str, list[bytes]] = defaultdict(list)
            for key in batch:
                if ours := _OURS.match(key.decode().removeprefix(f"{prefix}:")):
                    by_tag[ours[1]].append(key)
            yield by_tag
