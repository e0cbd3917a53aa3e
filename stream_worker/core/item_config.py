"""`[items]` of the configuration: the paths at which a record says what an item is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from pydantic import dataclasses as checked

from stream_worker.core.mapping.config import Source, sources_of
from stream_worker.core.mapping.paths import path
from stream_worker.core.mapping.sources import is_of_the_record, is_relative


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class ItemsConfig:
    """`[items]`: where a record of the items topic, or a row of a file of items, says what an item is.

    A key holds a path as in `[events]`, or a list of paths, of which the first with a value counts; empty: this part is
    not read. A path that begins with a dot begins at an element of `each`. `key` is the record's own key, and
    `record_time` its time. A record tells all that is known of its item, and replaces what was known. A record without
    a value (null) says that the item in its key is gone. What can't be read of an optional part is dropped and counted,
    and the item stays.
    """

    #: Name of a mapping whose keys stand below those given here: `debezium`, changes of a table by Debezium.
    preset: str = ""
    #: Path of an array in the record, each of whose elements is an item, or of an object that is the item. Empty, or
    #: where nothing is there: the record itself is the item.
    each: Source = ""
    #: Item's id, a text or an integer, as events have it.
    item: Source = field(default_factory=lambda: ("item", "key"))
    #: Title, a text, of which the first 1,000 characters are read.
    title: Source = "title"
    #: Category, a text or an integer, as `events.category`.
    category: Source = "category"
    #: Brand, a text or an integer.
    brand: Source = "brand"
    #: Price, a number from 0.
    price: Source = "price"
    #: Tags: an array of texts, or one text with `|` or commas between its tags. The first 64 are read.
    tags: Source = "tags"
    #: Whether the item can be had: true or false, also as 1, 0, "true", "false". Lists leave out what can't be had.
    available: Source = "available"
    #: Whether lists must leave the item out, as `available` is told.
    blocked: Source = "blocked"
    #: Whether the item waits until it is approved (`stream-worker items approve`), as `available` is told.
    hold: Source = "hold"
    #: True: every item waits until it is approved, whatever its record says. Needs `kafka.decisions_topic`.
    hold_new: bool = False
    #: Vectors: an object with an array of numbers for each kind ("text", "image"), or one array, whose kind is then
    #: called "vector". Of each at most 4,096 numbers, in a file also as JSON in a text.
    vectors: Source = "vectors"
    #: Time from which on this is so, in the forms of `events.ts`. Only a replay of a file reads it.
    ts: Source = "ts"
    #: Path -> value (or list of values) that says that the item is gone, such as `gone = {status = "deleted"}`.
    gone: dict[str, Source] = field(default_factory=dict)
    #: Name -> path (or list of paths) of more fields, which expressions of `[lists]` and `[scenarios]` name as
    #: `item.NAME`, and of whose values `caps` and `exposure` make groups. Any JSON value: texts are cut to 1,000
    #: characters, an array or object of more than 4,096 bytes is left out. At most 32 (docs/expressions.md).
    fields: dict[str, Source] = field(default_factory=dict)
    #: Path of the id in the key of a record without a value, where keys are JSON objects (Debezium's). A key that is no
    #: object is the id itself.
    tombstone: Source = ""

    def __post_init__(self) -> None:
        if not sources_of(self.item):
            raise ValueError("items.item: must be a path or a list of paths, got ''")
        for name in _PLACES:
            for text in sources_of(getattr(self, name)):
                _check(f"items.{name}", text, relative=bool(self.each) and name not in _FROM_THE_RECORD)
        for text, values in self.gone.items():
            _check("items.gone", text, relative=bool(self.each))
            if not sources_of(values):
                raise ValueError(f"items.gone.{text}: must be a value that means gone, got ''")
        self._check_fields()

    def _check_fields(self) -> None:
        if len(self.fields) > MOST_FIELDS:
            raise ValueError(f"items.fields: must be at most {MOST_FIELDS}, got {len(self.fields)}")
        for name, paths in self.fields.items():
            if not _NAME.fullmatch(name) or name in _NO_NAMES:
                raise ValueError(f"items.fields.{name}: must be a name of letters, digits and _ that is not taken")
            if not sources_of(paths):
                raise ValueError(f"items.fields.{name}: must be a path or a list of paths, got ''")
            for text in sources_of(paths):
                _check(f"items.fields.{name}", text, relative=bool(self.each))

    def times_alone(self) -> ItemsConfig:
        """Return the same without the parts that tell nothing about an item's time."""
        return replace(self, **_UNTIMED)

    @property
    def places(self) -> Mapping[str, tuple[str, ...]]:
        """The paths of each key that has any."""
        given = {name: sources_of(getattr(self, name)) for name in _PLACES}
        return {name: texts for name, texts in given.items() if texts}


MOST_FIELDS = 32  # in `items.fields`; bounds what an item costs (not tuned)
_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
# Names of fields that every item has, of groups, and words of the language of expressions.
_NO_NAMES = frozenset({
    "id", "title", "brand", "category", "price", "tags", "available", "blocked", "price_band", "true", "false", "null",
    "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
})  # fmt: skip
_FROM_THE_RECORD = frozenset({"each", "tombstone"})
_PLACES = (
    "each", "item", "title", "category", "brand", "price", "tags", "available", "blocked", "hold", "vectors", "ts",
    "tombstone",
)  # fmt: skip


_UNTIMED: dict[str, Any] = {name: "" for name in _PLACES if name not in ("each", "item", "ts", "tombstone")}
_UNTIMED |= {"fields": {}}


def _check(key: str, text: str, *, relative: bool) -> None:
    if is_of_the_record(text):
        return
    if is_relative(text) and not relative:
        raise ValueError(f"{key}: must begin with a dot only where items.each is set, got {text!r}")
    try:
        path(text.removeprefix(".") or "element")
    except ValueError as fault:
        raise ValueError(f"{key}: {fault}") from None
