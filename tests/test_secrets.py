"""No part of a secret is said anywhere, whatever mistake brought it there."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from confluent_kafka import Producer
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.backends.kafka.config import client_settings
from stream_worker.backends.kafka.faults import connect
from stream_worker.config import effective, load_settings
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.masking import MASK, shown_url

# Long enough that a piece of it is not found by chance; with everything that URLs, TOML and JSON stumble over.
SECRETS = st.text(st.sampled_from("ABCDEFGHJK23456789#/?@:&%=.,+-_;<'![]{}() "), min_size=8, max_size=24).map(
    "P".__add__
)
_PIECE = 4


def pieces(secret: str) -> set[str]:
    """All that may not be seen; dots and blanks alone are nobody's secret."""
    found = {secret[at : at + _PIECE] for at in range(len(secret) - _PIECE + 1)}
    return {piece for piece in found if sum(character.isalnum() for character in piece) >= 3}


def said(text: str, environ: dict[str, str], folder: Path) -> str:
    """All that a configuration brings on the screen: what `check` shows, or the error with its traceback."""
    path = folder / "worker.toml"
    path.write_text(text, encoding="utf-8")
    try:
        settings = load_settings(path, environ)
    except ConfigurationError as fault:
        return str(fault) + "".join(traceback.format_exception(fault))
    return "\n".join(f"{key} = {value}" for key, value in effective(settings)) + repr(settings.kafka)


def toml(secret: str) -> str:
    return json.dumps(secret)


_IN_FILES: dict[str, Callable[[str], str]] = {
    "quoted key": lambda s: f'[kafka.extra]\n"sasl.username" = "w"\n"sasl.password" = {toml(s)}',
    "dotted key": lambda s: f'[kafka.extra]\nsasl.username = "w"\nsasl.password = {toml(s)}',
    "dotted key behind another": lambda s: f'[kafka.extra]\nsecurity.protocol = "SSL"\nssl.key.password = {toml(s)}',
    "misspelt key": lambda s: f'[kafka.extra]\n"sasl.pasword" = {toml(s)}\n"sasl.secert" = {toml(s)}',
    "a list": lambda s: f'[kafka.extra]\n"sasl.password" = [{toml(s)}]',
    "a list of tables": lambda s: f'[[kafka.extra]]\n"sasl.password" = {toml(s)}',
    "no table": lambda s: f"[kafka]\nextra = {toml(s)}",
    "kafka is a text": lambda s: f"kafka = {toml(s)}",
    "kafka is a list": lambda s: f"kafka = [{toml(s)}]",
    "mechanism": lambda s: f'[kafka.extra]\n"sasl.mechanism" = {toml(s)}',
    "wrong section": lambda s: f'[kafka]\n"sasl.password" = {toml(s)}',
    "a number's place": lambda s: f"[kafka]\nsession_timeout_ms = {toml(s)}",
    "memory is a text": lambda s: f"memory = {toml(s)}",
    "memory's url is a table": lambda s: f"[memory.redis_url]\npassword = {toml(s)}",
    "memory's url is a list": lambda s: f"[memory]\nredis_url = [{toml(s)}]",
    "given twice": lambda s: f'[kafka.extra]\n"sasl.password" = {toml(s)}\nsasl.password = {toml(s)}',
    "no quotes at all": lambda s: f'[kafka.extra]\n"sasl.password" = {s}',
    "key pem": lambda s: f'[kafka.extra]\n"ssl.key.pem" = {toml(s)}',
    "sasl config": lambda s: f'[kafka.extra]\n"sasl.oauthbearer.config" = {toml("principal=" + s)}',
    "servers": lambda s: f"[kafka]\nbootstrap_servers = {toml(f'kafka://me:{s}@broker:9092')}",
}
_IN_VARIABLES: dict[str, Callable[[str], dict[str, str]]] = {
    "JSON with a comma": lambda s: {"KAFKA__EXTRA": '{"sasl.password":' + json.dumps(s) + ",}"},
    "JSON in single quotes": lambda s: {"KAFKA__EXTRA": "{'sasl.password': '" + s + "'}"},
    "no JSON": lambda s: {"KAFKA__EXTRA": f"sasl.password={s}"},
    "the whole section, broken": lambda s: {"KAFKA": '{"extra":{"sasl.password":' + json.dumps(s) + "}"},
    "the whole section as a text": lambda s: {"KAFKA": s, "KAFKA__START": "latest"},
    "broken, beside a key": lambda s: {"KAFKA": '{"extra":"' + s + '"', "KAFKA__START": "latest"},
    "a table beside a key": lambda s: {"KAFKA": json.dumps({"extra": s}), "KAFKA__EXTRA__CLIENT.ID": "me"},
    "a key with dots": lambda s: {"KAFKA__EXTRA__SASL.PASSWORD": s},
    "a key without dots": lambda s: {"KAFKA__EXTRA__SASL__PASSWORD": s},
    "the whole memory": lambda s: {"MEMORY": s},
    "a token": lambda s: {"KAFKA__EXTRA": json.dumps({"sasl.oauthbearer.client.secret": s})},
}


