"""One file, one section a component, every key also in the environment; what is wrong is said in one line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from stream_worker.config import Settings, effective, load_settings
from stream_worker.core.errors import ConfigurationError

ROOT = Path(__file__).parent.parent


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_defaults_are_those_of_the_contract() -> None:
    """`run` works without a file; these names and values are what others rely on."""
    settings = load_settings(None, {})
    assert settings == Settings()
    kafka = settings.kafka
    assert (kafka.bootstrap_servers, kafka.input_topic) == ("127.0.0.1:9092", "events")
    assert (kafka.output_topic, kafka.dead_letter_topic) == ("recommendations", "events.dead")
    assert (kafka.group_id, kafka.group_protocol, kafka.session_timeout_ms) == ("stream-worker", "classic", 45_000)
    assert (settings.memory.redis_url, settings.checkpoint.path) == ("", "checkpoints")
    assert (settings.worker.slot, settings.worker.device) == ("0", "auto")
    assert (settings.metrics.host, settings.metrics.port) == ("127.0.0.1", 9100)


def test_the_environment_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path / "worker.toml", '[kafka]\ninput_topic = "clicks"\ngroup_id = "mine"\n[worker]\nbatch_size = 64\n'
    )
    environ = {"STREAM_WORKER__KAFKA__GROUP_ID": "theirs", "STREAM_WORKER__METRICS__PORT": "0", "OTHER": "x"}
    settings = load_settings(path, environ)
    assert (settings.kafka.input_topic, settings.kafka.group_id) == ("clicks", "theirs")
    assert (settings.worker.batch_size, settings.metrics.port) == (64, 0)


def test_every_key_of_every_section_can_be_set_by_the_environment() -> None:
    """Its default, written as text, is taken for the same value."""
    defaults = Settings()
    for section in dataclasses.fields(Settings):
        part = getattr(defaults, section.name)
        for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():  # no scenarios to begin with
            value = getattr(part, field.name)
            if isinstance(value, str | int | float | bool):
                name = f"STREAM_WORKER__{section.name}__{field.name}".upper()
                assert load_settings(None, {name: str(value)}) == defaults, name


def test_lists_and_tables_are_json_in_the_environment() -> None:
    environ = {
        "STREAM_WORKER__MONITOR__HIT_RATE_K": "[5, 20]",
        "STREAM_WORKER__EVENTS__TYPES": '{"view": {}, "buy": {"reward": 3}}',
        "STREAM_WORKER__KAFKA__EXTRA": '{"client.id": "me"}',
    }
    settings = load_settings(None, environ)
    assert settings.monitor.hit_rate_k == (5, 20)
    assert settings.events.named["buy"].reward == 3.0
    assert settings.kafka.extra == {"client.id": "me"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[kafka]\nbootstrap_server = 'a'",
            r"unknown key kafka\.bootstrap_server; did you mean kafka\.bootstrap_servers\?",
        ),
        ("[kafak]\n", r"unknown key kafak; did you mean kafka\?"),
        ("[events.types.view]\nrewrd = 1", r"unknown key events\.types\.view\.rewrd|rewrd"),
        ("[worker]\nbatch_size = 0", r"worker\.batch_size: .*got 0"),
        ("[worker]\nbatch_size = 'many'", r"worker\.batch_size: .*many"),
        ("[worker]\nslot = '..'", r"worker\.slot: .*got '\.\.'"),
        (
            "[memory]\ndevice_users = 100",
            r"worker\.batch_size: must be at most half of memory\.device_users \(100\), got 384",
        ),
        (
            "[events]\neach = 'products'\nmost_each = 501\n[model]\nmax_items = 1_000",
            r"events\.most_each: must be at most half of model\.max_items \(1000\), got 501",
        ),
        ("[model]\ndim = 1", r"model\.dim: .*got 1"),
        ("[log]\nlevel = 'loud'", r"log\.level: must be 'debug', .*got \"loud\""),
        ("kafka = [", r"worker\.toml: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    """It names the key, the bound and the value; of an unknown key the nearest known one."""
    with pytest.raises(ConfigurationError, match=message) as raised:
        load_settings(write(tmp_path / "worker.toml", text), {})
    assert "\n" not in str(raised.value)


def test_where_no_record_holds_several_events_the_bound_of_their_number_is_free(tmp_path: Path) -> None:
    text = "[events]\nmost_each = 501\n[model]\nmax_items = 1_000"
    assert load_settings(write(tmp_path / "worker.toml", text), {}).events.most_each == 501


def test_an_unknown_variable_is_refused_too() -> None:
    with pytest.raises(
        ConfigurationError, match=r"STREAM_WORKER__KAFKA__INPUT_TOPICS: .*did you mean kafka\.input_topic\?"
    ):
        load_settings(None, {"STREAM_WORKER__KAFKA__INPUT_TOPICS": "x"})


def test_secrets_are_masked() -> None:
    environ = {
        "STREAM_WORKER__MEMORY__REDIS_URL": "redis://user:hush@127.0.0.1:6379/0",
        "STREAM_WORKER__KAFKA__EXTRA": '{"sasl.password": "hush", "ssl.key.password": "hush", "sasl.username": "me"}',
    }
    shown = "\n".join(f"{key} = {value}" for key, value in effective(load_settings(None, environ)))
    assert "hush" not in shown
    assert "redis://user:****@127.0.0.1" in shown
    assert 'sasl.username = "me"' in shown


def test_the_names_in_the_compose_file_are_settings() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    named = {name: service["environment"] for name, service in services.items() if name.startswith("worker")}
    assert len(named) >= 2
    for environment in named.values():
        load_settings(None, {key: str(value) for key, value in environment.items()})


def test_the_configuration_in_the_readme_loads(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        text = "\n".join(line.removeprefix("   ") for line in block.splitlines())
        assert tomllib.loads(text)
        load_settings(write(tmp_path / "worker.toml", text), {})
