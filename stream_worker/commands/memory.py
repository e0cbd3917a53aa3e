"""`stream-worker memory`: prints the memory records in the store."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import orjson

from stream_worker.assembly import make_store, memory_group
from stream_worker.commands.options import settings_from
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.interfaces import ItemNumbering
from stream_worker.core.memory_record import fault_of, header_of, ring_of
from stream_worker.core.printable import printable
from stream_worker.exit_codes import ExitCode


def command(user: str | None, config_path: Path | None) -> int:
    settings = settings_from(config_path)
    if not settings.memory.redis_url:
        raise ConfigurationError("memory.redis_url: not set; without Redis, memories are in the checkpoint's files")
    with closing(make_store(settings)) as store:
        found = False
        for partition, name, blob in store.scan(user):
            found = True
            print(describe(store, partition, name, blob).decode())
    if found:
        return ExitCode.DONE
    of = "" if user is None else f" of user {user!r}"
    print(printable(f"no memory record{of} is kept under {memory_group(settings)}"), file=sys.stderr)
    return ExitCode.FAILED


def describe(store: ItemNumbering, partition: int, user: str, blob: bytes) -> bytes:
    """Return a memory record as one line of JSON. `store`: names the items of its ring."""
    if reason := fault_of(blob):
        return orjson.dumps({"user": user, "partition": partition, "unreadable": reason})
    header = header_of(blob)
    return orjson.dumps(
        {
            "user": user,
            "partition": partition,
            "events": header["events"],
            "ring": store.item_ids(ring_of(blob)),
            "next_offset": header["next_offset"],
        }
    )
