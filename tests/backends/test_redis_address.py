"""What stands in `memory.redis_url` is taken as it is written or refused, and no part of a password is ever shown."""

from __future__ import annotations

import contextlib
import io
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.backends.redis.address import Address, parse_address
from stream_worker.core.errors import ConfigurationError, StreamWorkerError
from tests.support.services import free_port


@pytest.mark.parametrize(
    ("url", "hosts", "options"),
    [
        ("redis://localhost", (("localhost", 6379),), {}),
        ("redis://", (("localhost", 6379),), {}),
        ("redis://redis_1.shop:7000/2", (("redis_1.shop", 7000),), {"db": 2}),
        ("redis://[::1]:7000,10.0.0.1/0", (("::1", 7000), ("10.0.0.1", 6379)), {"db": 0}),
        ("redis://:p%23a%2Fs%3Fs@h", (("h", 6379),), {"password": "p#a/s?s"}),
        ("redis://me:a@b:c@h", (("h", 6379),), {"username": "me", "password": "a@b:c"}),
        ("redis://me@h?password=a%26+b&socket_timeout=1", (("h", 6379),),
         {"username": "me", "password": "a& b", "socket_timeout": 1.0}),
    ],
)  # fmt: skip
def test_an_address_is_read(url: str, hosts: Any, options: Any) -> None:
    assert parse_address(url) == Address(hosts, options)


def test_a_socket_and_tls_are_read() -> None:
    assert parse_address("unix://:pw@/run/redis.sock?db=1") == Address(
        (), {"db": 1, "password": "pw"}, False, "/run/redis.sock"
    )
    assert parse_address("rediss://h?ssl_cert_reqs=none") == Address((("h", 6379),), {"ssl_cert_reqs": "none"}, True)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost", "expected redis://"),
        ("http://localhost:6379", "expected redis://"),
        ("redis://localhost:port", "expected redis://"),
        ("redis://localhost:70000", "expected redis://"),
        ("redis://localhost/zero", "expected redis://"),
        ("redis://a,,b", "expected redis://"),
        ("redis://:pa#ss@h", "%23"),
        ("redis://:pa/ss@h", "%2F"),
        ("redis://:12/ss@h", "%2F"),
        ("redis://me:12/34@h:6379/0", "%2F"),
        ("redis://:pa?ss@h", "%3F"),
        ("redis://me:12?34@h", "%3F"),
        ("redis://:pa ss@h", "%20"),
        ("redis://h?socket_timeout=soon", "option socket_timeout has an invalid value"),
        ("redis://h?socket_timeout", "option socket_timeout has an invalid value"),
        ("rediss://h?ssl_cert_reqs=maybe", "option ssl_cert_reqs"),
        ("rediss://h?ssl_ca_cert=ca.pem", "did you mean ssl_ca_certs?"),
        ("redis://h?ssl_cert_reqs=none", "need rediss://"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "option ssl_ca_certs can't be read"),
    ],
)
def test_an_address_that_is_none_is_refused_with_what_is_wrong(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        RedisMemoryStore(MemoryConfig(redis_url=url), "odd:topic")
    assert says in str(refused.value)
    assert str(refused.value).startswith("memory.redis_url: ")


def test_a_configuration_does_not_show_its_secrets() -> None:
    shown = repr(MemoryConfig(redis_url="redis://:hush@h", sentinel_master="m", sentinel_password="quiet"))
    assert "hush" not in shown
    assert "quiet" not in shown
    assert "hush" not in repr(parse_address("redis://:hush@h"))


_SECRETS = st.text(st.sampled_from("XQZJWKV019#/?@%:[]&=+;,\\\"'ü\n\t "), min_size=6, max_size=24)
_SHAPES = st.sampled_from(
    [
        "redis://:{}@127.0.0.1:{port}/0", "redis://worker:{}@127.0.0.1:{port}", "rediss://worker:{}@127.0.0.1:{port}/0",
        "redis://127.0.0.1:{port}?password={}", "redis://{}@127.0.0.1:{port}", "unix://:{}@/nowhere/redis.sock",
        "redis://worker:{}@127.0.0.1:{port},127.0.0.1:{port}/0", "redis://127.0.0.1:{port}/0?db={}", "{}",
        "rediss://127.0.0.1:{port}?ssl_password={}", "rediss://127.0.0.1:{port}?{}=ca.pem",
    ]
)  # fmt: skip
_PORT = free_port()


def _shown(config: dict[str, Any]) -> Iterator[str]:
    """All that anybody gets to see of a start with these settings."""
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        try:
            store = RedisMemoryStore(MemoryConfig(**config), "secret:topic")
            yield repr(store)
            store.claim([0])
        except StreamWorkerError as fault:
            yield "".join(traceback.format_exception(fault))
            yield from (str(cause) for cause in _causes(fault))
    yield screen.getvalue()


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(secret=_SECRETS, shape=_SHAPES, encoded=st.booleans(), sentinels=st.booleans())
def test_no_part_of_a_password_is_shown(secret: str, shape: str, encoded: bool, sentinels: bool) -> None:
    """Whatever is written in it, encoded or not; against an address where nothing answers."""
    pieces = {secret[i : i + 4] for i in range(len(secret) - 3)}
    assume(not any(piece.strip() in _ORDINARY for piece in pieces))
    url = shape.replace("{port}", str(_PORT)).replace("{}", quote(secret, safe="") if encoded else secret)
    config = {"redis_url": url} | ({"sentinel_master": "m", "sentinel_password": secret} if sentinels else {})
    for text in _shown(config):
        assert not [piece for piece in pieces if piece in text], text


_ORDINARY = (
    "redis://[user:password@]host[:port][,host:port...][/database][?option=value&...] %25 %2F %3F %23 %40 %26 %2B %20 "
    f"127.0.0.1:{_PORT} % / ? # @ & + :// ..."
)
