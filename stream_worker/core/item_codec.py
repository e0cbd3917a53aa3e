"""Decodes records of the items topic, or rows of a file of items, to changes of items as columns.

A record changes items or not by its bytes and the configuration alone, never by the clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_worker.core.decoder import Documents, DroppedField
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.event_fields import id_text
from stream_worker.core.events import DeadLetter, Record
from stream_worker.core.item_changes import ItemChanges
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.item_fields import (
    field_value,
    flag,
    price_number,
    tag_texts,
    time_seconds,
    title_text,
    vector_arrays,
)
from stream_worker.core.item_rules import ItemRules
from stream_worker.core.json_object import json_document, json_object, require_objects
from stream_worker.core.mapping.config import sources_of
from stream_worker.core.mapping.sources import Read, source
from stream_worker.core.reasons import refuse

_NO_VECTORS: Mapping[str, NDArray[np.float32]] = {}
# Part of an item -> how its value is read, and what stands for a part that is not given. The order is the columns'.
_OPTIONAL: dict[str, tuple[Callable[[str, Any], Any], Any]] = {
    "title": (title_text, ""),
    "brand": (id_text, ""),
    "category": (id_text, ""),
    "price": (price_number, math.nan),
    "tags": (tag_texts, ()),
    "available": (flag, True),
    "blocked": (flag, False),
    "hold": (flag, False),
    "vectors": (vector_arrays, _NO_VECTORS),
    "ts": (time_seconds, math.nan),
}
_TS = 2 + list(_OPTIONAL).index("ts")
_NOTHING = tuple(nothing for _, nothing in _OPTIONAL.values())
_Row = tuple[Any, ...]  # id, gone, the optional parts, and the fields that rules may name
_Part = tuple[int, str, Read, str, Callable[[str, Any], Any]]  # place in the row, name, its reader, its paths, the rule


class ItemDecoder:
    """Decodes records to changes of items.

    documents: returns the document in bytes that begin with a zero byte, as a schema registry frames them; may raise
        InvalidEvent and Unavailable. None: there is no registry.

    rules: what they say of the items stands in the changes; None: there are no such rules. Their failures are those of
        the last batch.

    `dropped` holds the optional parts of the last batch that could not be read.
    """

    def __init__(self, config: ItemsConfig, documents: Documents | None = None, rules: ItemRules | None = None) -> None:
        self._documents = documents
        self.rules = rules or ItemRules.none()
        self.dropped: list[DroppedField] = []
        places = config.places
        self._each = source(places["each"]) if "each" in places else None
        self._item, self._item_name = source(places["item"]), " or ".join(places["item"])
        self._parts: list[_Part] = [
            (number, name, source(places[name]), " or ".join(places[name]), convert)
            for number, (name, (convert, _)) in enumerate(_OPTIONAL.items())
            if name in places
        ]
        self._times = [part for part in self._parts if part[1] == "ts"]
        self._fields = [
            (name, source(sources_of(paths)), " or ".join(sources_of(paths)))
            for name, paths in (config.fields.items() if self.rules else ())
        ]
        self._gone = [(source([text]), frozenset(sources_of(values))) for text, values in config.gone.items()]
        self._key = source(["key"])
        self._tombstone = source(places["tombstone"]) if "tombstone" in places else None

    def decode(self, records: Sequence[Record]) -> tuple[ItemChanges, list[DeadLetter]]:
        """Return the changes in the records' order, and every record (or element of `each`) that can't be read.

        Raises Unavailable while the schema registry does not answer; then nothing was decoded.
        """
        rows: list[_Row] = []
        unreadable: list[DeadLetter] = []
        self.dropped = []
        with np.errstate(over="ignore"):
            for record in records:
                try:
                    self._read(record, rows, unreadable)
                except InvalidEvent as fault:
                    unreadable.append(DeadLetter(record, fault.error, fault.reason))
        changes = _columns(rows)
        if self.rules:
            changes = replace(changes, rules=self.rules.evaluate([_known(row) for row in rows]))
        return changes, unreadable

    def seconds(self, record: Record) -> float:
        """Return the earliest time that a record names for its items; NaN: none, or it can't be read."""
        rows: list[_Row] = []
        try:
            self._read(record, rows, [])
        except InvalidEvent:
            return math.nan
        finally:
            self.dropped = []
        return min((row[_TS] for row in rows if row[_TS] == row[_TS]), default=math.nan)

    def _read(self, record: Record, rows: list[_Row], unreadable: list[DeadLetter]) -> None:
        if record.fault is not None:
            raise InvalidEvent(*record.fault)
        if record.value is None:
            rows.append((self._id_in_key(record), True, *self._given(self._times, None, None, record), {}))
            return
        document = self._document(record.value)
        if self._each is None and type(document) is dict:
            rows.append(self._row(document, document, record))
            return
        for number, (around, element) in enumerate(self._elements(document, record)):
            try:
                rows.append(self._row(around, element, record))
            except InvalidEvent as fault:
                unreadable.append(DeadLetter(record, fault.error, f"element {number}: {fault.reason}"))

    def _document(self, value: bytes) -> Any:
        if self._documents is not None and value[:1] == b"\0":
            return require_objects(self._documents(value))
        try:
            found = orjson.loads(value)
        except ValueError:
            return json_document(value, ())  # it says what the bytes look like, and reads on after a byte order mark
        return found if type(found) is dict else json_document(value, ())

    def _elements(self, document: Any, record: Record) -> Iterator[tuple[Any, Any]]:
        """Yield each item of a record, with the document around it."""
        if type(document) is list:
            yield from ((one, one) for one in document)
            return
        found = None if self._each is None else self._each(document, document, record)
        if found is not None and type(found) is not list and type(found) is not dict:
            refuse("WrongType", "items.each", "an array of items, or an object", found)
        elements = found if type(found) is list else [document if found is None else found]
        yield from ((document, element) for element in elements)

    def _row(self, document: Any, element: Any, record: Record) -> _Row:
        if type(document) is not dict:
            require_objects(document)
        item = id_text(self._item_name, self._item(document, element, record))
        gone = bool(self._gone) and any(_text(read(document, element, record)) in words for read, words in self._gone)
        given = self._given(self._times if gone else self._parts, document, element, record)
        return item, gone, *given, {} if gone else self._more(document, element, record)

    def _given(self, wanted: Sequence[_Part], document: Any, element: Any, record: Record) -> list[Any]:
        """Return all optional parts; those that are not wanted, not there or can't be read as if they were not told."""
        parts = list(_NOTHING)
        for number, name, read, shown, convert in wanted:
            value = read(document, element, record)
            if value is not None and value != "":
                try:
                    parts[number] = convert(shown, value)
                except InvalidEvent as fault:
                    self.dropped.append(DroppedField(name, fault.reason, record.place))
        return parts

    def _more(self, document: Any, element: Any, record: Record) -> dict[str, Any]:
        """Return the fields of `items.fields` that are there and can be read."""
        more = {}
        for name, read, shown in self._fields:
            value = read(document, element, record)
            if value is not None and value != "":
                try:
                    more[name] = field_value(shown, value)
                except InvalidEvent as fault:
                    self.dropped.append(DroppedField(f"fields.{name}", fault.reason, record.place))
        return more

    def _id_in_key(self, record: Record) -> str:
        key = record.key or b""
        if key[:1] == b"{" and self._tombstone is not None:
            document = json_object(key)
            return id_text("key", self._tombstone(document, document, record))
        return id_text("key", self._key(None, None, record))


