"""`stream-worker check`: tries the services and folders that the configuration names, and reads the newest records of
the topic; or prints the configuration in force."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from stream_worker.backends.checkpoint import DirectoryCheckpoints
from stream_worker.backends.kafka import (
    KafkaConfig,
    describe_cluster,
    look_at_group,
    member_of,
    missing_topics,
    others_of,
    require_own_topic,
    require_protocol,
    require_rights,
)
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.backends.redis import Trial
from stream_worker.backends.registry import open_registry
from stream_worker.commands.check_hearing import hearing_line
from stream_worker.commands.check_items import decisions_line, items_line
from stream_worker.commands.check_lists import lists_line
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings
from stream_worker.config_text import lines_of
from stream_worker.core.amounts import amount
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import NoEvents, StreamWorkerError, Unavailable
from stream_worker.core.sample import Sample, about_keys, counts, reasons, sample, shown
from stream_worker.exit_codes import ExitCode
from stream_worker.loop.worker_config import AUTO

_KEYS = {
    "kafka": "[kafka]",
    "group": "kafka.group_id, worker.slot",
    "lists": "kafka.output_topic",
    "items": "kafka.items_topic, [items]",
    "decisions": "kafka.decisions_topic",
    "memory": "memory.redis_url",
    "registry": "[registry]",
    "checkpoint": "checkpoint.path",
    "device": "worker.device",
    "events": "[events]",
}
_LOOKED_AT = 100  # newest records of the topic
_SHOWN = 3  # of them, as they were understood
_INDENT = "\n      "  # before each line below that of a part
_WARNING = "warning: "
_TRIED_SLOT = "999"  # in place of `auto`: the last one that is ever taken, so that no worker is fenced


class TopicsMissing(Unavailable):
    """Topics of the worker that the brokers do not have."""

    def __init__(self, message: str, topics: Collection[str]) -> None:
        super().__init__(message)
        self.topics = topics


@dataclass(frozen=True)
class _Tried:
    """The outcome of a part. fault: None where it is good."""

    fault: StreamWorkerError | None = None
    warnings: int = 0


def command(config_path: Path | None, only_print: bool) -> int:
    settings = settings_from(config_path)
    if only_print:
        print("\n".join(lines_of(settings)))
        return ExitCode.DONE
    tried: dict[str, _Tried] = {}
    for name, part in _parts(settings, tried):
        tried[name] = _try(name, part)
    print(f"\n{_verdict(tried)}")
    return ExitCode.FAILED if any(one.fault for one in tried.values()) else ExitCode.DONE


def _parts(settings: Settings, tried: Mapping[str, _Tried]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield what is to be tried, the newest records last. `tried`: what came of the parts before."""
    yield "kafka", lambda: _kafka(settings)
    fault = tried["kafka"].fault
    answers = not isinstance(fault, Unavailable) or isinstance(fault, TopicsMissing)
    if answers:
        yield "group", lambda: _group(settings)
    if answers and not (isinstance(fault, TopicsMissing) and settings.kafka.output_topic in fault.topics):
        yield "lists", lambda: lists_line(settings.kafka)
    if settings.kafka.items_topic:
        yield "items", lambda: items_line(settings)
    if settings.kafka.decisions_topic:
        yield "decisions", lambda: decisions_line(settings.kafka)
    yield "memory", lambda: _memory(settings)
    if settings.registry.url:
        yield "registry", lambda: _registry(settings)
    yield "checkpoint", lambda: _checkpoint(settings)
    yield "device", lambda: _device(settings)
    if answers and not (isinstance(fault, TopicsMissing) and settings.kafka.input_topic in fault.topics):
        yield "events", lambda: _events(settings)


def _try(name: str, part: Callable[[], str]) -> _Tried:
    try:
        said = part()
    except StreamWorkerError as fault:
        first, *more = str(fault).removeprefix(f"{name}: ").splitlines()
        print("\n".join([f"FAIL  {name}: {first} ({_KEYS[name]})", *more]))
        return _Tried(fault)
    print(f"ok    {name}: {said}")
    return _Tried(warnings=said.count(_INDENT + _WARNING))


