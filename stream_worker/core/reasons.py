"""Reasons for a person, why an input is no event: what was expected, and what came, in a few characters."""

from __future__ import annotations

from typing import Any, NoReturn

from stream_worker.core.errors import InvalidEvent

_SHOWN_CHARACTERS = 60
_REASON_CHARACTERS = 200


def refuse(error: str, name: str, expected: str, got: Any, note: str = "") -> NoReturn:
    if got is None and error in ("WrongType", "BadTimestamp"):
        error = "MissingField"
    reason = f"{name}: expected {shorten(expected, 100)}, got {shown(got)}{note}"
    raise InvalidEvent(error, shorten(reason))


def shorten(text: str, characters: int = _REASON_CHARACTERS) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def shown(value: Any) -> str:
    """A value in a few characters; containers only by name, since their repr may nest too deep for Python."""
    if isinstance(value, str):
        return repr(shorten(value, _SHOWN_CHARACTERS))
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return "nothing" if value is None else repr(value).lower()
