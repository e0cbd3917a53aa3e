"""`stream-worker reset`: deletes everything that a configuration's workers have kept; the next start begins anew."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import click

from stream_worker.assembly import memory_group, start_of
from stream_worker.backends.checkpoint import Found, found_of, start_lock
from stream_worker.backends.kafka import Group, KafkaSource, delete_group, look_at_group
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.backends.redis.wipe import ONE_OF
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings
from stream_worker.core.amounts import amount
from stream_worker.core.errors import ConfigurationError, SlotTaken
from stream_worker.exit_codes import ExitCode


@dataclass(frozen=True)
class _Kept:
    """Everything that is to be deleted. `in_redis`: how many entries of each kind; empty without Redis."""

    group: Group
    checkpoints: Found
    in_redis: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.group.offsets or self.checkpoints.paths or any(self.in_redis.values()))


def command(config_path: Path | None, yes: bool) -> int:
    settings = settings_from(config_path)
    with ExitStack() as stack:
        # The lock refuses a worker that starts on this machine meanwhile.
        stack.enter_context(closing(start_lock(*start_of(settings))))
        store = _store(settings)
        if store is not None:
            stack.enter_context(closing(store))
        kept = _look(settings, store)
        _show(settings, kept)
        if not kept:
            print("nothing to delete")
            return ExitCode.DONE
        if not (yes or _agreed()):
            print("nothing was deleted")
            return ExitCode.FAILED
        _delete(settings, kept, store)
    print(f"deleted; the next `stream-worker run` begins anew, from the {settings.kafka.start} event")
    return ExitCode.DONE


def _store(settings: Settings) -> RedisMemoryStore | None:
    return RedisMemoryStore(settings.memory, memory_group(settings)) if settings.memory.redis_url else None


def _look(settings: Settings, store: RedisMemoryStore | None) -> _Kept:
    """Return what there is to delete.

    Raises SlotTaken while a worker of the group is alive, and ConfigurationError if the group also reads other topics.
    """
    kafka = settings.kafka
    group = look_at_group(kafka)
    if group.members:
        raise SlotTaken(
            f"workers of group {kafka.group_id!r} are alive ({', '.join(group.members)}): stop them first; "
            f"one that was stopped stays a member for {kafka.session_timeout_ms / 1000:.0f} s"
        )
    if others := sorted(group.offsets.keys() - {kafka.input_topic}):
        raise ConfigurationError(
            f"kafka.group_id: {kafka.group_id!r} has offsets of other topics ({', '.join(others)}), and a group is "
            "deleted as a whole; delete those of this topic with `kafka-consumer-groups.sh --delete-offsets`"
        )
    with closing(KafkaSource(kafka, settings.worker.slot)) as source:
        checkpoints = found_of(Path(settings.checkpoint.path), source.identity())
    if checkpoints.held:
        raise SlotTaken(f"a worker is alive: it holds {checkpoints.held[0]}")
    return _Kept(group, checkpoints, {} if store is None else store.counted())


def _show(settings: Settings, kept: _Kept) -> None:
    kafka, found = settings.kafka, kept.checkpoints
    print(f"kept by group {kafka.group_id!r} of topic {kafka.input_topic!r} at {kafka.bootstrap_servers}:")
    print(f"  offsets      {amount(kept.group.offsets.get(kafka.input_topic, 0), 'partition')}, committed in Kafka")
    told = ", ".join(amount(count, ONE_OF[kind], kind) for kind, count in kept.in_redis.items())
    print(f"  memories     {told + ', in Redis' if kept.in_redis else 'in the checkpoints (no Redis is configured)'}")
    print(f"  checkpoints  {found.count:,} of {found.bytes / 1e6:,.1f} MB, in {settings.checkpoint.path}")
    for path in found.paths:
        print(f"               {path}")


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("standard input is no terminal, so nobody can be asked; --yes deletes all of this")
    return click.confirm("Delete all of this?", default=False)


def _delete(settings: Settings, kept: _Kept, store: RedisMemoryStore | None) -> None:
    """Delete checkpoints, memories and the group, in this order.

    The group goes last: while its offsets are there, a reset that was cut short still shows what is left, and can run
    again.
    """
    kept.checkpoints.delete()
    if store is not None:
        store.wipe()
    if kept.group.offsets:
        delete_group(settings.kafka)
