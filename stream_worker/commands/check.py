"""`stream-worker check`: prints the configuration in force, tries the services and folders that it names, and reads the
newest records of the topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from stream_worker.backends.checkpoint import DirectoryCheckpoints
from stream_worker.backends.kafka import describe_cluster, missing_topics, require_protocol, require_rights
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.backends.redis import Trial
from stream_worker.backends.registry import open_registry
from stream_worker.commands.check_items import items_line
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings, effective
from stream_worker.core.amounts import amount
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import NoEvents, StreamWorkerError, Unavailable
from stream_worker.core.sample import Sample, about_keys, counts, reasons, sample, shown
from stream_worker.exit_codes import ExitCode

_KEYS = {
    "kafka": "[kafka]",
    "items": "kafka.items_topic, [items]",
    "memory": "memory.redis_url",
    "registry": "[registry]",
    "checkpoint": "checkpoint.path",
    "device": "worker.device",
    "events": "[events]",
}
_LOOKED_AT = 100  # newest records of the topic
_SHOWN = 3  # of them, as they were understood


def command(config_path: Path | None) -> int:
    settings = settings_from(config_path)
    for key, value in effective(settings):
        print(f"{key} = {value}")
    print()
    parts: dict[str, Callable[[], str]] = {
        "kafka": lambda: _kafka(settings),
        **({"items": lambda: items_line(settings)} if settings.kafka.items_topic else {}),
        "memory": lambda: _memory(settings),
        **({"registry": lambda: _registry(settings)} if settings.registry.url else {}),
        "checkpoint": lambda: _checkpoint(settings),
        "device": lambda: _device(settings),
    }
    good = [_try(name, part) for name, part in parts.items()]
    if good[0]:
        good.append(_try("events", lambda: _events(settings)))
    return ExitCode.DONE if all(good) else ExitCode.FAILED


def _try(name: str, part: Callable[[], str]) -> bool:
    try:
        print(f"ok    {name}: {part()}")
    except StreamWorkerError as fault:
        said, *more = str(fault).removeprefix(f"{name}: ").splitlines()
        print("\n".join([f"FAIL  {name}: {said} ({_KEYS[name]})", *more]))
        return False
    return True


def _kafka(settings: Settings) -> str:
    found = describe_cluster(settings.kafka)
    require_protocol(settings.kafka)
    require_rights(settings.kafka, settings.worker.slot)
    if missing_topics(settings.kafka):
        raise Unavailable(f"{found}; `stream-worker topics create` makes them")
    return found


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
    lines = [said, *shown(found, _SHOWN), *reasons(found), *_remarks(found)]
    if not found.with_events:
        raise NoEvents("\n      ".join(lines))
    return "\n      ".join(lines)


def _remarks(found: Sample) -> Iterator[str]:
    if found.with_events:
        yield about_keys(found)
    if found.unseen and found.with_events:
        yield f"warning: event types that none of them has: {', '.join(found.unseen)}"


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
    return DirectoryCheckpoints.describe(settings.checkpoint, settings.worker.slot)


def _device(settings: Settings) -> str:
    from stream_worker.assembly import device_of

    return str(device_of(settings.worker.device))