@pytest.mark.parametrize("place", _IN_FILES)
@settings(deadline=None, max_examples=30)
@given(secret=SECRETS)
def test_no_piece_of_a_secret_in_a_file_is_said(
    place: str, secret: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = said(_IN_FILES[place](secret), {}, tmp_path_factory.getbasetemp())
    assert [piece for piece in pieces(secret) if piece in seen] == []


@pytest.mark.parametrize("place", _IN_VARIABLES)
@settings(deadline=None, max_examples=30)
@given(secret=SECRETS)
def test_no_piece_of_a_secret_in_a_variable_is_said(
    place: str, secret: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environ = {f"STREAM_WORKER__{name}": value for name, value in _IN_VARIABLES[place](secret).items()}
    seen = said("", environ, tmp_path_factory.getbasetemp())
    assert [piece for piece in pieces(secret) if piece in seen] == []


# Before a colon stands a name, and behind the last @ a host.
_NO_TELLING = {"redis://{}@redis.example:6379": ":", "redis://worker:{}": "@"}


@pytest.mark.parametrize(
    "url",
    [
        "redis://worker:{}@redis.example:6379/0",
        "rediss://:{}@redis.example",
        "redis://{}@redis.example:6379",
        "redis://worker:{}",
        "redis://redis.example/0?password={}",
        "redis://redis.example/0?username=me&password={}&db=1",
        "unix://worker:{}@/run/redis.sock?db=0",
        "redis:/worker:{}@redis.example",
        "{}",
    ],
)
@settings(deadline=None, max_examples=30)
@given(secret=SECRETS, escaped=st.booleans())
def test_no_piece_of_a_password_in_a_url_is_shown(url: str, secret: str, escaped: bool) -> None:
    """Also where it was written as it is, with what a URL gives a meaning to."""
    if url in _NO_TELLING:
        secret = secret.replace(_NO_TELLING[url], "")
    seen = shown_url(url.format(quote(secret, safe="") if escaped else secret))
    assert [piece for piece in pieces(secret) if piece in seen] == []


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("redis://worker:hush@redis.example:6379/0", f"redis://worker:{MASK}@redis.example:6379/0"),
        ("rediss://:hush1#2@redis.example", f"rediss://:{MASK}@redis.example"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("rediss://a/0?ssl_ca_certs=/etc/ca.pem&db=1", "rediss://a/0?ssl_ca_certs=/etc/ca.pem&db=1"),
        ("redis://redis.example/0?password=hush&db=1", f"redis://redis.example/0?{MASK}"),
        ("", ""),
    ],
)
def test_an_address_stays_readable(url: str, seen: str) -> None:
    assert shown_url(url) == seen


def test_a_table_of_dotted_keys_is_what_the_kafka_client_gets(tmp_path: Path) -> None:
    """TOML reads `sasl.password` as a table in a table; what was meant is the same in quotes or without."""
    path = tmp_path / "worker.toml"
    path.write_text(
        '[kafka.extra]\nsecurity.protocol = "SASL_SSL"\nsasl.username = "w"\nsasl.password = "hush-1"\n'
        "socket.timeout.ms = 5000\nsocket.keepalive.enable = true\n"
    )
    extra = load_settings(path, {"STREAM_WORKER__KAFKA__EXTRA__SASL__USERNAME": "other"}).kafka.extra
    assert extra == {
        "security.protocol": "SASL_SSL",
        "sasl.username": "other",
        "sasl.password": "hush-1",
        "socket.timeout.ms": "5000",
        "socket.keepalive.enable": "true",
    }


@pytest.mark.parametrize("name", ["security.protocol", "sasl.mechanism", "sasl.oauthbearer.method", "debug"])
def test_a_secret_under_another_key_is_not_in_what_the_kafka_client_says(name: str, tmp_path: Path) -> None:
    """librdkafka repeats a value that it refuses."""
    extra = {"security.protocol": "SASL_PLAINTEXT", name: "hunter2hunter2"}
    settings = load_settings(None, {"STREAM_WORKER__KAFKA__EXTRA": json.dumps(extra)})
    with pytest.raises(ConfigurationError) as raised:
        connect(Producer, client_settings(settings.kafka))
    assert "hunter2" not in str(raised.value)
