"""The mapping file of a recorded log: where an event's parts are, which rows belong to the log, and their order."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stream_worker.core.errors import ConfigurationError
from stream_worker.core.mapping.conditions import condition
from stream_worker.core.mapping.config import ALIAS, IGNORE, PARTS, EventsConfig, Source, sources_of
from stream_worker.core.mapping.sources import check_path, fields_read
from stream_worker.core.nearest import nearest
from stream_worker.core.refused import sentence
from stream_worker.presets import with_preset

FORMATS = ("jsonl", "csv", "tsv", "parquet", "snowplow")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_COMPRESSIONS = (".gz", ".zst")
# The keys that `Mapping.identity` spells out even at their defaults, in its order. Never change them.
_FIELDS_SPELLED_OUT = ("user", "item", "ts", "type", "value", "session", "request_id", "category")
_KEYS_SPELLED_OUT = (
    "format", "delimiter", "header", "encoding", "types", "default_type", "explode", "sort", "keep",
)  # fmt: skip


@dataclass(frozen=True)
class FieldNames:
    """The section `[fields]`: the column or path of each part of an event, or a list of them, of which the first that
    is there counts; empty: the log has no such part."""

    user: Source = ""
    item: Source = ""
    ts: Source = ""
    type: Source = ""
    value: Source = ""
    session: Source = ""
    request_id: Source = ""
    category: Source = ""
    id: Source = ""
    alias: Source = ""

    def __post_init__(self) -> None:
        for part in ("user", "item", "ts"):
            if not sources_of(getattr(self, part)):
                raise ValueError(f"fields.{part}: must name a column, got nothing")
        for each in dataclasses.fields(self):
            for text in sources_of(getattr(self, each.name)):
                check_path(f"fields.{each.name}", text)


@dataclass(frozen=True)
class Mapping:
    """A mapping file. The keys that `[events]` has, too, mean the same here.

    fields: the place of each part of an event.
    format: jsonl, csv, tsv, parquet or snowplow (lines of enriched events, as TSV or JSON); empty: told from the file's
        extension, also before .gz and .zst. tsv knows no quotes; csv with `delimiter = "\\t"` does.
    delimiter: one character between columns; empty: a comma for csv, a tab for tsv.
    header: False: the files have no header line, and columns are called "1", "2", ...
    encoding: of csv and tsv files, by Python's name.
    types: value of the type -> event type, or "ignore"; values that are not listed stay as they are.
    default_type: the event type of rows that have none.
    explode: a column that holds a list: each element becomes a row. Its fields are preferred to those of the row.
    sort: order all rows by time; rows of the same time keep their order in the files.
    keep: path -> condition (see `core.mapping.conditions`). Rows that fail one do not belong to the log; all others
        do, valid or not.
    preset, each, most_each, fold_types, ts_format: see `EventsConfig`. With `each` a row is a record of several events.
    """

    fields: FieldNames
    format: str = ""
    delimiter: str = ""
    header: bool = True
    encoding: str = "utf-8"
    types: dict[str, str] = field(default_factory=dict)
    default_type: str = ""
    explode: str = ""
    sort: bool = False
    keep: dict[str, str] = field(default_factory=dict)
    preset: str = ""
    each: Source = ""
    most_each: int = EventsConfig.most_each
    fold_types: bool = False
    ts_format: str = ""

    def __post_init__(self) -> None:
        if self.format and self.format not in FORMATS:
            raise ValueError(f"format: must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if len(self.delimiter) > 1:
            raise ValueError(f"delimiter: must be one character, got {self.delimiter!r}")
        if not _is_text_encoding(self.encoding):
            raise ValueError(f"encoding: must be one that Python knows (utf-8, latin-1), got {self.encoding!r}")
        if self.explode and self.format in ("csv", "tsv"):
            raise ValueError(f"explode: needs a list column (jsonl, parquet), got format {self.format!r}")
        for text in sources_of(self.each):
            check_path("each", text)
        for column, text in self.keep.items():
            check_path("keep", column)
            condition(f"keep.{column}", text)
        try:
            self.paths()
        except ValidationError as fault:
            raise ValueError(sentence(fault).replace("events.", "fields.")) from None

    def paths(self) -> EventsConfig:
        """Return where the parts of an event are, as `[events]` would say it, without the log's event types."""
        named = {part: getattr(self.fields, part) for part in (*PARTS, "alias")}
        return EventsConfig(
            **named | {"type": self.fields.type or "type"},
            each=self.each, most_each=self.most_each, keep=self.keep, ts_format=self.ts_format,
        )  # fmt: skip

    def events(self, config: EventsConfig) -> EventsConfig:
        """Return how rows are decoded: the places of this mapping with the event types of `config`.

        Values that mean none of these types stay unknown. Raises ConfigurationError for such a `default_type`.
        """
        known = {*config.named, IGNORE, *([ALIAS] if self.fields.alias else [])}
        values = {value: name for value, name in self.types.items() if name in known and value not in config.named}
        own = {value: name for value, name in config.types.items() if name != ALIAS or self.fields.alias}
        default_type = self.default_type or config.default_type
        if default_type not in ("", *config.named):
            raise ConfigurationError(
                f"default_type: must be one of {', '.join(config.named)} (events.types) or empty, got {default_type!r}"
            )
        fold = self.fold_types or config.fold_types
        return dataclasses.replace(
            self.paths(), keep={}, types={**own, **values}, default_type=default_type, fold_types=fold
        )

    def columns(self) -> list[list[str]]:
        """Return the columns to read: for each value to be found, those in which it may stand."""
        config = self.paths()
        every = [config.sources(part) for part in (*PARTS, "alias", "each")] + [(column,) for column in self.keep]
        found = [sorted(fields_read(texts)) for texts in every if texts]
        if not self.fields.type:
            found.remove(["type"])
        return [columns for columns in found if columns]

    def identity(self) -> str:
        """Return a text that differs between mappings. A log's name contains its hash, so it must be the same in all
        versions: keys that were added later appear in it only if they are set."""
        fields = _spelled(self.fields, _FIELDS_SPELLED_OUT)
        return f"Mapping(fields=FieldNames({fields}), {_spelled(self, _KEYS_SPELLED_OUT, besides=('fields',))})"

    def format_of(self, path: Path) -> str:
        """Return the format of a file: the configured one, else by extension. Raises ConfigurationError for neither."""
        suffix = Path(path.stem).suffix if path.suffix in _COMPRESSIONS else path.suffix
        if found := self.format or _SUFFIXES.get(suffix, ""):
            return found
        raise ConfigurationError(f"format: unknown extension of {path.name}; set format to {', '.join(FORMATS)}")


