"""Counts and deletes all keys of a group."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

from stream_worker.backends.redis.connection import Connection
from stream_worker.backends.redis.scan import literal, once

_SCANNED = 1_000  # keys per step of SCAN and per command; not tuned
# The hash tag after the group's name. It does not match keys of group "g:x" when the group is "g".
_OURS = re.compile(r"([^:{}]+)\}(:|$)")
MEMORIES, PARTITIONS, OTHERS = "memories", "partitions", "other keys"
ONE_OF = {MEMORIES: "memory", PARTITIONS: "partition", OTHERS: "other key"}


def counted(connection: Connection, prefix: str) -> dict[str, int]:
    """Count memories, partitions, and other keys (dictionary of items, owners of slots)."""
    kinds, partitions = Counter[str](), set[str]()
    for batch in _batches(connection, prefix):
        for tag, keys in batch.items():
            memories = sum(key.decode().startswith(f"{prefix}:{tag}}}:u:") for key in keys)
            kinds[MEMORIES] += memories
            kinds[OTHERS] += 0 if tag.isdecimal() else len(keys) - memories
            partitions |= {tag} if tag.isdecimal() else set()
    return {MEMORIES: kinds[MEMORIES], PARTITIONS: len(partitions), OTHERS: kinds[OTHERS]}


def wipe(connection: Connection, prefix: str) -> int:
    """Delete all keys and return their number. Keys of one hash tag share a cluster slot, and so a command."""
    removed = 0
    for batch in _batches(connection, prefix):
        for keys in batch.values():
            with connection.available():
                answer: Any = connection.redis.unlink(*keys)
            removed += int(answer)
    return removed


def _batches(connection: Connection, prefix: str) -> Iterator[dict[str, list[bytes]]]:
    """Yield batches of keys by their hash tag after the group's name: a partition's number, `items` or `slots`."""
    with connection.available():
        found = once(connection.redis.scan_iter(match=f"{literal(prefix)}:*", count=_SCANNED))
        while batch := list(islice(found, _SCANNED)):
            by_tag: dict[str, list[bytes]] = defaultdict(list)
            for key in batch:
                if ours := _OURS.match(key.decode().removeprefix(f"{prefix}:")):
                    by_tag[ours[1]].append(key)
            yield by_tag
