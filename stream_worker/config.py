"""One TOML file, one section a component; every key also as an environment variable.

`[kafka] input_topic` is `STREAM_WORKER__KAFKA__INPUT_TOPIC`. The environment goes before the file, the file before the
defaults. Unknown keys are refused, with the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from model.learner import LearnerConfig
from stream_worker.backends.checkpoint import CheckpointConfig
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.metrics import MetricsConfig
from stream_worker.backends.redis import MemoryConfig
from stream_worker.core.codec import EventsConfig
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.monitor import MonitorConfig
from stream_worker.worker import WorkerConfig

_PREFIX = "STREAM_WORKER__"
_SECRET = re.compile(r"password|secret|token|credential|\bkey\b|\.key\b|sasl\.jaas", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^:/@]*:)[^@]*(@)")


@dataclass(frozen=True)
class LogConfig:
    """Log lines at or above `level` go to standard error."""

    level: str = "info"

    def __post_init__(self) -> None:
        levels = ("debug", "info", "warning", "error")
        if self.level not in levels:
            raise ValueError(f"log.level: one of {', '.join(levels)}, got {self.level!r}")


@dataclass(frozen=True)
class Settings:
    """All sections. Every value has a default that works."""

    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    model: LearnerConfig = field(default_factory=LearnerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        if self.kafka.items_topic:
            raise ValueError("kafka.items_topic: an items topic is not read yet; leave it empty")
        if self.worker.batch_size > self.memory.device_users // 2:
            raise ValueError(
                f"worker.batch_size: at most half of memory.device_users ({self.memory.device_users}), "
                f"got {self.worker.batch_size}"
            )
        if self.worker.batch_size > self.model.max_items // 2:
            raise ValueError(
                f"worker.batch_size: at most half of model.max_items ({self.model.max_items}), "
                f"got {self.worker.batch_size}"
            )
        if len(self.events.types) > self.model.encoder.event_types:
            raise ValueError(
                f"events.types: at most {self.model.encoder.event_types} types, got {len(self.events.types)}"
            )


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Raises ConfigurationError, which names the key, its source and the nearest known key."""
    raw = {} if path is None else _read(path)
    _refuse_unknown(raw, Settings, str(path), "")
    for name, value in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(_PREFIX):
            _set(raw, name, value)
    try:
        return TypeAdapter(Settings).validate_python(raw)
    except ValidationError as fault:
        raise ConfigurationError(_message(fault)) from fault


def effective(settings: Settings) -> Iterator[tuple[str, str]]:
    """(key, value) of everything in force, secrets masked."""
    yield from _flat("", dataclasses.asdict(settings))


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping) and value:
            yield from _flat(key, value)
        else:
            yield key, mask(key, value)


def mask(key: str, value: Any) -> str:
    if _SECRET.search(key) and value:
        return "****"
    return _URL_PASSWORD.sub(r"\1****\2", json.dumps(value, ensure_ascii=False))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigurationError(f"configuration file {path}: {fault.strerror}") from fault
    except ValueError as fault:
        raise ConfigurationError(f"configuration file {path}: {fault}") from fault


def _known(kind: Any) -> dict[str, Any] | None:
    """Field name -> type of a configuration class; None where any key is good."""
    return get_type_hints(kind) if dataclasses.is_dataclass(kind) else None


def _refuse_unknown(given: Mapping[str, Any], kind: Any, source: str, prefix: str) -> None:
    known = _known(kind)
    if known is None:
        return
    for key, value in given.items():
        if key not in known:
            raise ConfigurationError(f"{source}: unknown key {prefix}{key}{_nearest(prefix, key, known)}")
        if isinstance(value, Mapping):
            _refuse_unknown(value, known[key], source, f"{prefix}{key}.")


def _nearest(prefix: str, key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known are {', '.join(known)}"


def _set(raw: dict[str, Any], name: str, value: str) -> None:
    *sections, key = name[len(_PREFIX) :].lower().split("__")
    kind: Any = Settings
    place, prefix = raw, ""
    for part in [*sections, key]:
        known = _known(kind)
        if known is not None and part not in known:
            raise ConfigurationError(
                f"environment variable {name}: unknown key {prefix}{part}{_nearest(prefix, part, known)}"
            )
        kind, prefix = None if known is None else known[part], f"{prefix}{part}."
    for part in sections:
        place = place.setdefault(part, {})
    place[key] = value if kind is str else _value(value)


def _value(text: str) -> Any:
    """Lists and tables are JSON in a variable; everything else is converted by the field's type."""
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _message(fault: ValidationError) -> str:
    first = fault.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message
    return f"{'.'.join(str(part) for part in first['loc'])}: {message}, got {first['input']!r}"
