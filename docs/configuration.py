"""The page docs/configuration.md, made from the configuration classes: `python docs/configuration.py` writes it anew.

Type, bounds and default of a key are its field's, its meaning is the `#:` comment above the field.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import annotated_types as bounds
import orjson

from stream_worker.config import Settings

PAGE = Path(__file__).with_suffix(".md")
_ADRS = PAGE.parent / "adr"
_BEGINNING = """\
# Configuration

One TOML file, one section a component: `stream-worker run -c worker.toml`. Every key has a default, and
`stream-worker check --print -c worker.toml` prints what is in force. Each key is also an environment variable, which
goes before the file: `[kafka] input_topic` is `STREAM_WORKER__KAFKA__INPUT_TOPIC`, with two underscores between the
parts; lists and tables are JSON in a variable. Unknown keys are refused, with the nearest known one named.

This page is made from the code (`python docs/configuration.py`).
"""
_HEAD = ["| key | default | values | meaning |", "|---|---|---|---|"]
_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "nothing"}
_SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def page() -> str:
    return "\n".join([_BEGINNING, *(_part(name, kind) for name, kind in get_type_hints(Settings).items())])


def _part(name: str, kind: Any) -> str:
    """The section of a class; of a table of sections that have the keys of another one: which these are."""
    if get_origin(kind) is not dict:
        return _section(name, kind)
    same = next(other for other, one in get_type_hints(Settings).items() if one is get_args(kind)[1])
    return f"## [{name}.NAME]\n\nKeys as in `[{same}]`.\n"


def _section(name: str, kind: type) -> str:
    lines = [f"## [{name}]", "", _linked(_explanation(kind)), "", *_HEAD]
    tables, meaning, hints = [], meanings(kind), get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        key, hint = field.name, hints[field.name]
        lines.append(f"| `{key}` | {_default(field)} | {values(hint)} | {_linked(meaning[key])} |")
        tables += [_section(f"{name}.{place}", table) for place, table in tables_in(key, hint)]
    return "\n".join([*lines, "", *tables])


def tables_in(key: str, hint: Any) -> list[tuple[str, type]]:
    """The configuration class of the tables in a field, under the name of its section.

    >>> tables_in("types", dict[str, str])
    []
    """
    if get_origin(hint) is dict:
        return tables_in(f"{key}.NAME", get_args(hint)[1])
    if get_origin(hint) is tuple:
        return tables_in(key, get_args(hint)[0])
    table = None if get_origin(hint) is Annotated else table_in(hint)
    return [] if table is None else [(key, table)]


def table_in(kind: Any) -> type | None:
    """The configuration class among the types that a value may have; None: there is none."""
    return next((one for one in (kind, *get_args(kind)) if dataclasses.is_dataclass(one)), None)


def _explanation(kind: type) -> str:
    """The docstring of a section, without the section's own name before a colon."""
    text = re.sub(r"^`\[[\w.]+\]`: (\w)", lambda found: found[1].upper(), inspect.getdoc(kind) or "")
    return re.sub(r"(?m)^(\w+): +(?=\w)", r"- \1: ", text)


def meanings(kind: type) -> dict[str, str]:
    """The `#:` comment above each field of a class."""
    found, comment = {}, list[str]()
    for line in map(str.strip, inspect.getsource(kind).splitlines()):
        if line.startswith("#:"):
            comment.append(line.removeprefix("#:").strip())
        elif field := re.match(r"(\w+): .*", line) if comment else None:
            found[field[1]], comment = " ".join(comment).replace("|", r"\|"), []
    return found


def _linked(text: str) -> str:
    """The text with links to the records of choices and the pages that it names.

    >>> _linked("at most 500 MB (ADR 0008, docs/speed.md)")
    'at most 500 MB ([ADR 0008](adr/0008-items-that-leave-and-return.md), [speed](speed.md))'
    """
    text = re.sub(r"ADR (\d{4})", lambda found: f"[{found[0]}](adr/{next(_ADRS.glob(found[1] + '-*')).name})", text)
    return re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", text)


def values(hint: Any) -> str:
    """The values that a type of a field allows, in words.

    >>> values(Annotated[int, bounds.Interval(ge=1, le=64)]), values(Annotated[float, bounds.Gt(0)])
    ('integer, 1 to 64', 'number above 0')
    """
    kind, *rest = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(kind) is Literal:
        words = ", ".join(f"`{choice}`" for choice in get_args(kind))
    elif isinstance(kind, UnionType):
        words = " or ".join(values(one) for one in get_args(kind) if one is not NoneType)
    elif get_origin(kind) is tuple:
        words = f"list of: {values(get_args(kind)[0])}"
    else:
        words = _NAMES.get(kind, "table")
    return words + _within(dict(_limits(rest)))


def _limits(metadata: list[Any]) -> Iterator[tuple[str, Any]]:
    for bound in metadata:
        for part in bound if isinstance(bound, bounds.GroupedMetadata) else [bound]:
            yield from ((sign, getattr(part, sign)) for sign in (*_SIGNS, "min_length") if hasattr(part, sign))


def _within(limits: dict[str, Any]) -> str:
    if limits.keys() >= {"ge", "le"}:
        return f", {limits['ge']:,} to {limits['le']:,}"
    if "min_length" in limits:
        return ", not empty"
    said = [f"{words} {limits[sign]:,}" for sign, words in _SIGNS.items() if sign in limits]
    return (" " if said and said[0].startswith("above") else ", ") + ", ".join(said) if said else ""


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if value is dataclasses.MISSING:
        return "must be given"
    if isinstance(value, dict):
        return ", ".join(f"`{name}`" for name in value) or "none"
    return f"`{orjson.dumps(value).decode()}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
