"""Writes the events of a log's rows as contract 1 has them, for `produce`. Values that are none stay as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from typing import Any

import orjson

from stream_worker.backends.files.mapping import Mapping
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.event_times import OLDEST_SECONDS, seconds_in
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import IGNORE, PARTS
from stream_worker.core.mapping.mapper import Mapper
from stream_worker.core.number_text import number_of, whole_text

_IDS = ("user", "item", "session", "request_id", "category", "id")
# Seconds since 1970 at the year 10000, where Python's datetime ends. Milliseconds below it fit an int64.
_END_SECONDS = 253_402_300_800.0
NO_RECORD = Record(0, 0, -1, None, None)  # a row has neither key nor headers


class Canonical:
    """The mapping of a log, as a writer of contract 1's JSON."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._mapper = Mapper(mapping.paths())

    def events(self, value: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield (user, event) of each event of a row; a row of which none can be found is yielded as it is."""
        document = orjson.loads(value)
        try:
            scopes = self._mapper.scopes(document, NO_RECORD)
        except InvalidEvent:
            yield "", value
            return
        for scope in scopes:
            event = dict.fromkeys(PARTS) | self._mapper.values(scope, NO_RECORD)
            if self._convert(event):
                user = event.get("user")
                key = user if isinstance(user, str) else ""
                yield key, orjson.dumps({part: given for part, given in event.items() if given is not None})

    def _convert(self, event: dict[str, Any]) -> bool:
        """Bring the parts of an event into contract 1's forms; return False for one that is to be ignored."""
        for part in _IDS:
            if event[part] is not None and type(event[part]) is not str:
                event[part] = whole_text(event[part]) or event[part]
        if isinstance(event["value"], str) and (number := number_of(event["value"])) is not None:
            event["value"] = number
        kind = self._type_of(event["type"])
        event["type"] = kind if kind != "" else None
        seconds = row_seconds(event["ts"], self._mapping.ts_format)
        if not math.isnan(seconds):
            event["ts"] = seconds
        return bool(kind != IGNORE)

    def _type_of(self, kind: Any) -> Any:
        if kind is None or kind == "":
            kind = self._mapping.default_type
        name = kind if isinstance(kind, str) else whole_text(kind)
        return kind if name is None else self._mapping.types.get(name, kind)


def row_seconds(value: Any, ts_format: str) -> float:
    """Return the epoch seconds of a row's time; NaN: it can't be read."""
    seconds = seconds_in(value.isoformat() if isinstance(value, date) else value, ts_format)
    return math.nan if seconds is None or not OLDEST_SECONDS <= seconds < _END_SECONDS else seconds
