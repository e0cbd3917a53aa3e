"""Parses `memory.redis_url`: hosts, login and options.

No error message shows a part of the URL except the name of a known option. If a password contains `#`, `/` or `?` that
is not percent-encoded, pieces of the password end up as hosts, ports and options.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_plus

from redis.connection import URL_QUERY_ARGUMENT_PARSERS

from stream_worker.core.errors import ConfigurationError

_PORT = 6379  # Redis's default
_EXPECTED = (
    "memory.redis_url: expected redis://[user:password@]host[:port][,host:port...][/database][?option=value&...], "
    "rediss:// for TLS or unix:///path for a socket; in a user's name, a password and options, write "
    "% / ? # @ & + and blanks as %25 %2F %3F %23 %40 %26 %2B %20"
)
_SERVERS = re.compile(
    r"(?P<scheme>rediss?)://(?:(?P<login>[^\s/?#]*)@)?(?P<hosts>[^\s/?#@]*)(?:/(?P<db>[0-9]*))?(?:\?(?P<options>[^\s#@]*))?"
)
_SOCKET = re.compile(r"(?P<scheme>unix)://(?:(?P<login>[^\s/?#]*)@)?(?P<path>/[^\s?#@]+)(?:\?(?P<options>[^\s#@]*))?")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(?P<port>[0-9]{1,5}))?")
_TEXTS = ("username", "password", "client_name")
_TLS_TEXTS = (
    "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs",
    "ssl_ciphers",
)  # fmt: skip
_TYPED = (
    "db", "socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_read_size", "max_connections",
    "health_check_interval", "protocol",
)  # fmt: skip
_TLS_TYPED = ("ssl_check_hostname", "ssl_min_version")
_OPTIONS = (*_TEXTS, *_TLS_TEXTS, *_TYPED, *_TLS_TYPED)
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
_PARSERS: Mapping[str, Any] = URL_QUERY_ARGUMENT_PARSERS
_CERT_REQS = ("none", "optional", "required")


@dataclass(frozen=True)
class Address:
    """The parts of a Redis URL.

    hosts: (host, port) of each server; empty if `path` is set.
    options: keyword arguments for redis-py's clients; they contain the login.
    tls: True for rediss://.
    path: path of a Unix socket; empty: none.
    """

    hosts: tuple[tuple[str, int], ...]
    options: Mapping[str, Any] = field(repr=False)
    tls: bool = False
    path: str = ""


def parse_address(url: str) -> Address:
    """Parse a Redis URL. Raises ConfigurationError, which shows nothing of the URL except the name of an option."""
    found = _SERVERS.fullmatch(url) or _SOCKET.fullmatch(url)
    if found is None:
        raise ConfigurationError(_EXPECTED)
    parts = found.groupdict(default="")
    tls = parts["scheme"] == "rediss"
    options = _options(parts["options"], tls) | _login(parts["login"])
    if parts.get("db"):
        options["db"] = int(parts["db"])
    hosts = () if "path" in parts else tuple(_host(host) for host in (parts["hosts"] or "localhost").split(","))
    return Address(hosts, options, tls, unquote(parts.get("path", "")))


def _host(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or _PORT) if found else 0
    if found is None or not 0 < port < 2**16:
        raise ConfigurationError(_EXPECTED)
    return found["host"].strip("[]"), port


def _login(text: str) -> dict[str, Any]:
    user, _, password = text.partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _options(text: str, tls: bool) -> dict[str, Any]:
    given = [piece.partition("=") for piece in text.split("&")] if text else []
    options = {name: _value(name, unquote_plus(value)) for name, _, value in given}
    if not tls and any(name.startswith("ssl_") for name in options):
        raise ConfigurationError("memory.redis_url: its ssl_ options need rediss://")
    for name in _FILES:
        if name in options and not os.access(options[name], os.R_OK):
            raise ConfigurationError(f"memory.redis_url: the file of option {name} can't be read")
    return options


def _value(name: str, text: str) -> Any:
    if name not in _OPTIONS:
        close = difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=0.7)
        raise ConfigurationError(
            f"memory.redis_url: has an unknown option; did you mean {close[0]}?" if close else _EXPECTED
        )
    fault = not text or (name == "ssl_cert_reqs" and text not in _CERT_REQS)
    try:
        value = _PARSERS.get(name, str)(text)
    except (TypeError, ValueError):
        fault = True
    if fault:  # raised outside of the handler: the exception caught there shows the text
        raise ConfigurationError(f"memory.redis_url: option {name} has an invalid value")
    return value
