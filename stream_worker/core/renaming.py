"""Writes events for `produce` in the shape that the configuration reads: at its paths, in its words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from stream_worker.core.mapping.config import PARTS, EventsConfig
from stream_worker.core.mapping.paths import steps_of
from stream_worker.core.mapping.sources import is_of_the_record, is_relative
from stream_worker.core.time_formats import UNITS

Step = str | tuple[str, Any]


def renamer(config: EventsConfig) -> Callable[[bytes], bytes]:
    """Return a function that writes an event of contract 1's own shape as `config` reads it.

    Each part goes to the first of its paths that is in the record's value; a part without one is left out. Bytes that
    are no JSON object stay as they are.

    >>> renamer(EventsConfig(user="visitorid"))(b'{"user":"alice","item":"teapot"}')
    b'{"visitorid":"alice","item":"teapot"}'
    >>> renamer(EventsConfig(user="who.id", item=".sku", each="order.lines"))(b'{"user":"alice","item":"teapot"}')
    b'{"who":{"id":"alice"},"order":{"lines":[{"sku":"teapot"}]}}'
    """
    texts = {part: _first_written(config, part) for part in PARTS}
    if all(text == part for part, text in texts.items() if part != "id"):
        return lambda value: value
    element: list[Step] = [step for text in config.sources("each")[:1] for step in (*steps_of(text), ("index", 0))]
    paths = {part: element * is_relative(text) + _steps(text) for part, text in texts.items()}
    words = {meaning: value for value, meaning in reversed(config.values.items())}

    def rename(value: bytes) -> bytes:
        try:
            event = orjson.loads(value)
        except ValueError:
            return value
        if not isinstance(event, dict):
            return value
        document: dict[str, Any] = {}
        for part, given in event.items():
            steps = paths.get(part, [part])
            if steps:
                _put(document, steps, _in_words(part, given, words, config.ts_format))
        return orjson.dumps(document)

    return rename


def _first_written(config: EventsConfig, part: str) -> str:
    """Return the first path of a part that lies in the value of a record; empty if there is none."""
    return next((text for text in config.sources(part) if not is_of_the_record(text)), "")


def _steps(text: str) -> list[Step]:
    text = text.removeprefix(".")
    return steps_of(text) if text else []


def _in_words(part: str, given: Any, words: dict[str, str], ts_format: str) -> Any:
    """Return a type in the word that means it, a time in the stated form, and any other part as it is."""
    if part == "type" and isinstance(given, str):
        return words.get(given, given)
    if part == "ts" and ts_format and isinstance(given, int | float):
        if ts_format in UNITS:
            return given * UNITS[ts_format]
        return datetime.fromtimestamp(given, UTC).strftime(ts_format)
    return given


def _put(document: dict[str, Any], steps: list[Step], given: Any) -> None:
    """Put a value at a path into a document, whose objects and arrays are made on the way.

    Where a path leaves the place open (`*`), it is the first element, or a field called "any".
    """
    place: Any = document
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        inner = given if after is None else _container(after)
        place = _entered(place, step, inner, last=after is None)


def _container(step: Step) -> Any:
    """Return an empty container that a step can enter."""
    return {} if isinstance(step, str) or step[0] == "all" else []


def _entered(place: Any, step: Step, inner: Any, *, last: bool) -> Any:
    """Return what is at a step in a container; put `inner` there if nothing is, or if it is the value itself."""
    if isinstance(step, str) or step[0] == "all":
        name = step if isinstance(step, str) else "any"
        if last or not isinstance(place.get(name), dict | list):
            place[name] = inner
        return place[name]
    kind, argument = step
    if kind == "filter":
        key, wanted = argument
        found = next((one for one in place if one.get(key) == wanted), None)
        if found is None:
            place.append(found := {key: wanted})
        return found
    while len(place) <= max(0, argument):
        place.append(inner)
    return place[argument]
