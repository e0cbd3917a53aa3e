"""The mapping file of a recorded log: it names the columns, the rows that belong to the log, and their order."""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import re
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stream_worker.core.errors import ConfigurationError

FORMATS = ("jsonl", "csv", "tsv", "parquet")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_COMPRESSIONS = (".gz", ".zst")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
Condition = Callable[[Any], bool]
# The keys that `Mapping.identity` spells out even at their defaults, in its order. Never change them.
_FIELDS_SPELLED_OUT = ("user", "item", "ts", "type", "value", "session", "request_id", "category")
_KEYS_SPELLED_OUT = (
    "format", "delimiter", "header", "encoding", "types", "default_type", "explode", "sort", "keep",
)  # fmt: skip


@dataclass(frozen=True)
class FieldNames:
    """The section `[fields]`: the column that holds each part of an event; empty: the log has no such column."""

    user: str = ""
    item: str = ""
    ts: str = ""
    type: str = ""
    value: str = ""
    session: str = ""
    request_id: str = ""
    category: str = ""

    def __post_init__(self) -> None:
        for part in ("user", "item", "ts"):
            if not getattr(self, part):
                raise ValueError(f"fields.{part}: must name a column, got nothing")


@dataclass(frozen=True)
class Mapping:
    """A mapping file.

    fields: the column of each part of an event.
    format: jsonl, csv, tsv or parquet; empty: told from the file's extension, also before .gz and .zst. tsv knows no
        quotes; csv with `delimiter = "\\t"` does.
    delimiter: one character between columns; empty: a comma for csv, a tab for tsv.
    header: False: the files have no header line, and columns are called "1", "2", ...
    encoding: of csv and tsv files, by Python's name.
    types: value of the type column -> event type; values that are not listed stay as they are.
    default_type: the event type of rows that have none.
    explode: a column that holds a list: each element becomes a row. Its fields are preferred to those of the row.
    sort: order all rows by time; rows of the same time keep their order in the files.
    keep: column -> condition (see `condition`). Rows that fail one do not belong to the log; all others do, valid or
        not.
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

    def __post_init__(self) -> None:
        if self.format and self.format not in FORMATS:
            raise ValueError(f"format: must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if len(self.delimiter) > 1:
            raise ValueError(f"delimiter: must be one character, got {self.delimiter!r}")
        if not _is_text_encoding(self.encoding):
            raise ValueError(f"encoding: must be one that Python knows (utf-8, latin-1), got {self.encoding!r}")
        if self.explode and self.format in ("csv", "tsv"):
            raise ValueError(f"explode: needs a list column (jsonl, parquet), got format {self.format!r}")
        for column, text in self.keep.items():
            condition(column, text)

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


def condition(column: str, text: str) -> Condition:
    """Parse a condition of `[keep]`: "null", "not null", or a comparison with a number or (== and != only) a text.

    Raises ValueError. A missing value passes no comparison.
    """
    if text in ("null", "not null"):
        return (lambda value: not is_missing(value)) if text == "not null" else is_missing
    match = re.fullmatch(r"(>=|<=|==|!=|>|<)\s*(.+)", text)
    if not match:
        known = ", ".join(_COMPARISONS)
        raise ValueError(f'keep.{column}: must be "null", "not null" or one of {known} and a value, got {text!r}')
    sign, operand = match.groups()
    bound = _number(operand)
    if bound is None and sign not in ("==", "!="):
        raise ValueError(f"keep.{column}: {sign} must be followed by a number, got {operand!r}")
    return _comparison(_COMPARISONS[sign], operand if bound is None else bound)


def _comparison(compare: Callable[[Any, Any], bool], bound: float | str) -> Condition:
    read: Callable[[Any], Any] = str if isinstance(bound, str) else _number

    def test(value: Any) -> bool:
        known = None if is_missing(value) else read(value)
        return known is not None and compare(known, bound)

    return test


def is_missing(value: Any) -> bool:
    """Return True for None, an empty text, or NaN (which pandas writes for a null in a column of numbers)."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


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
        return TypeAdapter(Mapping).validate_python(raw, strict=False)
    except ValidationError as fault:
        raise ConfigurationError(f"mapping file {path}: {_first_message(fault)}") from fault


def _refuse_unknown(path: Path, section: str, given: Collection[str], known: Collection[str]) -> None:
    for key in given:
        if key not in known:
            raise ConfigurationError(f"mapping file {path}: unknown key {section}{key}{nearest(key, known)}")


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a message about an unknown name: the most similar known name, else all known names."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(known)}"


def _first_message(fault: ValidationError) -> str:
    first = fault.errors()[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return message if message.startswith(where) else f"{where}: {message}, got {first['input']!r}"
