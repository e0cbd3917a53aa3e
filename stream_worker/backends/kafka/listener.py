"""Finds out by a TLS handshake what a broker's port speaks, since librdkafka does not say it; nothing else is sent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping

_SECONDS = 2.0  # to connect, and for each step of the handshake; not tuned


def addresses(servers: str) -> Iterator[tuple[str, int]]:
    """Yield host and port of each bootstrap server that has both."""
    for server in servers.split(","):
        host, _, port = server.strip().rpartition("://")[2].rpartition(":")
        if host and port.isdigit():
            yield host.strip("[]"), int(port)


def speaks_tls(host: str, port: int) -> bool:
    """Return True if the port answers a TLS handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _shake_hands(context, host, port)
    except ssl.SSLError as fault:
        # A refusal in TLS (another version, a certificate is wanted) shows that the port speaks TLS.
        return "WRONG_VERSION_NUMBER" not in str(fault) and not isinstance(fault, ssl.SSLEOFError)
    except OSError:
        return False
    return True


def certificate_fault(host: str, port: int, extra: Mapping[str, str]) -> str:
    """Return OpenSSL's reason to reject the broker's certificate; empty: it accepts it, or no connection was made."""
    try:
        context = ssl.create_default_context(cafile=extra.get("ssl.ca.location"))
        _shake_hands(context, host, port)
    except ssl.SSLCertVerificationError as fault:
        return str(fault.verify_message)
    except OSError:
        return ""
    return ""


def _shake_hands(context: ssl.SSLContext, host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=_SECONDS) as plain:
        plain.settimeout(_SECONDS)
        with context.wrap_socket(plain, server_hostname=host):
            pass
