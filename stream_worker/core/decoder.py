"""Decodes records to events as columns; the only place where Python handles events one by one.

A record is an event or not by its bytes, its broker timestamp and the configuration, never by the clock, so that every
replay decides the same. Each record becomes events, a dead letter, or both, or is ignored by configuration, and no
bytes raise an error.
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from stream_worker.core.category_names import note_name
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.event_fields import MAX_ID_BYTES, category_code, id_text, value_number
from stream_worker.core.event_times import DAY_SECONDS, OLDEST_SECONDS, SECONDS_BELOW, event_seconds
from stream_worker.core.events import Alias, DeadLetter, Events, Record
from stream_worker.core.json_object import json_document, keys_of, require_objects
from stream_worker.core.mapping.config import ALIAS, EVERY_OTHER, IGNORE, PARTS, EventsConfig
from stream_worker.core.mapping.mapper import Mapper, Scope
from stream_worker.core.number_text import whole_text
from stream_worker.core.reasons import refuse, shorten, shown
from stream_worker.core.resent_elements import elements_asked, id_of_these
from stream_worker.core.snowplow import is_enriched, snowplow_document

T = TypeVar("T")
Documents = Callable[[bytes], Any]  # the value of a record -> its document
# What few events have: the request id, and hashes of the event's own id and of its session's.
_Marks = tuple[str | None, int, int]
_NO_MARKS: _Marks = (None, 0, 0)
_NONE: tuple[Sequence[str | None], Sequence[int], Sequence[int]] = ((), (), ())
_Row = tuple[int, int, float, int, float, int, str, str, _Marks | None]
_TYPE, _VALUE, _SESSION, _REQUEST_ID, _CATEGORY, _ID = map(
    PARTS.index, ("type", "value", "session", "request_id", "category", "id")
)


_LIVE_NEWEST, _LOGS_NEWEST = "one day past the record's own time", "a year past the rows around it"
_IGNORED, _ALIAS, _UNKNOWN = -1, -2, -3  # in place of the number of an event type
_SHORT_ID = MAX_ID_BYTES // 4  # characters of an id that is short enough whatever they are
_MOST_IGNORED = 200  # type values that are counted apart when they are ignored; bounds the memory (not tuned)
_NOT_KEPT = "(keep)"
_NO_ELEMENTS = "(no elements)"  # in place of a type's value: ignored since there is no event in the record


class DroppedField(NamedTuple):
    """An optional part of an event that could not be read.

    `part`: one of `OPTIONAL`.
    `reason`: a sentence for a person.
    `place`: the place of the record (`Record.place`).
    """

    part: str
    reason: str
    place: str


class Decoder:
    """Decodes records to events and dead letters.

    `config`: where the parts of an event are, and the event types.
    `from_log`: the records are rows of a recorded log, which has no broker's clock.
    `watch`: called with the events of each batch.
    `documents`: makes the documents of values that begin with a zero byte, by the schema that they name; None: these
        are dead letters.

    Of the last batch: `dropped` holds the optional parts that could not be read, `aliases` the records that give a user
    another id, `rest` the records that were not decoded. Of all batches: `ignored` counts records that are no events by
    configuration, by the value of their type; `categories` names categories by their codes; `key_mismatches` counts
    records whose key is not their user: such a topic is not keyed by user, so one user's events can change their order.
    """

    def __init__(
        self,
        config: EventsConfig,
        *,
        from_log: bool = False,
        watch: Callable[[Events], None] | None = None,
        documents: Documents | None = None,
    ) -> None:
        self.config = config
        self._watch = watch
        self._documents = documents
        self._is_snowplow = config.format == "snowplow"
        self.key_mismatches = 0
        self.ignored: Counter[str] = Counter()
        self.categories: dict[int, str] = {}
        self.dropped: list[DroppedField] = []
        self.aliases: list[Alias] = []
        self.rest: list[Record] = []
        self._mapper = Mapper(config)
        self._keys: tuple[Any, ...] | None = self._mapper.plain
        self._fields = None if "" in self._mapper.fields else keys_of(self._mapper.fields)
        self._is_json = documents is None and not self._is_snowplow
        self._names = self._mapper.names
        self._type_names = list(config.named)
        self._fold, self._ts_format = config.fold_types, config.ts_format
        self._codes = self._known_types()
        self._others = self._codes.get(EVERY_OTHER, _UNKNOWN)
        self._from_log, self._counts_keys = from_log, not from_log
        self._newest = _LOGS_NEWEST if from_log else _LIVE_NEWEST

    def of_heard(self) -> Decoder:
        """Return a decoder of the same records that nobody watches. It counts what it ignores, and no keys."""
        other = copy.copy(self)
        other._watch, other.key_mismatches, other.ignored, other._counts_keys = None, 0, Counter(), False
        return other

    def _known_types(self) -> dict[str, int]:
        codes = {name: code for code, name in enumerate(self._type_names)}
        meant = codes | {IGNORE: _IGNORED, ALIAS: _ALIAS}
        codes |= {value: meant[meaning] for value, meaning in self.config.values.items()}
        return {_folded(value): code for value, code in codes.items()} if self._fold else codes

    def decode(self, records: Sequence[Record], most: float = math.inf) -> tuple[Events, list[DeadLetter]]:
        """Return the valid events as columns, in the records' order, and a dead letter for what is none.

        most: once there are so many events, a record of several is the last one that is decoded; see `rest`

        A record is one event, several, none (`ignored`, `aliases`), or a dead letter. Raises nothing but what
        `documents` raises while a schema can't be had; the same records can be decoded again then.
        """
        rows: list[_Row] = []
        within: dict[int, int] = {}
        dead_letters: list[DeadLetter] = []
        self.dropped, self.aliases = [], []
        keys, fields, is_json = self._keys, self._fields, self._is_json
        remaining = iter(records)
        for record in remaining:
            try:
                if record.fault is not None:
                    raise InvalidEvent(*record.fault)
                document = json_document(record.value, fields) if is_json else self._document_of_any(record.value)
                if keys is not None and type(document) is dict and not (record.headers and elements_asked(record)):
                    row = self._row(record, document.get, keys, document)
                    if row is not None:
                        rows.append(row)
                else:
                    if letter := self._decode_several(record, document, rows, within):
                        dead_letters.append(letter)
                    if len(rows) >= most:
                        break
            except InvalidEvent as fault:
                asked = sorted(elements_asked(record) or ()) if record.headers else ()
                dead_letters.append(DeadLetter(record, fault.error, fault.reason, asked))
        self.rest = list(remaining)
        events = _columns(rows, within)
        if self._watch is not None:
            self._watch(events)
        return events, dead_letters

    def hold_to(self, most: int) -> None:
        """Take no record of more events than this, even where `most_each` allows more."""
        self._mapper.most = min(self._mapper.most, most)

    def _document_of_any(self, value: bytes | None) -> Any:
        if self._documents is not None and value and not value[0]:
            return require_objects(self._documents(value))
        if self._is_snowplow and value and is_enriched(value):
            return snowplow_document(value)
        return json_document(value, self._fields)

    def _decode_several(
        self, record: Record, document: Any, rows: list[_Row], within: dict[int, int]
    ) -> DeadLetter | None:
        """Add the events of a record to `rows`; return the dead letter of those elements that are none."""
        if type(document) is dict and not self._mapper.kept(document, record):
            self._ignore(_NOT_KEPT)
            return None
        scopes = self._mapper.scopes(document, record)
        asked = elements_asked(record)
        if not scopes:
            self._take_without_elements(record, document)
        elif asked is not None and min(asked) >= len(scopes):
            self._ignore(_NO_ELEMENTS)
            return None
        made, bad = self._made(record, document, scopes, asked)
        if type(document) is list or self._mapper.timed:
            self._add_in_order(record, made, rows, within)
        else:
            within.update((len(rows) + place, place) for place in range(1, len(made)))
            rows += [row for row, _ in made]
        return _letter(record, bad, len(scopes)) if bad else None

    def _made(
        self, record: Record, document: Any, scopes: Sequence[Scope], asked: frozenset[int] | None
    ) -> tuple[list[tuple[_Row, Any]], list[tuple[int, InvalidEvent]]]:
        """Return the rows of the elements that are asked for, each with its object, and the faults of the others."""
        is_array = type(document) is list
        shares = self._mapper.shares and not is_array
        made: list[tuple[_Row, Any]] = []
        bad: list[tuple[int, InvalidEvent]] = []
        for index, scope in enumerate(scopes):
            if asked is not None and index not in asked:
                continue
            try:
                if is_array and not self._is_kept(scope[0], record):
                    continue
                if made and shares:
                    row: _Row | None = self._next_row(made[-1][0], record, scope)
                else:
                    row = self._first_row(record, scope, asked)
            except InvalidEvent as fault:
                bad.append((index, fault))
            else:
                if row is not None:
                    made.append((row, scope[0]))
        return made, bad

    def _is_kept(self, document: Any, record: Record) -> bool:
        """Return whether an object of an array meets `keep`. Raises InvalidEvent for what is no object."""
        _require_object(document)
        kept = self._mapper.kept(document, record)
        if not kept:
            self._ignore(_NOT_KEPT)
        return kept

    def _first_row(self, record: Record, scope: Scope, asked: frozenset[int] | None) -> _Row | None:
        parts = self._mapper.values(scope, record)
        if asked is not None:
            parts["id"] = id_of_these(parts.get("id"), asked)
        return self._row(record, parts.get, PARTS, scope)

    def _next_row(self, row: _Row, record: Record, scope: Scope) -> _Row:
        """Return the row of another element of a record: only item, value and category are its own."""
        partition, offset, ts, code, _, _, user, _, marks = row
        item, value, category = self._mapper.own_values(scope, record)
        item = id_text(self._names[1], item)
        value = math.nan if value is None else self._optional(_VALUE, value_number, value, record, math.nan)
        category = 0 if category is None else self._optional(_CATEGORY, self._category, category, record, 0)
        return partition, offset, ts, code, value, category, user, item, marks

    def _take_without_elements(self, record: Record, document: Any) -> None:
        """Take a record with an empty `each` for what its type says: it is no event, but may be a login."""
        scope = (document, None)
        parts = self._mapper.values(scope, record)
        user, kind = parts.get("user"), parts.get("type")
        code = self._code(kind)
        if code == _ALIAS:
            self._alias(record, id_text(self._names[0], user), self._mapper.user_before(scope, record))
        else:
            self._ignore(kind if code == _IGNORED else _NO_ELEMENTS)

    def _add_in_order(
        self, record: Record, made: list[tuple[_Row, Any]], rows: list[_Row], within: dict[int, int]
    ) -> None:
        """Add events with times of their own in the order of these.

        Events that have no other time than the record's are one set, and so are those of one object of an array whose
        elements have no times of their own.
        """
        times = [ts for (_, _, ts, *_), _ in made]
        of_record = all(ts * 1000 == record.timestamp_ms for ts in times)
        before: Counter[int] = Counter()
        for place in sorted(range(len(made)), key=times.__getitem__):
            row, around = made[place]
            of_set = 0 if of_record else id(around)
            if before[of_set] and (of_record or not self._mapper.timed):
                within[len(rows)] = before[of_set]
            before[of_set] += 1
            rows.append(row)

    def _row(self, record: Record, get: Callable[[Any], Any], keys: Sequence[Any], scope: Any) -> _Row | None:
        """Return an event's row, None for a record that is no event by configuration. Raises InvalidEvent.

        get, keys: `get` of a dictionary, and its key of each part, in the order of `PARTS`.
        scope: where the paths of the event start; the document alone if no path asks for an element.
        """
        user_key, item_key, type_key, ts_key, value_key, session_key, request_key, category_key, id_key = keys
        kind = get(type_key)
        code = self._codes.get(kind, _UNKNOWN) if type(kind) is str else _UNKNOWN
        if code < 0:
            code = self._code(kind)
            if code == _IGNORED:
                self._ignore(kind)
                return None
        # What most records hold is judged here, since a call costs more than the judgement.
        user = get(user_key)
        if type(user) is not str or not 0 < len(user) <= _SHORT_ID:
            user = id_text(self._names[0], user)
        if code == _ALIAS:
            start = scope if type(scope) is tuple else (scope, None)
            self._alias(record, user, self._mapper.user_before(start, record))
            return None
        item = get(item_key)
        if type(item) is not str or not 0 < len(item) <= _SHORT_ID:
            item = id_text(self._names[1], item)
        if code < 0:
            self._refuse_type(kind)
        ts = get(ts_key)
        newest = record.timestamp_ms / 1000 + DAY_SECONDS
        if self._ts_format or type(ts) is not float or not (OLDEST_SECONDS <= ts < newest and ts < SECONDS_BELOW):
            ts = event_seconds(self._names[3], ts, record.timestamp_ms, self._newest, self._ts_format)
        value, category, request_id = get(value_key), get(category_key), get(request_key)
        session = None if session_key is None else get(session_key)
        event_id = None if id_key is None else get(id_key)
        marks = None
        value = math.nan if value is None else self._optional(_VALUE, value_number, value, record, math.nan)
        category = 0 if category is None else self._optional(_CATEGORY, self._category, category, record, 0)
        if request_id is not None or session is not None or event_id is not None:
            marks = self._marks(record, request_id, event_id, session)
        if self._counts_keys and record.key != user.encode():
            self.key_mismatches += 1
        return record.partition, record.offset, ts, code, value, category, user, item, marks

    def _marks(self, record: Record, request_id: Any, event_id: Any, session: Any) -> _Marks:
        return (
            None if request_id is None else self._optional(_REQUEST_ID, id_text, request_id, record, None),
            0 if event_id is None else self._optional(_ID, category_code, event_id, record, 0),
            0 if session is None else self._optional(_SESSION, category_code, session, record, 0),
        )

    def _optional(self, part: int, read: Callable[[str, Any], T], given: Any, record: Record, nothing: T) -> T:
        """Return an optional part, or `nothing` for one that can't be read.

        What can't be read is noted, but for an empty text, which means that it was not given.
        """
        try:
            return read(self._names[part], given)
        except InvalidEvent as fault:
            if given != "":
                self.dropped.append(DroppedField(PARTS[part], fault.reason, record.place))
            return nothing

    def _category(self, name: str, given: Any) -> int:
        """Return the code of a category, and note its name."""
        code = category_code(name, given)
        if code not in self.categories:
            note_name(self.categories, code, id_text(name, given))
        return code

    def _alias(self, record: Record, user: str, old: Any) -> None:
        """Note once a record that the user had another id before; one that names none, or the same, is ignored."""
        if old is None or old == "" or (old := id_text("alias", old)) == user:
            self._ignore("(alias)")
            return
        alias = Alias(record.partition, record.offset, user, old)
        if self.aliases[-1:] != [alias]:
            self.aliases.append(alias)

    def _ignore(self, kind: Any) -> None:
        name = shorten(kind, 60) if type(kind) is str and kind else shown(kind)
        self.ignored[name if name in self.ignored or len(self.ignored) < _MOST_IGNORED else "(others)"] += 1

    def _code(self, kind: Any) -> int:
        """Return the number of the event type that a value means, or what it means instead; `_UNKNOWN`: nothing."""
        if kind is None or kind == "":
            kind = self.config.default_type or kind
        name = kind if type(kind) is str else whole_text(kind)
        if name is None:
            return self._others if kind is None else _UNKNOWN
        return self._codes.get(_folded(name) if self._fold else name, self._others)

    def _refuse_type(self, kind: Any) -> NoReturn:
        if kind is None or kind == "":
            kind = self.config.default_type or kind
        kind = whole_text(kind) or kind
        if type(kind) is not str:
            refuse("WrongType", self._names[_TYPE], "the name of an event type", kind)
        known = [value for value in (*self._type_names, *self.config.values) if value != EVERY_OTHER]
        refuse("UnknownType", self._names[_TYPE], "one of " + ", ".join(known), kind)


def _require_object(document: Any) -> None:
    if type(document) is not dict:
        raise InvalidEvent("NotAnObject", f"expected a JSON object, got {shown(document)}")


def _letter(record: Record, bad: Sequence[tuple[int, InvalidEvent]], elements: int) -> DeadLetter:
    """Return the dead letter of a record's bad elements; that of the whole record if it has no other elements."""
    index, first = bad[0]
    if len(bad) == elements:
        return DeadLetter(record, first.error, first.reason)
    return DeadLetter(record, first.error, shorten(f"element {index}: {first.reason}"), [index for index, _ in bad])


def _folded(value: str) -> str:
    """Return a type's value without what may differ: case, blanks, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", value).casefold()


def _columns(rows: list[_Row], within: Mapping[int, int]) -> Events:
    columns = zip(*rows, strict=True) if rows else ((),) * 9
    partitions, offsets, times, codes, values, categories, users, items, marks = columns
    request_ids, ids, sessions = zip(*(mark or _NO_MARKS for mark in marks), strict=True) if any(marks) else _NONE
    within_B = np.zeros(len(rows), np.int16)
    if within:
        within_B[list(within)] = list(within.values())
    return Events(
        partition_B=np.array(partitions, np.int32),
        offset_B=np.array(offsets, np.int64),
        ts_B=np.array(times, np.float64),
        type_B=np.array(codes, np.int16),
        value_B=np.array(values, np.float32),
        category_B=np.array(categories, np.uint32),
        within_B=within_B,
        id_B=np.array(ids, np.uint32) if ids else np.zeros(len(rows), np.uint32),
        session_B=np.array(sessions, np.uint32) if sessions else np.zeros(len(rows), np.uint32),
        users=list(users),
        items=list(items),
        request_ids=list(request_ids) if request_ids else [None] * len(rows),
    )
