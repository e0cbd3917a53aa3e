"""One TOML file, one section a component; every key also as an environment variable.

`[kafka] input_topic` is `STREAM_WORKER__KAFKA__INPUT_TOPIC`. The environment goes before the file, the file before the
defaults. Unknown keys are refused, with the nearest known one. Lists and whole tables are JSON in a variable.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic import dataclasses as checked

from model.learner_config import LearnerConfig
from stream_worker.backends.checkpoint import CheckpointConfig
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.metrics import MetricsConfig
from stream_worker.backends.registry import RegistryConfig
from stream_worker.core.drift_answers import DriftConfig
from stream_worker.core.effort import EffortConfig
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.fault_points import DebugConfig
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.lists_config import ListConfig, check_scenarios
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.masking import is_secret, shown, told
from stream_worker.core.monitor import MonitorConfig
from stream_worker.core.refused import sentence
from stream_worker.loop.hearing_config import HearingConfig
from stream_worker.loop.list_rules import ListPlan, plan_of
from stream_worker.loop.worker_config import WorkerConfig
from stream_worker.presets import with_preset
from stream_worker.variables import PREFIX, misnamed


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class LogConfig:
    """`[log]`: structured lines on standard error."""

    #: Lowest level of the lines that are written.
    level: Literal["debug", "info", "warning", "error"] = "info"


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class Settings:
    """Settings of all sections. Every value has a default that works."""

    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    items: ItemsConfig = field(default_factory=ItemsConfig)
    lists: ListConfig = field(default_factory=ListConfig)
    scenarios: dict[str, ListConfig] = field(default_factory=dict)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    model: LearnerConfig = field(default_factory=LearnerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    hearing: HearingConfig = field(default_factory=HearingConfig)
    effort: EffortConfig = field(default_factory=EffortConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)

    def __post_init__(self) -> None:
        self._check_room("worker.batch_size", self.worker.batch_size)
        check_scenarios(self.scenarios)
        _ = self.list_plan
        if self.events.sources("each"):
            self._check_room("events.most_each", self.events.most_each)
        if len(self.events.named) > self.model.encoder.event_types:
            raise ValueError(
                f"events.types: must be at most {self.model.encoder.event_types} types, got {len(self.events.named)}"
            )
        if self.items.hold_new and not self.kafka.decisions_topic:
            raise ValueError("items.hold_new: needs kafka.decisions_topic, since nothing could be approved without it")

    @property
    def list_plan(self) -> ListPlan:
        """The rules of all scenarios as the model takes them."""
        return plan_of(self.lists, self.scenarios, self.model.list_length)

    def _check_room(self, key: str, most: int) -> None:
        """Refuse more events than the users on the device and the catalogue have room for at a time."""
        sizes = {"memory.device_users": self.memory.device_users, "model.max_items": self.model.max_items}
        if self.hearing.enabled:
            sizes["hearing.users"] = self.hearing.users
        for name, size in sizes.items():
            if most > size // 2:
                raise ValueError(f"{key}: must be at most half of {name} ({size}), got {most}")


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Raises ConfigurationError, which names the key, its source and the nearest known key."""
    raw = {} if path is None else _read(path)
    _refuse_unknown(raw, Settings, str(path))
    if twice := _flatten_extra(raw):
        raise ConfigurationError(f"{path}: kafka.extra.{twice[0]} is there twice")
    variables = sorted((os.environ if environ is None else environ).items())
    for name, meant in misnamed(variables, Settings):
        raise ConfigurationError(f"environment variable {name}: {_remedy(meant)}")
    ours = [(name, value) for name, value in variables if name.startswith(PREFIX)]
    origins = {_set(raw, name, value): f"environment variable {name}" for name, value in ours}
    try:
        for section in ("events", "items"):
            if isinstance(given := raw.get(section), Mapping):
                raw[section] = with_preset(section, given)
        return settings_of(raw)
    except ConfigurationError as fault:
        raise ConfigurationError(_with_origin(str(fault), origins, path)) from None


def _with_origin(message: str, origins: Mapping[str, str], path: Path | None) -> str:
    """Return the message about a refused value, with the variable or file before it that set the key."""
    key = message.partition(":")[0]
    given = next((origins[name] for name in origins if key == name or key.startswith(f"{name}.")), path)
    return f"{given}: {message}" if given else message


