"""docker-compose.yml and Dockerfile, checked without a Docker engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for

from stream_worker.backends.kafka.topics import LISTS_POLICY
from stream_worker.backends.metrics import MetricsConfig
from stream_worker.container import CONFIGURATION
from stream_worker.loop.worker_config import AUTO

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = {name: service for name, service in SERVICES.items() if name.startswith("worker")}
DOCKERFILE = (ROOT / "Dockerfile").read_text()

# Programs that the images hold, as far as health checks and commands use them.
PROGRAMS = {
    "apache/kafka": {"/opt/kafka/bin/kafka-broker-api-versions.sh", "/opt/kafka/bin/kafka-topics.sh", "/bin/bash"},
    "redis": {"redis-server", "redis-cli", "grep"},
    "prom/prometheus": {"promtool"},
    "grafana/grafana": {"wget"},
    "stream-worker": {"python", "stream-worker"},
}

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
every_worker = pytest.mark.parametrize("worker", WORKERS.values(), ids=WORKERS)


def validate(document: dict[str, Any]) -> list[str]:
    schema = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
    return [error.message for error in validator_for(schema)(schema).iter_errors(document)]


def image_of(service: dict[str, Any]) -> tuple[str, str]:
    name, _, tag = service["image"].partition(":")
    return name, tag


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Target -> source of every volume that may be written."""
    return {v.split(":")[1]: v.split(":")[0] for v in service.get("volumes", []) if not v.endswith(":ro")}


def test_the_file_follows_the_compose_specification() -> None:
    assert validate(COMPOSE) == []


def test_the_schema_notices_a_misspelt_key() -> None:
    assert validate({"services": {"redis": {"image": "redis:1", "healthchek": {}}}})


@every_service
def test_images_are_pinned_to_a_version(service: dict[str, Any]) -> None:
    name, tag = image_of(service)
    if "build" in service:
        assert name == "stream-worker"
    else:
        assert re.match(r"v?\d+\.\d+\.\d+", tag), service["image"]


def test_kafka_is_the_fourth_and_its_tools_are_of_the_same_image() -> None:
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"]
    assert SERVICES["kafka"]["image"].startswith("apache/kafka:4.")


