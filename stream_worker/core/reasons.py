"""Refuses a field of an event: raises InvalidEvent with a short sentence of what was expected, and what came."""

from __future__ import annotations

from typing import Any, NoReturn

from stream_worker.core.errors import InvalidEvent

_SHOWN_CHARACTERS = 60  # characters of a value that a reason shows (not tuned)
_REASON_CHARACTERS = 200  # characters of a whole reason, a header of the dead letter (not tuned)


def refuse(error: str, name: str, expected: str, got: Any, note: str = "") -> NoReturn:
    """Raise InvalidEvent for a field.

    `error`: the class of the fault; "MissingField" takes its place for a field that is not there.
    `name`: the field, as the user calls it.
    `expected`: words for the values that are allowed.
    `got`: the value that came.
    `note`: a remark that follows the value.
    """
    if got is None and error in ("WrongType", "BadTimestamp"):
        error = "MissingField"
    reason = f"{name}: expected {shorten(expected, 100)}, got {shown(got)}{note}"
    raise InvalidEvent(error, shorten(reason))


def shorten(text: str, characters: int = _REASON_CHARACTERS) -> str:
    """Return the text, cut to this many characters with an ellipsis at its end."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def shown(value: Any) -> str:
    """Return a value in a few characters; a container only by its kind, since its repr may nest too deep for Python."""
    if isinstance(value, str):
        return repr(shorten(value, _SHOWN_CHARACTERS))
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return "nothing" if value is None else repr(value).lower()
