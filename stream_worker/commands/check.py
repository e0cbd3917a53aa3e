"""`stream-worker check`: prints the configuration in force, and tries the services and folders that it names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from stream_worker.backends.checkpoint import DirectoryCheckpoints
from stream_worker.backends.kafka import describe_cluster, missing_topics, require_protocol, require_rights
from stream_worker.backends.redis import Trial
from stream_worker.backends.registry import open_registry
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings, effective
from stream_worker.core.errors import StreamWorkerError, Unavailable
from stream_worker.exit_codes import ExitCode

_KEYS = {
    "kafka": "[kafka]",
    "memory": "memory.redis_url",
    "registry": "[registry]",
    "checkpoint": "checkpoint.path",
    "device": "worker.device",
}


def command(config_path: Path | None) -> int:
    settings = settings_from(config_path)
    for key, value in effective(settings):
        print(f"{key} = {value}")
    print()
    parts: dict[str, Callable[[], str]] = {
        "kafka": lambda: _kafka(settings),
        "memory": lambda: _memory(settings),
        **({"registry": lambda: _registry(settings)} if settings.registry.url else {}),
        "checkpoint": lambda: _checkpoint(settings),
        "device": lambda: _device(settings),
    }
    good = [_try(name, part) for name, part in parts.items()]
    return ExitCode.DONE if all(good) else ExitCode.FAILED


def _try(name: str, part: Callable[[], str]) -> bool:
    try:
        print(f"ok    {name}: {part()}")
    except StreamWorkerError as fault:
        print(f"FAIL  {name}: {str(fault).removeprefix(f'{name}: ')} ({_KEYS[name]})")
        return False
    return True


def _kafka(settings: Settings) -> str:
    found = describe_cluster(settings.kafka)
    require_protocol(settings.kafka)
    require_rights(settings.kafka, settings.worker.slot)
    if missing_topics(settings.kafka):
        raise Unavailable(f"{found}; `stream-worker topics create` makes them")
    return found


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