@every_service
def test_no_port_is_published_beyond_loopback(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+(-\d+)?:\d+", port), port
    assert "network_mode" not in service


def test_no_two_services_publish_the_same_port() -> None:
    ports = [each for service in SERVICES.values() for port in service.get("ports", []) for each in published(port)]
    assert len(ports) == len(set(ports))


def published(port: str) -> range:
    """The ports of this machine that a line names, one or a range."""
    first, _, last = port.split(":")[1].partition("-")
    return range(int(first), int(last or first) + 1)


@every_service
def test_nothing_runs_as_root_or_can_become_it(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    user = service.get("user") or re.findall(r"^USER (\S+)", DOCKERFILE, re.M)[-1]
    assert user.split(":")[0] not in {"0", "root"}


@every_service
def test_health_checks_call_programs_of_the_image(service: dict[str, Any]) -> None:
    if "healthcheck" not in service:
        return
    form, first, *_ = service["healthcheck"]["test"]
    programs = {first} if form == "CMD" else {part.split()[0] for part in first.split("|")}
    assert programs <= PROGRAMS[image_of(service)[0]]


def test_every_long_running_service_has_a_health_check() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == {"topics"}


def test_dependencies_wait_for_health_or_completion() -> None:
    for service in WORKERS.values():
        assert {name: need["condition"] for name, need in service["depends_on"].items()} == {
            "topics": "service_completed_successfully",
            "redis": "service_healthy",
        }
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert SERVICES["topics"]["restart"].startswith("on-failure")  # one that always restarts never completes


def test_the_topics_of_the_contract_are_created_and_no_others_by_accident() -> None:
    script = SERVICES["topics"]["command"][-1]
    created = re.findall(r"^create (\S+) (\d+)$", script, re.M)
    assert created == [("events.dead", "1")]
    lists = " ".join(f"--config {name}={value}" for name, value in LISTS_POLICY.items())
    assert f"create recommendations 8 {lists}\n" in script
    assert "create events 8 --config retention.ms=-1\n" in script  # a recorded log has old times
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_a_shell_variable_in_a_command_is_not_taken_for_one_of_compose() -> None:
    """Compose replaces $NAME and ${NAME} by the host's environment; $$ is a plain dollar."""
    for service in SERVICES.values():
        for word in service.get("command", []):
            assert re.search(r"(?<!\$)\$(?!\$)", word) is None, word


def test_kafka_advertises_to_each_side_an_address_it_can_reach() -> None:
    environment = SERVICES["kafka"]["environment"]
    advertised = dict(entry.split("://") for entry in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listening = dict(entry.split("://") for entry in environment["KAFKA_LISTENERS"].split(","))
    assert advertised["HOST"] == "127.0.0.1:9092"
    assert SERVICES["kafka"]["ports"] == ["127.0.0.1:9092" + listening["HOST"]]
    inside = advertised[environment["KAFKA_INTER_BROKER_LISTENER_NAME"]]
    assert inside == "kafka" + listening["PLAINTEXT"]
    for worker in WORKERS.values():
        assert worker["environment"]["STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS"] == inside
    assert inside in SERVICES["topics"]["command"][-1]
    assert inside in SERVICES["kafka"]["healthcheck"]["test"][1]


def test_data_outlives_the_containers() -> None:
    assert mounts(SERVICES["kafka"])[SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"]] == "kafka"
    assert mounts(SERVICES["redis"])["/data"] == "redis"
    named = {source for service in SERVICES.values() for source in mounts(service).values() if "/" not in source}
    assert named == set(COMPOSE["volumes"])


@every_service
def test_every_file_that_is_mounted_is_in_the_repository(service: dict[str, Any]) -> None:
    for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
        assert not source.startswith(".") or (ROOT / source).exists(), source


def test_redis_keeps_every_write_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    settings = dict(zip(command[1::2], command[2::2], strict=True))
    assert settings["--appendonly"] == "yes"
    assert settings["--maxmemory-policy"] == "noeviction"
    assert "--maxmemory" in settings  # without a bound the policy never answers, and the machine's memory does


# --- the worker and its image


def test_every_worker_on_the_processor_takes_a_slot_that_is_free() -> None:
    slots = {name: worker["environment"]["STREAM_WORKER__WORKER__SLOT"] for name, worker in WORKERS.items()}
    assert slots == {"worker": AUTO, "worker-1": AUTO, "worker-gpu": "gpu"}


def test_the_worker_can_be_scaled() -> None:
    """A container name or a single port is for one replica alone; a free slot needs Redis, and one volume for all."""
    worker = WORKERS["worker"]
    assert "container_name" not in worker
    assert "hostname" not in worker
    assert [len(published(port)) for port in worker["ports"]] == [9]
    assert worker["environment"]["STREAM_WORKER__MEMORY__REDIS_URL"]
    assert mounts(worker)[worker["environment"]["STREAM_WORKER__CHECKPOINT__PATH"]] == "checkpoints"


def test_container_names_are_each_worker_s_own() -> None:
    names = [worker["container_name"] for worker in WORKERS.values() if "container_name" in worker]
    assert len(set(names)) == len(names) == 2


def test_only_one_worker_starts_without_a_profile() -> None:
    assert [name for name, worker in WORKERS.items() if "profiles" not in worker] == ["worker"]
    assert WORKERS["worker-1"]["profiles"] == ["two"]
    assert WORKERS["worker-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["prometheus"]["profiles"] == SERVICES["grafana"]["profiles"] == ["monitoring"]


def test_prometheus_looks_for_every_worker() -> None:
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())
    assert config["scrape_configs"][0]["dns_sd_configs"][0]["names"] == list(WORKERS)


def test_prometheus_tells_replicas_apart() -> None:
    """They answer to one name; two targets of one instance would write over each other."""
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())
    (rule,) = config["scrape_configs"][0]["relabel_configs"]
    assert rule["target_label"] == "instance"
    instances = set()
    for address in ("172.18.0.5:9100", "172.18.0.6:9100"):
        joined = ";".join({"__meta_dns_name": "worker", "__address__": address}[name] for name in rule["source_labels"])
        found = re.fullmatch(rule["regex"], joined)
        assert found is not None
        instances.add(found.expand(rule["replacement"].replace("$", "\\")))
    assert instances == {"worker at 172.18.0.5", "worker at 172.18.0.6"}


@every_worker
def test_a_worker_writes_to_nothing_but_its_volumes_and_tmp(worker: dict[str, Any]) -> None:
    assert worker["read_only"] is True
    assert [mount.split(":")[0] for mount in worker["tmpfs"]] == ["/tmp"]
    written = {worker["environment"]["STREAM_WORKER__CHECKPOINT__PATH"], _image_environment()["NUMBA_CACHE_DIR"]}
    assert written == set(mounts(worker))


def test_the_image_owns_the_folders_that_the_volumes_cover() -> None:
    """A new named volume takes its owner from the folder of the image; root's could not be written."""
    made = re.search(r"install -d -o worker -g worker (.+)$", DOCKERFILE, re.M)
    assert made is not None
    assert set(mounts(WORKERS["worker"])) <= set(made[1].split())


@every_worker
def test_metrics_are_reachable_inside_and_on_loopback_outside(worker: dict[str, Any]) -> None:
    environment = worker["environment"]
    assert environment["STREAM_WORKER__METRICS__HOST"] == "0.0.0.0"
    assert environment["STREAM_WORKER__METRICS__PORT"] == str(MetricsConfig().port)
    assert worker["ports"][0].endswith(f":{MetricsConfig().port}")


@every_worker
def test_compose_and_image_check_health_alike(worker: dict[str, Any]) -> None:
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", DOCKERFILE, re.M)
    assert found is not None
    assert worker["healthcheck"]["test"] == ["CMD", *json.loads(found[1])]
    assert json.loads(found[1])[1:] == ["-m", "stream_worker.container", "healthy"]


@every_worker
def test_a_worker_that_must_not_be_started_again_is_left_alone(worker: dict[str, Any]) -> None:
    """Docker restarts by "failed or not": the command turns what means "do not" into 0."""
    assert worker["restart"] == "on-failure"
    assert worker["entrypoint"] == ["python", "-m", "stream_worker.container"]
    assert worker["command"] == ["run"]


@every_worker
def test_a_worker_is_configured_by_a_folder_that_it_only_reads(worker: dict[str, Any]) -> None:
    assert f"./container:{CONFIGURATION.parent}:ro" in worker["volumes"]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/container/*" in ignored


@every_service
def test_memory_processes_and_logs_are_bounded(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] >= 100
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


@every_worker
def test_a_worker_is_built_from_a_target_of_the_dockerfile(worker: dict[str, Any]) -> None:
    target = worker["build"]["target"]
    assert re.search(rf"^FROM runtime AS {target}$", DOCKERFILE, re.M)
    assert worker["image"] == f"stream-worker:{target}"


def test_the_image_is_a_slim_one_without_root_that_runs_the_worker() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)
    assert stages[-1] == ("runtime", "cpu")  # the last stage is what a plain `docker build` makes
    assert re.search(r"^ARG PYTHON=python:3\.11\.\d+-slim", DOCKERFILE, re.M)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.M)
    assert 'ENTRYPOINT ["stream-worker"]\nCMD ["run"]' in DOCKERFILE
    assert "--torch-backend=cpu" in DOCKERFILE
    installs = re.findall(r"uv pip install (--torch.+)$", DOCKERFILE, re.M)
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in install for install in installs)


def test_everything_that_the_image_copies_passes_the_ignore_file() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M) for word in line.split()}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def _image_environment() -> dict[str, str]:
    block = re.search(r"^ENV PATH=(?:.*\\\n)+.*$", DOCKERFILE, re.M)
    assert block is not None
    return dict(re.findall(r"([A-Z_]+)=(\S+)", block[0]))
