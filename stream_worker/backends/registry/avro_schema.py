"""Rewrites an Avro schema so that fastavro reads plain values by it, whatever bytes come.

- Logical types that JSON has no value for are read by functions of this module, which fastavro calls by their names.
- Types that hold themselves are unrolled: the compiled reader recurses without a bound, and a chain of some thousand
  values would end the process.
- Arrays of what takes no bytes are refused: eight bytes would stand for 2^60 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from fastavro import parse_schema
from fastavro.read import LOGICAL_READERS

from stream_worker.backends.registry.plain import decimal_text, text_of

_MOST_NESTED = 32  # records in records; beyond it a record can't be read
_TOO_DEEP = {"type": "fixed", "name": "too_deep", "size": 2**62}  # no record has as many bytes
_EPOCH = date(1970, 1, 1)
_MIDNIGHT = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX = "plain-"
_NAMED = ("record", "error", "enum", "fixed")
_Read = Callable[[Any, Any], Any]


def _time_text(microseconds: int) -> str:
    if not 0 <= microseconds < 86_400_000_000:
        raise ValueError(f"a time of day of {microseconds} microseconds")
    return (_MIDNIGHT + timedelta(microseconds=microseconds)).time().isoformat()


# Type and logical type -> value in the record, and the type's schema -> plain value. All other logical types are read
# as what they are written as: times as epoch milliseconds or microseconds, UUIDs as text.
_READERS: dict[tuple[str, str], _Read] = {
    ("int", "date"): lambda days, _: (_EPOCH + timedelta(days=days)).isoformat(),
    ("int", "time-millis"): lambda ms, _: _time_text(ms * 1_000),
    ("long", "time-micros"): lambda us, _: _time_text(us),
    ("long", "timestamp-nanos"): lambda ns, _: ns // 1_000,
    ("long", "local-timestamp-nanos"): lambda ns, _: ns // 1_000,
    ("bytes", "decimal"): lambda data, schema: decimal_text(data, schema.get("scale", 0)),
    ("fixed", "decimal"): lambda data, schema: decimal_text(data, schema.get("scale", 0)),
    ("fixed", "uuid"): lambda data, _: str(UUID(bytes=data)),
    ("bytes", ""): lambda data, _: text_of(data),
    ("fixed", ""): lambda data, _: text_of(data),
}


def _register() -> None:
    """Give fastavro the functions, under names that no schema uses."""
    for (kind, logical), read in _READERS.items():
        LOGICAL_READERS[f"{kind}-{_PREFIX}{logical}"] = _of_three(read)


def _of_three(read: _Read) -> Callable[[Any, Any, Any], Any]:
    """Return a function as fastavro calls it: the schema that it reads by is the third argument, and there is none."""
    return lambda data, schema, _: read(data, schema)


def parsed(schema: Any, referred: Iterable[Any]) -> tuple[Any, bool]:
    """Return a schema as fastavro takes it, and True if it is no record itself, but stands in the one field of one.

    `schema`, `referred`: the schema and those that it refers to, from JSON, in an order in which they can be read.

    Raises an exception of fastavro's, or ValueError, if it can't be used.
    """
    _register()
    named: dict[str, Any] = {}
    for other in referred:
        parse_schema(other, named_schemas=named)
    root = parse_schema(schema, named_schemas=named)
    plain = _Rewriting(named).of(root, 0)
    is_wrapped = not isinstance(plain, dict) or plain["type"] != "record"
    if is_wrapped:
        plain = {"type": "record", "name": "whole", "fields": [{"name": "value", "type": plain}]}
    return parse_schema(plain), is_wrapped


class _Rewriting:
    """Rewrites one schema. `named`: full name -> type, as fastavro has parsed them.

    Every named type gets a new name for each depth that it stands at, so that none holds itself.
    """

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._names: dict[tuple[str, int], str] = {}

    def of(self, schema: Any, depth: int) -> Any:
        """Return a type, `depth` records deep, as it is to be read."""
        if isinstance(schema, list):
            return [self.of(branch, depth) for branch in schema]
        if isinstance(schema, str):
            schema = self._named.get(schema, {"type": schema})
        return self._of_named(schema, depth) if schema["type"] in _NAMED else self._of_nameless(schema, depth)

    def _of_nameless(self, schema: Any, depth: int) -> Any:
        kind = schema["type"]
        if kind == "map":
            return {"type": kind, "values": self.of(schema["values"], depth)}
        if kind == "array" and self._is_nothing(schema["items"]):
            raise ValueError("an array of values that take no bytes")
        if kind == "array":
            return {"type": kind, "items": self.of(schema["items"], depth)}
        return self.of(kind, depth) if not isinstance(kind, str) or kind in self._named else _plain(schema)

    def _of_named(self, schema: Any, depth: int) -> Any:
        if depth > _MOST_NESTED:
            schema, depth = _TOO_DEEP, 0
        key = schema["name"], depth
        if key in self._names:
            return self._names[key]
        name = self._names[key] = f"t{len(self._names)}"
        if schema["type"] in ("record", "error"):
            fields = [{"name": field["name"], "type": self.of(field["type"], depth + 1)} for field in schema["fields"]]
            return {"type": "record", "name": name, "fields": fields}
        kept = {key: value for key, value in schema.items() if key in ("type", "size", "symbols")}
        return _plain({**schema, **kept, "name": name}) if schema["type"] == "fixed" else {**kept, "name": name}

    def _is_nothing(self, schema: Any, path: frozenset[str] = frozenset()) -> bool:
        """Return True if a type's values take no bytes. `path`: the records that it stands in."""
        if isinstance(schema, list):
            return False  # the number of the branch takes one
        if isinstance(schema, str):
            return schema == "null" or (schema in self._named and self._is_nothing(self._named[schema], path))
        if schema["type"] in ("record", "error"):
            name = schema["name"]
            inside = path | {name}
            return name in path or all(self._is_nothing(field["type"], inside) for field in schema["fields"])
        if schema["type"] == "fixed":
            return bool(schema["size"] == 0)
        return schema["type"] not in ("array", "map", "enum") and self._is_nothing(schema["type"], path)


def _plain(schema: Any) -> Any:
    """Return a type without names, or a fixed one, with the logical type that its reader has here, or none."""
    kind, logical = schema["type"], schema.get("logicalType", "")
    wanted = logical if (kind, logical) in _READERS else ""
    if (kind, wanted) not in _READERS:
        return kind
    kept = {key: schema[key] for key in ("type", "name", "size", "precision", "scale") if key in schema}
    return {**kept, "logicalType": f"{_PREFIX}{wanted}"}
