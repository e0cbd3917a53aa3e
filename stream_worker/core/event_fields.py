"""The rules for the fields of an event, one function per field, for topics and recorded logs alike.

Any other value raises InvalidEvent, with a reason for a person.
"""

from __future__ import annotations

from typing import Any

from stream_worker.core.category_names import code_of
from stream_worker.core.number_text import number_of, whole_text
from stream_worker.core.reasons import refuse

ERRORS = (
    "Empty",  # no value at all
    "NotJson",  # also invalid UTF-8, NaN, too deep nesting, or a key that stands there twice
    "NotGzip",  # broken, or more than 16 MiB
    "NotAnObject",
    "MissingField",
    "WrongType",
    "BadId",  # a text of the wrong length
    "BadTimestamp",
    "UnknownType",
    "TooManyElements",  # of an array of events
)
# Of records that begin with a zero byte, which are read by the schema that they name.
REGISTRY_ERRORS = (
    "BadFrame",  # a zero byte, and no schema's id or no Protobuf message after it
    "UnknownSchema",  # no schema has this id
    "BadSchema",  # the schema, or one that it refers to, can't be used
    "NotAvro",
    "NotProtobuf",
)
SNOWPLOW_ERRORS = ("NotSnowplow",)  # of `events.format = "snowplow"`: neither JSON nor a line of an enriched event
MAX_ID_BYTES = 256  # bytes of UTF-8 in an id; ADR 0016 reckons the memory of Redis by it (not tuned)
_MAX_VALUE = 3.4028235e38  # the largest float32


def id_text(name: str, value: Any) -> str:
    """Return the id in a field, a text or a whole number, as text. `name`: the field, for the reason."""
    if type(value) is not str:
        if type(value) is int:
            return str(value)
        whole = whole_text(value)
        if whole is None:
            refuse("WrongType", name, "a string or an integer", value)
        return whole
    # No character takes more than 4 bytes.
    if not 0 < len(value) <= MAX_ID_BYTES // 4 and not 0 < len(value.encode()) <= MAX_ID_BYTES:
        size = len(value.encode())
        refuse("BadId", name, f"1 to {MAX_ID_BYTES} bytes of UTF-8", value, f" ({size} bytes)")
    return value


def category_code(name: str, value: Any) -> int:
    """Return the code of the category in a field: see `category_names.code_of`."""
    return code_of(id_text(name, value))


def value_number(name: str, value: Any) -> float:
    """Return the finite number in a field, also of digits. `name`: the field, for the reason."""
    number = number_of(value) if type(value) is str else value
    if (type(number) is not float and type(number) is not int) or not -_MAX_VALUE <= number <= _MAX_VALUE:
        refuse("BadValue", name, "a finite number (32 bits)", value)
    return float(number)
