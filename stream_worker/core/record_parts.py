"""The key or value of a record as a member of a JSON object that loses nothing, whatever the bytes are.

A member `value` holds JSON as it came, to the byte; `value_text` text that is no JSON; `value_base64` everything else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

_TEXT, _BASE64 = "_text", "_base64"


def member(name: str, part: bytes | None, *, json: bool = True) -> dict[str, Any]:
    """Return the member for the bytes, to be encoded by orjson. None is null.

    `json`: True: the bytes may be JSON; False: text is the member's value itself, as a key is.

    >>> orjson.dumps(member("value", b'{"user": 1.0}')), member("key", b"alice", json=False)
    (b'{"value":{"user": 1.0}}', {'key': 'alice'})
    >>> member("value", b"no JSON"), member("value", bytes([255]))
    ({'value_text': 'no JSON'}, {'value_base64': '/w=='})
    """
    if part is None:
        return {name: None}
    if json and _is_json(part):
        return {name: orjson.Fragment(part)}
    try:
        return {f"{name}{_TEXT if json else ''}": part.decode()}
    except UnicodeDecodeError:
        return {f"{name}{_BASE64}": base64.b64encode(part).decode()}


def _is_json(part: bytes) -> bool:
    """Return True for JSON that can stand in a line: not `null`, which stands for a record without a value."""
    if part == b"null" or b"\n" in part or b"\r" in part:
        return False
    try:
        orjson.loads(part)
    except ValueError:
        return False
    return True


def bytes_of(name: str, members: Mapping[str, Any]) -> bytes | None:
    """Return the bytes that `member` was given. Raises KeyError if there is no such member, ValueError for a wrong one.

    JSON that was parsed since is encoded again: with the same meaning, but not with the same bytes.
    """
    if (text := members.get(f"{name}{_BASE64}")) is not None:
        return _from_base64(name, text)
    if (text := members.get(f"{name}{_TEXT}")) is not None:
        return _from_text(name, text)
    value = members[name]
    return None if value is None else orjson.dumps(value)


def text_bytes_of(name: str, members: Mapping[str, Any]) -> bytes | None:
    """Return the bytes that `member` was given with `json=False`. Raises as `bytes_of` does."""
    if (text := members.get(f"{name}{_BASE64}")) is not None:
        return _from_base64(name, text)
    value = members[name]
    return None if value is None else _from_text(name, value)


def _from_text(name: str, text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"{name}: expected a text, got a {type(text).__name__}")
    return text.encode()


def _from_base64(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(_from_text(name, text), validate=True)
    except binascii.Error as fault:
        raise ValueError(f"{name}{_BASE64}: {fault}") from None
