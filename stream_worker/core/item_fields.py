"""The rules for the parts of an item, one function a part, for the items topic and files of items alike.

Any other value raises InvalidEvent, with a reason for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_worker.core.event_fields import id_text, value_number
from stream_worker.core.event_times import timestamp_seconds
from stream_worker.core.reasons import refuse

TITLE_CHARACTERS = 1_000  # not tuned; bounds the memory of a million items
MOST_TAGS = 64  # not tuned
MOST_NUMBERS = 4_096  # of a vector; models of texts give 64 to 4,096 (not tuned)
MOST_KINDS = 8  # vectors of one item; not tuned
_FLAGS = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
FIELD_BYTES = 4_096  # of an array or object as JSON; not tuned
LONE = "vector"  # the kind of a vector that has none


def title_text(name: str, value: Any) -> str:
    """Return a title, cut to its first characters."""
    if type(value) is str:
        return value.strip()[:TITLE_CHARACTERS]
    return id_text(name, value)


def price_number(name: str, value: Any) -> float:
    price = value_number(name, value)
    if price < 0:
        refuse("BadValue", name, "a number from 0", value)
    return price


def flag(name: str, value: Any) -> bool:
    """Return a truth value that is told as true or false, 1 or 0, or as such a text."""
    known = value.strip().lower() if type(value) is str else value
    found = _FLAGS.get(known) if type(known) in (bool, int, float, str) else None
    if found is None:
        refuse("BadValue", name, "true or false", value)
    return found


def tag_texts(name: str, value: Any) -> tuple[str, ...]:
    """Return the tags in an array, or in a text with `|` or commas between them."""
    value = _unpacked(value)
    if type(value) is str:
        value = [tag.strip() for tag in value.split("|" if "|" in value else ",")]
    if type(value) is not list:
        refuse("WrongType", name, "an array of texts, or a text", value)
    return tuple(id_text(name, tag) for tag in value[:MOST_TAGS] if tag != "")


def vector_arrays(name: str, value: Any) -> Mapping[str, NDArray[np.float32]]:
    """Return the vectors of an item by kind."""
    value = _unpacked(value)
    if type(value) is list:
        value = {LONE: value}
    if type(value) is not dict or len(value) > MOST_KINDS:
        refuse("WrongType", name, f"an object with at most {MOST_KINDS} arrays of numbers, or one such array", value)
    return {id_text(name, kind): _vector(f"{name}.{kind}", numbers) for kind, numbers in value.items()}


def _vector(name: str, numbers: Any) -> NDArray[np.float32]:
    if type(numbers) is list and 0 < len(numbers) <= MOST_NUMBERS:
        try:
            vector = np.array(numbers, dtype=np.float64).astype(np.float32)
        except (ValueError, TypeError):
            vector = np.array([np.nan], dtype=np.float32)
        if vector.ndim == 1 and np.isfinite(vector).all():
            return vector
    refuse("BadValue", name, f"an array of 1 to {MOST_NUMBERS} finite numbers (32 bits)", numbers)


def time_seconds(name: str, value: Any) -> float:
    seconds = timestamp_seconds(value)
    if seconds is None:
        refuse("BadTimestamp", name, "epoch seconds (or ms, us), ISO 8601 or RFC 2822", value)
    return seconds


def field_value(name: str, value: Any) -> Any:
    """Return a value of `items.fields`: a text is cut to its first characters, all else is as JSON has it."""
    if type(value) is str:
        return value[:TITLE_CHARACTERS]
    try:
        told = orjson.dumps(value)
    except orjson.JSONEncodeError:
        refuse("WrongType", name, "a value of JSON", value)
    if told == b"null":
        refuse("BadValue", name, "a finite number", value)
    if len(told) > FIELD_BYTES:
        refuse("BadValue", name, f"an array or object of at most {FIELD_BYTES} bytes", value, f" ({len(told)} bytes)")
    return orjson.loads(told)


def _unpacked(value: Any) -> Any:
    """Return the array or object that a text holds as JSON, as cells of CSV do; any other value as it is."""
    if type(value) is str and value[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value