def settings_of(raw: Mapping[str, Any]) -> Settings:
    """Settings from tables by section. Raises ConfigurationError, which names the key, its bound and the value."""
    try:
        return TypeAdapter(Settings).validate_python(raw)
    except ValidationError as fault:
        raise ConfigurationError(sentence(fault)) from None  # its own text has all values


def _remedy(meant: str) -> str:
    right = f"did you mean {meant}?" if meant else f"a key is set by {PREFIX}SECTION__KEY"
    return f"sets nothing, since two underscores part sections and keys; {right}"


def effective(settings: Settings) -> Iterator[tuple[str, str]]:
    """(key, value) of everything in force, secrets masked."""
    for names, value in values_of(settings):
        yield ".".join(names), shown(".".join(names), value)


def values_of(settings: Settings) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(names of tables and key, value) of everything in force, as it is."""
    yield from _flat((), dataclasses.asdict(settings))


def _flat(prefix: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and (value or not prefix):
            yield from _flat((*prefix, name), value)
        else:
            yield (*prefix, name), value


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


def _kind_in(kind: Any, key: str) -> Any:
    """The type of what is under `key`; None where nothing more is known."""
    if (known := _known(kind)) is not None:
        return known.get(key)
    if kind is str:
        return str  # a part of a dotted name
    return _table_in(get_args(kind)[1]) if get_origin(kind) is dict else None


def _table_in(kind: Any) -> Any:
    """The configuration class among the types of a value; the type itself if there is none."""
    return next((one for one in get_args(kind) if dataclasses.is_dataclass(one)), kind)


def _refuse_unknown(given: Any, kind: Any, source: str, prefix: str = "") -> None:
    if not isinstance(given, Mapping):
        return
    known = _known(kind)
    for key, value in given.items():
        if known is not None and key not in known:
            raise ConfigurationError(f"{source}: unknown key {prefix}{key}{_nearest(prefix, key, known)}")
        _refuse_unknown(value, _kind_in(kind, key), source, f"{prefix}{key}.")


def _nearest(prefix: str, key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known are {', '.join(known)}"


def _set(raw: dict[str, Any], name: str, text: str) -> str:
    """Set what a variable says, and return its key."""
    source, (*sections, last) = f"environment variable {name}", name[len(PREFIX) :].split("__")
    kind: Any = Settings
    place, prefix = raw, ""
    for part in sections:
        key, kind = _key(part, kind, place, source, prefix)
        place, prefix = place.setdefault(key, {}), f"{prefix}{key}."
        if not isinstance(place, dict):
            raise ConfigurationError(f"{source}: {prefix[:-1]} is no table, got {told(prefix[:-1], place)}")
    key, kind = _key(last, kind, place, source, prefix)
    place[key] = text if kind is str else _value(text, source)
    _refuse_unknown(place[key], kind, source, f"{prefix}{key}.")
    _flatten_extra(raw)
    return f"{prefix}{key}"


def _key(part: str, kind: Any, place: Mapping[str, Any], source: str, prefix: str) -> tuple[str, Any]:
    """The key that a part of a variable's name means, and its type. Keys are lower case; names that the user gives
    (event types) may be something else, and are then written as they are."""
    key = part.lower() if part.isupper() and part not in place else part
    known = _known(kind)
    if known is not None and key not in known:
        raise ConfigurationError(f"{source}: unknown key {prefix}{key}{_nearest(prefix, key.lower(), known)}")
    return key, _kind_in(kind, key)


def _value(text: str, source: str) -> Any:
    """Lists and tables are JSON in a variable; everything else is converted by the field's type."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError as fault:
        raise ConfigurationError(f"{source}: no valid JSON: {fault}") from None


def _flatten_extra(raw: dict[str, Any]) -> list[str]:
    """Give `kafka.extra` librdkafka's dotted names: TOML reads `sasl.username = "me"` as a table in a table. Returns
    the names that stood there twice; the later one holds."""
    if not isinstance(kafka := raw.get("kafka"), dict) or not isinstance(kafka.get("extra"), dict):
        return []
    pairs = list(_dotted(kafka["extra"]))
    kafka["extra"] = dict(pairs)
    return [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _as_text(f"{prefix}{name}", value)


def _as_text(name: str, value: Any) -> Any:
    """librdkafka takes texts. A number that may be a secret is left to be refused: 0x1F, as text, is another one."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) and not is_secret(f"kafka.extra.{name}") else value
