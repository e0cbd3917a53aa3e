"""Names in the environment, where keys are not all known beforehand, and secrets in what is shown and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_worker.config import Settings, effective, load_settings
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.masking import shown
from stream_worker.variables import misnamed
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
    types = load_settings(path, {"STREAM_WORKER__EVENTS__TYPES__VIEW__REWARD": "5"}).events.named
    assert [(name, kind.reward, kind.target) for name, kind in types.items()] == [
        ("view", 5.0, False),
        ("buy", 3.0, None),
    ]


@pytest.mark.parametrize(("written", "meant"), [("VIEW", "view"), ("view", "view"), ("AddToCart", "AddToCart")])
def test_the_name_of_a_type_keeps_its_case_unless_it_is_all_upper(written: str, meant: str) -> None:
    """Variables are upper case by custom, types lower case; a type with both is written as it is."""
    settings = load_settings(None, {f"STREAM_WORKER__EVENTS__TYPES__{written}__REWARD": "2"})
    assert list(settings.events.types) == [meant]


def test_a_type_in_upper_case_that_the_file_has_is_found(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text("[events.types.BUY]\n")
    types = load_settings(path, {"STREAM_WORKER__EVENTS__TYPES__BUY__REWARD": "4"}).events.named
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
        (
            {"STREAM_WORKER__WORKER__BATCH_SIZE": ""},
            "environment variable STREAM_WORKER__WORKER__BATCH_SIZE: worker.batch_size: must be an integer",
        ),
        (
            {"STREAM_WORKER__MONITOR__HIT_RATE_K": "[10,"},
            "environment variable STREAM_WORKER__MONITOR__HIT_RATE_K: no valid JSON: ",
        ),
        (
            {"STREAM_WORKER__METRICS__PORT": "70000"},
            "environment variable STREAM_WORKER__METRICS__PORT: metrics.port: must be at most 65535, got 70000",
        ),
        (
            {"STREAM_WORKER__DRIFT__ANSWERS": '["rates"]'},
            "environment variable STREAM_WORKER__DRIFT__ANSWERS: drift.answers.0: must be 'fade', 'rate', 'replay' or",
        ),
    ],
)
def test_a_wrong_variable_is_named_in_one_line(environ: dict[str, str], message: str, tmp_path: Path) -> None:
    said = error_of("", environ, tmp_path)
    assert said.startswith(message)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STREAM_WORKER_KAFKA_BOOTSTRAP_SERVERS", "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS"),
        ("STREAM_WORKER_KAFKA__BOOTSTRAP_SERVERS", "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS"),
        ("STREAM_WORKER__KAFKA_BOOTSTRAP_SERVERS", "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS"),
        ("STREAM_WORKER__KAFKA__BOOTSTRAP__SERVERS", "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS"),
        ("STREAM_WORKER___KAFKA__START", "STREAM_WORKER__KAFKA__START"),
        ("stream_worker__kafka__start", "STREAM_WORKER__KAFKA__START"),
        ("STREAM_WORKER_KAFAK_START", "STREAM_WORKER__KAFKA__START"),
        ("STREAM_WORKER_REDIS_URL", "STREAM_WORKER__MEMORY__REDIS_URL"),
        ("STREAM_WORKER_METRICS_PORT", "STREAM_WORKER__METRICS__PORT"),
        ("STREAM_WORKER_KAFKA_EXTRA_SASL_PASSWORD", "STREAM_WORKER__KAFKA__EXTRA"),
        ("STREAM_WORKER_OF_SOMEBODY_ELSE", ""),
    ],
)
def test_a_variable_with_an_underscore_too_few_or_too_many_is_refused(name: str, meant: str, tmp_path: Path) -> None:
    """The right one is named, or the nearest; the value, which may be a secret, is not."""
    said = error_of("", {name: "hush", "STREAM_WORKER__KAFKA__GROUP_ID": "g"}, tmp_path)
    assert said.startswith(f"environment variable {name}: sets nothing")
    assert said.endswith(f"did you mean {meant}?" if meant else "a key is set by STREAM_WORKER__SECTION__KEY")
    assert "hush" not in said


def test_every_key_can_be_set_by_the_name_that_is_proposed() -> None:
    """What `misnamed` names is what the loader takes; tables of the user's own names are JSON."""
    keys = {key for key, _ in effective(load_settings(None, {})) if not key.startswith(("events.types", "kafka.extra"))}
    for key in keys:
        right = f"STREAM_WORKER__{key.replace('.', '__').upper()}"
        assert list(misnamed([(right, "")], Settings)) == []
        assert list(misnamed([(right.replace("__", "_"), "")], Settings)) == [(right.replace("__", "_"), right)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_STREAM_WORKER_COMPLETE", "bash_source"),
        ("STREAM_WORKER_SERVICE_HOST", "10.0.0.1"),
        ("STREAM_WORKER_SERVICE_PORT", "9100"),
        ("STREAM_WORKER_SERVICE_PORT_METRICS", "9100"),
        ("STREAM_WORKER_PORT", "tcp://10.0.0.1:9100"),
        ("STREAM_WORKER_PORT_9100_TCP", "tcp://10.0.0.1:9100"),
        ("STREAM_WORKER_PORT_9100_TCP_ADDR", "10.0.0.1"),
        ("STREAM_WORKER_METRICS_PORT", "tcp://10.0.0.1:9100"),
        ("STREAM_WORKER_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("STREAM_WORKERS", "4"),
    ],
)
def test_what_a_shell_or_kubernetes_sets_is_left_alone(name: str, value: str) -> None:
    """Kubernetes tells each container of every service, also of `stream-worker` and `stream-worker-metrics`."""
    assert load_settings(None, {name: value}) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[events.types.view]\nrewrd = 2", "unknown key events.types.view.rewrd; did you mean events.types.view.re"),
        ("[metrics]\nqqqqqqq = 1", "unknown key metrics.qqqqqqq; known are host, port"),
        ("kafka = 3", "kafka: "),
        ("[events]\ntypes = {}", "events.types: must hold at least one type"),
        ("[monitor]\nhit_rate_k = [0]", "monitor.hit_rate_k.0: must be above 0"),
        ("[worker]\npoll_seconds = nan", "worker.poll_seconds: must be at most 10"),
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
    assert "worker.toml: kafka.extra.sasl.password: " in said
    assert "31337" not in said