def _columns(rows: list[_Row]) -> ItemChanges:
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(3 + len(_OPTIONAL))]
    ids, gone, title, brand, category, price, tags, available, blocked, held, vectors, ts, _ = columns
    return ItemChanges(
        ids=ids,
        gone_M=np.array(gone, dtype=np.bool_),
        title=title,
        brand=brand,
        category=category,
        price_M=np.array(price, dtype=np.float32),
        tags=tags,
        available_M=np.array(available, dtype=np.bool_),
        blocked_M=np.array(blocked, dtype=np.bool_),
        held_M=np.array(held, dtype=np.bool_),
        vectors=vectors,
        ts_M=np.array(ts, dtype=np.float64),
    )


def _known(row: _Row) -> dict[str, Any] | None:
    """Return an item as expressions see it: without the fields that it lacks; None: it is gone."""
    item, gone, title, brand, category, price, tags, available, blocked, _, _, _, more = row
    if gone:
        return None
    known: dict[str, Any] = {"id": item, "title": title, "brand": brand, "category": category}
    known = {name: value for name, value in known.items() if value} | more
    if not math.isnan(price):
        known["price"] = price
    return known | {"tags": list(tags), "available": available, "blocked": blocked}


def _text(value: Any) -> str | None:
    """Return a value as a configuration writes it: true, false, a number, a text."""
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) in (str, int, float) else None