def _verdict(tried: Mapping[str, _Tried]) -> str:
    failed = [name for name, one in tried.items() if one.fault]
    if failed:
        return f"check: failed: {', '.join(failed)}"
    warnings = sum(one.warnings for one in tried.values())
    return "check: all good" + (f", with {amount(warnings, 'warning')}" if warnings else "")


def _kafka(settings: Settings) -> str:
    found = describe_cluster(settings.kafka)
    require_protocol(settings.kafka)
    # The rights on transactional ids are given by prefix where the slot is `auto`: any number stands for all.
    require_rights(settings.kafka, _TRIED_SLOT if settings.worker.slot == AUTO else settings.worker.slot)
    if missing := missing_topics(settings.kafka):
        raise TopicsMissing(f"{found}; `stream-worker topics create` makes them", missing)
    return found


def _group(settings: Settings) -> str:
    """Return who is in the worker's group, and what that means for what it learns."""
    kafka, slot = settings.kafka, settings.worker.slot
    said = _slots_of(kafka) if slot == AUTO else _slot_of(kafka, slot)
    others = () if settings.hearing.enabled else others_of(kafka, slot)
    return f"{said}{_INDENT}{hearing_line(settings.hearing, others)}"


def _slot_of(kafka: KafkaConfig, slot: str) -> str:
    """Return who has the worker's slot in the group. Raises ConfigurationError if that worker reads another topic."""
    member = member_of(kafka, slot)
    if member is None:
        return f"no worker has slot {slot!r} of group {kafka.group_id!r}"
    require_own_topic(kafka, slot, member.topics)
    return (
        f"a worker at {member.host} has slot {slot!r} of group {kafka.group_id!r}: it runs, or was stopped less than "
        f"{kafka.session_timeout_ms / 1000:.0f} s ago; a worker beside it needs a slot of its own (worker.slot)"
    )


def _slots_of(kafka: KafkaConfig) -> str:
    """Return which slots of the group have workers, for one that takes a slot that none has."""
    members = (name.removeprefix(f"{kafka.group_id}-") for name in look_at_group(kafka).members)
    taken = ", ".join(sorted(members, key=lambda slot: (len(slot), slot)))
    said = f"workers have slots {taken}" if taken else "no worker has a slot"
    return f"{said} of group {kafka.group_id!r}; the next start takes a free one (worker.slot)"


def _events(settings: Settings) -> str:
    """Decode the newest records, and return what they are, with lines of examples and reasons below."""
    from stream_worker.assembly import documents_of

    topic = settings.kafka.input_topic
    with closing(SpanReader(settings.kafka, topic)) as reader:
        records = reader.newest(_LOOKED_AT)
    if not records:
        return f"{topic} is empty: no record to show"
    found = sample(Decoder(settings.events, documents=documents_of(settings)), records)
    said = f"the newest {amount(found.records, 'record')} of {topic}: {counts(found)}"
    lines = [said, *shown(found, _SHOWN), *reasons(found), *_remarks(found, settings.events.own_types)]
    if not found.with_events:
        raise NoEvents(_INDENT.join(lines))
    return _INDENT.join(lines)


def _remarks(found: Sample, own_types: Collection[str]) -> Iterator[str]:
    if found.with_events:
        yield about_keys(found)
        if unseen := [name for name in found.unseen if name in own_types]:
            yield f"{_WARNING}event types that none of them has: {', '.join(unseen)}"


def _memory(settings: Settings) -> str:
    from stream_worker.assembly import memory_group

    if not settings.memory.redis_url:
        return "in memory (memory.redis_url is not set): one worker, kept in its checkpoint"
    with closing(Trial(settings.memory, memory_group(settings))) as trial:
        trial.run()
        return f"{trial.ping()}; claimed, saved, loaded and numbered on keys of its own"


def _registry(settings: Settings) -> str:
    with closing(open_registry(settings.registry)) as registry:
        return registry.describe()


def _checkpoint(settings: Settings) -> str:
    slot = settings.worker.slot
    return DirectoryCheckpoints.describe(settings.checkpoint, None if slot == AUTO else slot)


def _device(settings: Settings) -> str:
    from stream_worker.assembly import device_of

    return str(device_of(settings.worker.device))
