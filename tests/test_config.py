"""Names in the environment, where keys are not all known beforehand, and secrets in what is shown and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_worker.config import effective, load_settings
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.masking import shown
from tests.test_compose import WORKERS


def error_of(text: str, environ: dict[str, str], folder: Path) -> str:
    path = folder / "worker.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path, environ)
    return str(raised.value)


def test_an_event_type_is_set_key_by_key_in_the_environment(tmp_path: Path) -> None:
    """A variable changes one key of a type that the file has, and leaves its others and the other types alone."""
    path = tmp_path / "worker.toml"
    path.write_text("[events.types.view]\nreward = 2.0\ntarget = false\n[events.types.buy]\nreward = 3.0\n")
    types = load_settings(path, {"STREAM_WORKER__EVENTS__TYPES__VIEW__REWARD": "5"}).events.types
    assert [(name, kind.reward, kind.target) for name, kind in types.items()] == [
        ("view", 5.0, False),
        ("buy", 3.0, True),
    ]


@pytest.mark.parametrize(("written", "meant"), [("VIEW", "view"), ("view", "view"), ("AddToCart", "AddToCart")])
def test_the_name_of_a_type_keeps_its_case_unless_it_is_all_upper(written: str, meant: str) -> None:
    """Variables are upper case by custom, types lower case; a type with both is written as it is."""
    settings = load_settings(None, {f"STREAM_WORKER__EVENTS__TYPES__{written}__REWARD": "2"})
    assert list(settings.events.types) == [meant]


def test_a_type_in_upper_case_that_the_file_has_is_found(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text("[events.types.BUY]\n")
    types = load_settings(path, {"STREAM_WORKER__EVENTS__TYPES__BUY__REWARD": "4"}).events.types
    assert {name: kind.reward for name, kind in types.items()} == {"BUY": 4.0}


@pytest.mark.parametrize("worker", WORKERS.values(), ids=WORKERS)
def test_the_compose_file_says_where_things_are_by_settings_that_exist(worker: dict[str, dict[str, str]]) -> None:
    environment = worker["environment"]
    settings = load_settings(None, environment)
    assert settings.kafka.bootstrap_servers == environment["STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS"]
    assert settings.memory.redis_url == environment["STREAM_WORKER__MEMORY__REDIS_URL"]
    assert settings.worker.slot == environment["STREAM_WORKER__WORKER__SLOT"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"STREAM_WORKER__KAFAK__START": "latest"},
            "environment variable STREAM_WORKER__KAFAK__START: unknown key kafak; did you mean kafka?",
        ),
        (
            {"STREAM_WORKER__EVENTS__TYPES__VIEW__REWRD": "2"},
            "environment variable STREAM_WORKER__EVENTS__TYPES__VIEW__REWRD: unknown key events.types.view.rewrd; "
            "did you mean events.types.view.reward?",
        ),
        (
            {"STREAM_WORKER__EVENTS__TYPES": '{"view": {"rewrd": 2}}'},
            "environment variable STREAM_WORKER__EVENTS__TYPES: unknown key events.types.view.rewrd; "
            "did you mean events.types.view.reward?",
        ),
        (
            {"STREAM_WORKER__KAFKA": "somewhere", "STREAM_WORKER__KAFKA__START": "latest"},
            "environment variable STREAM_WORKER__KAFKA__START: kafka is no table, got a text",
        ),
        ({"STREAM_WORKER__WORKER__BATCH_SIZE": ""}, "worker.batch_size: "),
        (
            {"STREAM_WORKER__MONITOR__HIT_RATE_K": "[10,"},
            "environment variable STREAM_WORKER__MONITOR__HIT_RATE_K: no valid JSON: ",
        ),
        ({"STREAM_WORKER__METRICS__PORT": "70000"}, "metrics.port: must be between 0 (off) and 65535, got 70000"),
    ],
)
def test_a_wrong_variable_is_named_in_one_line(environ: dict[str, str], message: str, tmp_path: Path) -> None:
    said = error_of("", environ, tmp_path)
    assert said.startswith(message)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[events.types.view]\nrewrd = 2", "unknown key events.types.view.rewrd; did you mean events.types.view.re"),
        ("[metrics]\nqqqqqqq = 1", "unknown key metrics.qqqqqqq; known are host, port"),
        ("kafka = 3", "kafka: "),
        ("[events]\ntypes = {}", "events.types: must hold at least one type"),
        ("[monitor]\nhit_rate_k = [0]", "monitor.hit_rate_k: needs numbers of at least 1"),
        ("[worker]\npoll_seconds = nan", "worker.poll_seconds: above 0"),
        ("[worker]\nslot = 1", "worker.slot: "),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    said = error_of(text, {}, tmp_path)
    assert message in said
    assert "\n" not in said


def test_a_file_that_is_not_text_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"worker\.toml"):
        load_settings(path, {})


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hush@127.0.0.1:6379/0",
        "redis://user:hush@127.0.0.1:6379/0",
        "rediss://user:hu@hush@127.0.0.1:6379/0",
        "redis://127.0.0.1:6379/0?username=me&password=hush&db=1",
    ],
)
def test_no_part_of_a_password_in_a_url_is_shown(url: str) -> None:
    """Also one with an @ in it, and one that is a parameter; the address stays readable."""
    shown = dict(effective(load_settings(None, {"STREAM_WORKER__MEMORY__REDIS_URL": url})))["memory.redis_url"]
    assert "hush" not in shown
    assert "****" in shown
    assert "127.0.0.1:6379/0" in shown


@pytest.mark.parametrize(
    "key",
    ["sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret"],
)
def test_secrets_of_the_kafka_client_are_masked(key: str) -> None:
    assert shown(f"kafka.extra.{key}", "hush") == "****"


def test_a_secret_of_the_wrong_type_is_not_in_the_error(tmp_path: Path) -> None:
    said = error_of('[kafka.extra]\n"sasl.password" = 31337\n', {}, tmp_path)
    assert said.startswith("kafka.extra.sasl.password: ")
    assert "31337" not in said
