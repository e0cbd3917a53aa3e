"""Renames an event's fields for `produce`: from contract 1's names to those that the configuration reads."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from stream_worker.core.codec import EventsConfig


def renamer(config: EventsConfig) -> Callable[[bytes], bytes]:
    """Return a function that renames the fields of an event from contract 1's own names to those of `config`.

    A part whose configured name is empty is left out. Bytes that are no JSON object stay as they are.

    >>> renamer(EventsConfig(user="visitorid"))(b'{"user":"alice","item":"teapot"}')
    b'{"visitorid":"alice","item":"teapot"}'
    """
    own = EventsConfig(category="category")
    names = dict(zip(own.names, config.names, strict=True))
    if all(name == ours for ours, name in names.items()):
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
