"""Hides secrets in settings that are shown, also a secret that was written to the wrong setting.

`check --print` shows a value whose key takes no secret, and an address without the part before its `@`. An error about
a wrong value shows only its type if the value could be a secret.
"""

from __future__ import annotations

import json
import re
from typing import Any

MASK = "****"
_SECRET = re.compile(r"pas+w|pass|pwd|secret|token|credential|\bkey\b|jaas|\bpem\b", re.IGNORECASE)
# `_OPEN`: librdkafka's security settings that hold no secret. Any other, a misspelt one too, may hold one.
_SECURITY = re.compile(rf"s[as]+l|security|{_SECRET.pattern}", re.IGNORECASE)
_OPEN = re.compile(
    r"security\.protocol|sasl\.(username|mechanisms?|oauthbearer\.(method|token\.endpoint\.url))|ssl\.[a-z.]*location"
    r"|ssl\.endpoint\.identification\.algorithm|enable\.ssl\.certificate\.verification"
)
# Sections whose keys may hold names of a record's fields, such as `event_params[key=page]`.
_NAMING_RECORDS = ("events.", "items.")
_MECHANISMS = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"}
_REDIS_URL = re.compile(
    r"(?P<scheme>rediss?|unix)://((?P<user>.*)@)?"
    r"(?P<place>([\w.-]+|\[[\da-fA-F:.]+\])?(:\d{1,5})?(/\d{0,3})?|/[\w./-]+)(?P<more>\?.*)?",
    re.DOTALL,
)
_PLAIN_OPTIONS = re.compile(r"\?((ssl_[a-z_]+|db|protocol|[a-z_]*timeout)=[\w./-]*&?)*")
_KINDS = {bool: "a boolean", str: "a text", int: "a number", float: "a number", dict: "a table", list: "a list"}


def is_secret(key: str) -> bool:
    """Return True if the value of `key` may be a secret."""
    if key.startswith("kafka.extra."):
        name = key.removeprefix("kafka.extra.")
        return _SECURITY.search(name) is not None and _OPEN.fullmatch(name) is None
    return _SECRET.search(key) is not None and not key.startswith(_NAMING_RECORDS)


def shown(key: str, value: Any) -> str:
    """Return the value of `key` as a text for tables and reports."""
    masked = without_secrets(key, value)
    return MASK if masked == MASK else json.dumps(masked, ensure_ascii=False, default=str)


def without_secrets(key: str, value: Any) -> Any:
    """Return the value of `key`, with `****` for what may be a secret."""
    if value and (is_secret(key) or (re.search(r"\bmechanisms?$", key) and value not in _MECHANISMS)):
        return MASK
    if isinstance(value, str):
        return shown_url(value) if key == "memory.redis_url" else _shown_address(key, value)
    return value


def _shown_address(key: str, value: str) -> str:
    if "://" not in value and key != "kafka.bootstrap_servers":
        return value
    scheme, _, rest = value.rpartition("://") if value.count("://") == 1 else ("", "", value)
    return (f"{scheme}://" if scheme else "") + re.sub(r".*@", f"{MASK}@", rest, flags=re.DOTALL)


def shown_url(url: str) -> str:
    """Return a Redis URL without its password; `****` for a URL in which the password can't be told from the rest."""
    found = _REDIS_URL.fullmatch(url)
    if not url or found is None or "?" in (found["user"] or ""):
        return url and MASK
    user = "" if found["user"] is None else f"{_name_in(found['user'])}{MASK}@"
    return f"{found['scheme']}://{user}{found['place']}{_shown_options(found['more'] or '')}"


def _name_in(user: str) -> str:
    name, colon, _ = user.partition(":")
    return name + colon if colon else ""


def _shown_options(more: str) -> str:
    """Return the options of a URL, all hidden if one may be secret: an `&` in a secret would look like a new option."""
    return more if not more or _PLAIN_OPTIONS.fullmatch(more) else f"?{MASK}"


def told(key: str, value: Any) -> str:
    """Return a wrong value for an error message: the value if its section takes no secrets, else its type in words."""
    parts = value if isinstance(value, list) else [value]
    near = key.partition(".")[0] in ("kafka", "memory", "registry") or is_secret(key)
    if near or any(isinstance(part, dict | list) for part in parts):
        return _KINDS.get(type(value), "something else")
    return json.dumps(value, ensure_ascii=False, default=str)