def _spelled(value: FieldNames | Mapping, always: Collection[str], besides: Collection[str] = ()) -> str:
    added = [each for each in dataclasses.fields(value) if each.name not in {*always, *besides}]
    later = [each.name for each in added if getattr(value, each.name) != _default(each)]
    return ", ".join(f"{name}={getattr(value, name)!r}" for name in (*always, *sorted(later)))


def _default(each: dataclasses.Field[Any]) -> Any:
    return each.default if each.default_factory is dataclasses.MISSING else each.default_factory()


def _is_text_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except LookupError:
        return False
    return True


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises ConfigurationError, which names the file, the key and the most similar known key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigurationError(f"mapping file {path}: {fault.strerror}") from fault
    except ValueError as fault:
        raise ConfigurationError(f"mapping file {path}: {fault}") from fault
    _refuse_unknown(path, "", raw, [f.name for f in dataclasses.fields(Mapping)])
    if isinstance(raw.get("fields"), dict):
        _refuse_unknown(path, "fields.", raw["fields"], [f.name for f in dataclasses.fields(FieldNames)])
    try:
        return TypeAdapter(Mapping).validate_python(_with_preset(raw), strict=False)
    except ValidationError as fault:
        raise ConfigurationError(f"mapping file {path}: {sentence(fault)}") from None
    except ConfigurationError as fault:
        raise ConfigurationError(f"mapping file {path}: {fault}") from None


def _with_preset(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a mapping file with those of its preset below them."""
    if not raw.get("preset"):
        return raw
    known = {each.name for each in dataclasses.fields(Mapping)}
    places = {each.name for each in dataclasses.fields(FieldNames)}
    below = with_preset("events", {"preset": raw["preset"]})
    below["fields"] = {part: below[part] for part in below if part in places}
    below["types"] = {value: name for value, name in below.get("types", {}).items() if isinstance(name, str)}
    joined = {key: {**below.get(key, {}), **raw.get(key, {})} for key in ("fields", "types", "keep")}
    return {key: value for key, value in {**below, **raw, **joined}.items() if key in known}


def _refuse_unknown(path: Path, section: str, given: Collection[str], known: Collection[str]) -> None:
    for key in given:
        if key not in known:
            raise ConfigurationError(f"mapping file {path}: unknown key {section}{key}{nearest(key, known)}")
