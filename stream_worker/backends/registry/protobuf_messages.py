"""Makes documents of Protobuf messages, by one reader for each type of message.

Fields have their names of the schema. A field that was not set is in the document only if it is a number, a boolean or
an enumeration without presence, for which 0, false and the first name are values like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from stream_worker.backends.registry.plain import decimal_text, text_of

_Convert = Callable[[Any], Any]
_MOST_MESSAGES = 10_000  # in one record; an empty message takes two bytes, and its document some hundred
_PACKAGE = "google.protobuf."
_WRAPPERS = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String")


class Messages:
    """Readers by type of message, each made when it is first needed, so that types may hold themselves.

    `left` counts down the messages that the record being read may still hold.
    """

    def __init__(self) -> None:
        self.left = 0
        self._readers: dict[str, _Convert] = {}

    def document(self, message: Any) -> Any:
        """Return a record's message as a document. Raises ValueError if it holds too many."""
        self.left = _MOST_MESSAGES
        return self.reader(message.DESCRIPTOR)(message)

    def reader(self, descriptor: Descriptor) -> _Convert:
        found = self._readers.get(descriptor.full_name)
        if found is None:
            found = _SPECIAL.get(descriptor.full_name) or _Reader(self, descriptor)
            self._readers[descriptor.full_name] = found
        return found


class _Reader:
    """Reads one type of message. Calling it gives the document of a message."""

    def __init__(self, messages: Messages, descriptor: Descriptor) -> None:
        self._messages, self._descriptor = messages, descriptor
        self._fields: dict[int, tuple[str, _Convert | None]] | None = None
        self._unset = {field.name: _zero(field) for field in descriptor.fields if _is_always_there(field)}

    def __call__(self, message: Any) -> dict[str, Any]:
        messages = self._messages
        messages.left -= 1
        if messages.left < 0:
            raise ValueError(f"more than {_MOST_MESSAGES} messages in one")
        fields = self._fields
        if fields is None:
            fields = self._fields = {f.number: (f.name, self._convert(f)) for f in self._descriptor.fields}
        document = self._unset.copy()
        for field, value in message.ListFields():
            if (found := fields.get(field.number)) is not None:  # no extension
                name, convert = found
                document[name] = value if convert is None else convert(value)
        return document

    def _convert(self, field: FieldDescriptor) -> _Convert | None:
        """Return what makes a plain value of a field's; None: it is one."""
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return self._of_map(field.message_type.fields_by_name["value"])
        one = self._convert_one(field)
        if not field.is_repeated:
            return one
        return list if one is None else lambda values: [one(value) for value in values]

    def _of_map(self, values: FieldDescriptor) -> _Convert:
        one = self._convert_one(values) or (lambda value: value)
        return lambda entries: {str(key): one(entries[key]) for key in entries}

    def _convert_one(self, field: FieldDescriptor) -> _Convert | None:
        if field.message_type is not None:
            return self._messages.reader(field.message_type)
        if field.enum_type is not None:
            names = _names(field.enum_type)
            return lambda number: names.get(number, number)
        return text_of if field.type == FieldDescriptor.TYPE_BYTES else None


def _is_always_there(field: FieldDescriptor) -> bool:
    """Return True for a field that can't be told from one that was set to 0."""
    texts = (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE)
    return not field.is_repeated and not field.has_presence and field.cpp_type not in texts


def _zero(field: FieldDescriptor) -> Any:
    return field.default_value if field.enum_type is None else _names(field.enum_type)[0]


def _names(enum: EnumDescriptor) -> dict[int, str]:
    """Return number -> name; of several names of a number the first."""
    return {value.number: value.name for value in reversed(enum.values)}


def _struct(message: Any) -> Any:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message)


# Full name -> plain value. Times are ISO 8601, durations "1.5s", as in Protobuf's own JSON.
_SPECIAL: dict[str, _Convert] = {
    f"{_PACKAGE}Timestamp": lambda message: message.ToJsonString(),
    f"{_PACKAGE}Duration": lambda message: message.ToJsonString(),
    **{f"{_PACKAGE}{name}Value": lambda message: message.value for name in _WRAPPERS},
    f"{_PACKAGE}BytesValue": lambda message: text_of(message.value),
    **{f"{_PACKAGE}{name}": _struct for name in ("Struct", "Value", "ListValue")},
    "confluent.type.Decimal": lambda message: decimal_text(message.value, message.scale),
}
