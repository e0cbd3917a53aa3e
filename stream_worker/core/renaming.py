"""Renames an event's fields for `produce`: from contract 1's names to those that the configuration reads."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from stream_worker.core.mapping.config import PARTS, EventsConfig


def renamer(config: EventsConfig) -> Callable[[bytes], bytes]:
    """Return a function that renames the fields of an event from contract 1's own names to those of `config`.

    A part whose configured name is empty is left out. Bytes that are no JSON object stay as they are.

    >>> renamer(EventsConfig(user="visitorid"))(b'{"user":"alice","item":"teapot"}')
    b'{"visitorid":"alice","item":"teapot"}'
    """
    names = {part: next(iter(config.sources(part)), "") for part in PARTS}
    if all(name == part for part, name in names.items() if part != "id"):
        return lambda value: value

    def rename(value: bytes) -> bytes:
        try:
            event = orjson.loads(value)
        except ValueError:
            return value
        if not isinstance(event, dict):
            return value
        return orjson.dumps({names.get(name, name): part for name, part in event.items() if names.get(name, name)})

    return rename
