"""Explains in one sentence why no connection to Kafka can be made, and names the configuration key to change.

librdkafka ends a call with "Broker transport failure" whatever the fault is, and gives reasons to an error callback
only. For some faults it has no reason: a broker that speaks TLS simply closes the connection of a client that doesn't.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata

from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.faults import connect, error_of
from stream_worker.backends.kafka.listener import addresses, certificate_fault, speaks_tls
from stream_worker.core.errors import Unavailable

# Seconds of one attempt, after which the error callback has usually told the cause. Not tuned.
_SLICE_SECONDS = 2.5
_PROTOCOL = "kafka.extra security.protocol"
# (pattern in librdkafka's text, sentence). The first pattern found decides; its groups are put into the sentence.
_SENTENCES: tuple[tuple[str, str], ...] = (
    (
        r"handshake failed: .*supported mechanisms: *(?:\(after|$)",
        f"the broker's port asks for no user ({_PROTOCOL}: PLAINTEXT or SSL instead of SASL_...)",
    ),
    (
        r"supported mechanisms: ([\w, -]+?)(?: \(after|$)",
        "the broker takes another mechanism: {} (kafka.extra sasl.mechanism)",
    ),
    (
        r"SASL authentication error|[Aa]uthentication failed",
        "the broker refuses this user or password (kafka.extra sasl.username, sasl.password)",
    ),
    (
        r"PLAINTEXT broker listener|SSL connection closed by peer|wrong version number",
        f"the broker's port does not speak TLS ({_PROTOCOL}: PLAINTEXT or SASL_PLAINTEXT)",
    ),
    (
        r"alert (?:bad certificate|certificate required|handshake failure|unknown ca|certificate unknown)",
        "the broker asks for a certificate that it knows (kafka.extra ssl.certificate.location, ssl.key.location)",
    ),
    (
        r"certificate verify failed",
        "the broker's certificate can't be verified (kafka.extra ssl.ca.location, kafka.bootstrap_servers)",
    ),
    (r"Failed to resolve '([^']*)'", "the name of {} is not known (kafka.bootstrap_servers)"),
    (r"Connection refused", "nobody listens there (kafka.bootstrap_servers; or the broker is down)"),
    (r"OIDC|OAUTHBEARER|token", "no token was given (kafka.extra sasl.oauthbearer...)"),
)
_NOISE = re.compile(r"^\S+://\S+: |^\S+/bootstrap: | \(after [^()]*\)$|error:[0-9A-F]+:SSL routines::")


class Causes(logging.Handler):
    """Collects what a client says about its connections, to make a sentence of it.

    Give `heard` to the client as its error callback, and `logger` as its logger; nothing is printed. `lines` are the
    newest log lines.
    """

    def __init__(self, config: KafkaConfig) -> None:
        super().__init__()
        self._config = config
        self._texts: list[str] = []
        self.lines: deque[str] = deque(maxlen=1_000)
        self.logger = logging.Logger("stream_worker.kafka.causes", logging.INFO)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def heard(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._texts = [error.str(), *self._texts[:7]]

    @property
    def told(self) -> str:
        """The sentence about the newest errors, as far as librdkafka's text is known; else empty."""
        return told(self._texts)

    def sentence(self, error: KafkaError) -> str:
        """Explain `error`. If librdkafka's texts don't, the brokers' ports are tried with TLS, which takes seconds."""
        told = self.told
        if not told or "can't be verified" in told:
            return self._looked_up() or told or _plain(self._texts[0] if self._texts else error.str())
        return told

    def _looked_up(self) -> str:
        extra = self._config.extra
        protocol = extra.get("security.protocol", "PLAINTEXT").upper()
        for host, port in addresses(self._config.bootstrap_servers):
            if protocol.endswith("SSL"):
                if fault := certificate_fault(host, port, extra):
                    return _about_certificate(fault, host, extra.get("ssl.ca.location", ""))
            elif speaks_tls(host, port):
                return f"the broker's port speaks TLS ({_PROTOCOL}: SSL or SASL_SSL instead of {protocol})"
        if protocol == "PLAINTEXT" and any("closed by peer" in line for line in self.lines):
            return f"the broker hangs up: it asks for a user ({_PROTOCOL}: SASL_PLAINTEXT, and sasl.mechanism)"
        return ""


def told(texts: Iterable[str]) -> str:
    """Translate librdkafka's texts into a sentence with the key to change; empty: none of them is known."""
    known = list(texts)
    for pattern, sentence in _SENTENCES:
        for text in known:
            if found := re.search(pattern, text):
                return f"{sentence.format(*found.groups())}: {_plain(text)}"
    return ""


def _about_certificate(fault: str, host: str, authority: str) -> str:
    if "mismatch" in fault:
        return f"the broker's certificate is not for the name {host} (kafka.bootstrap_servers): {fault}"
    if not authority:
        return (
            f"no authority of this machine has signed the broker's certificate (kafka.extra ssl.ca.location): {fault}"
        )
    return f"the broker's certificate is not signed by {authority} (kafka.extra ssl.ca.location): {fault}"


def _plain(text: str) -> str:
    for _ in range(3):
        text = _NOISE.sub("", text)
    return text[:300]


def metadata(config: KafkaConfig, seconds: float, topic: str | None = None) -> ClusterMetadata:
    """Ask for the metadata of the cluster, and of `topic` or all topics.

    Raises Unavailable with the cause as soon as it is known, at the latest after `seconds`.
    """
    causes = Causes(config)
    admin = connect(AdminClient, client_settings(config), logger=causes.logger, error_cb=causes.heard)
    return _asked(admin, causes, config, seconds, lambda slice_seconds: admin.list_topics(topic, timeout=slice_seconds))


def _asked(
    admin: AdminClient,
    causes: Causes,
    config: KafkaConfig,
    seconds: float,
    call: Callable[[float], ClusterMetadata],
) -> ClusterMetadata:
    while True:
        try:
            return call(min(seconds, _SLICE_SECONDS))
        except KafkaException as fault:
            seconds -= _SLICE_SECONDS
            admin.poll(0.1)
            if causes.told or seconds <= 0:
                why = causes.sentence(error_of(fault))
                raise Unavailable(f"kafka: {config.bootstrap_servers}: {why}") from fault
