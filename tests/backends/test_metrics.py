"""The metrics, their documents, and the three addresses a worker answers."""

from __future__ import annotations

import ast
import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_worker.backends.metric import PREFIX
from stream_worker.backends.metric_definitions import STAGES, definitions, table
from stream_worker.backends.metrics import Health, MetricsConfig, MetricsServer, WorkerMetrics
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.status import DRAINING, Standing

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "monitoring" / "alerts.yml"
OPERATIONS = ROOT / "docs" / "operations.md"
DASHBOARD = ROOT / "monitoring" / "grafana" / "dashboards" / "stream-worker.json"


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics(clock: FakeClock) -> WorkerMetrics:
    return WorkerMetrics(clock)


def samples(metrics: WorkerMetrics) -> dict[str, float]:
    """Return all samples as `name{label=value}` -> value."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        s.name + "".join(f"{{{k}={v}}}" for k, v in sorted(s.labels.items())): s.value
        for family in families
        for s in family.samples
    }


def exposed_names() -> set[str]:
    """Return all names that a query can use, with the parts of histograms."""
    parts = {m.name + part for m in definitions() if m.buckets for part in ("_bucket", "_sum", "_count")}
    return {m.name for m in definitions() if not m.buckets} | parts


# --- definitions


def test_two_workers_of_one_process_count_apart(clock: FakeClock) -> None:
    """Registries are not global to the process: a second worker neither clashes nor shares a number."""
    first, second = WorkerMetrics(clock), WorkerMetrics(clock)
    first.events_processed.inc(3)
    assert samples(first)["stream_worker_events_processed_total"] == 3
    assert samples(second)["stream_worker_events_processed_total"] == 0


def test_every_definition_is_exposed_under_its_name(metrics: WorkerMetrics) -> None:
    for definition in definitions():
        metric = getattr(metrics, definition.attribute)
        child = metric.labels(*["x"] * len(definition.labels)) if definition.labels else metric
        child.observe(1) if definition.buckets else child.inc()
    exposed = {name.split("{")[0] for name in samples(metrics)}
    assert exposed_names() <= exposed


def test_units_in_names_are_the_units_of_the_definitions() -> None:
    for definition in definitions():
        for unit in ("seconds", "bytes"):
            assert definition.attribute.endswith(f"_{unit}") == (definition.unit == unit), definition.name


def test_only_histograms_have_buckets_and_they_grow() -> None:
    for definition in definitions():
        assert bool(definition.buckets) == (definition.kind.__name__ == "Histogram"), definition.name
        assert list(definition.buckets) == sorted(set(definition.buckets))


def test_every_stage_of_the_tick_is_there_before_the_first_tick(metrics: WorkerMetrics) -> None:
    """A rate over a series that appears with its first observation would miss that observation."""
    shown = samples(metrics)
    assert all(shown[f"stream_worker_tick_seconds_count{{stage={stage}}}"] == 0 for stage in STAGES)


def test_every_definition_says_how_its_metric_is_read() -> None:
    """Definitions have one way each; the start of the worker has none, since nothing can change it."""
    for definition in definitions():
        ways = [way for way in (definition.read, definition.since, definition.ask) if way]
        assert len(ways) == (definition.attribute != "start_time_seconds"), definition.name


def test_the_exporter_names_no_metric() -> None:
    """A new one is written in the status and in its definition, and nowhere else."""
    tree = ast.parse((ROOT / "stream_worker" / "backends" / "metrics_export.py").read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert "created" in names
    assert names.isdisjoint(definition.attribute for definition in definitions())


# --- documents


def test_the_documented_table_is_that_of_the_definitions() -> None:
    """Paste the output of `stream_worker.backends.metric_definitions.table()` to write it anew."""
    assert table() in (ROOT / "docs" / "metrics.md").read_text()


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS, OPERATIONS], ids=["dashboard", "alerts", "operations"])
def test_dashboard_and_alerts_name_only_metrics_that_exist(path: Path) -> None:
    used = set(re.findall(PREFIX + r"\w+", path.read_text()))
    assert len(used) > 5
    assert used <= exposed_names()


def test_the_dashboard_shows_every_metric() -> None:
    text = DASHBOARD.read_text()
    assert [m.name for m in definitions() if m.name not in text] == []


def test_dashboard_and_alerts_select_only_labels_that_exist() -> None:
    """A selector on a label that a metric lacks matches nothing, or everything, and nobody notices."""
    known = {m.name: set(m.labels) | {"instance", "job", "le"} for m in definitions()}
    for expression in [*_dashboard_expressions(), *(rule["expr"] for rule in _rules())]:
        for name, selector in re.findall(rf"({PREFIX}\w+)\{{([^}}]*)\}}", expression):
            family = name if name in known else re.sub("_(bucket|sum|count)$", "", name)
            assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[family], expression


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for rule in _rules():
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_alerts_fire_and_rest_as_promtool_plays_it() -> None:
    """Waiting for ever, a crash loop, one of two down, nobody who owns anything; and none of it for who only idles."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian: prometheus) is not on the PATH")
    command = [promtool, "test", "rules", "alerts_test.yml"]
    done = subprocess.run(command, cwd=ALERTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_that_promtool_plays_is_one_of_the_rules() -> None:
    """A test that names no rule expects nothing, and gets it."""
    played = yaml.safe_load((ALERTS.parent / "alerts_test.yml").read_text())["tests"]
    names = {case["alertname"] for test in played for case in test["alert_rule_test"]}
    assert names <= {rule["alert"] for rule in _rules()}
    assert {"Waiting", "CrashLoop", "WorkerDown", "NoPartitionsOwned", "NotReady", "CheckpointOld"} <= names


def test_the_scraped_port_is_the_default_one_and_the_rules_are_loaded() -> None:
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())
    assert config["rule_files"] == [ALERTS.name]
    assert [d["port"] for d in config["scrape_configs"][0]["dns_sd_configs"]] == [MetricsConfig().port]


def test_every_panel_asks_the_provisioned_data_source() -> None:
    provisioned = yaml.safe_load(
        (ROOT / "monitoring" / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )
    uids = {source["uid"] for source in provisioned["datasources"]}
    panels = [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] != "row"]
    assert {p["datasource"]["uid"] for p in panels} == uids


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def _dashboard_expressions() -> list[str]:
    return [t["expr"] for p in json.loads(DASHBOARD.read_text())["panels"] for t in p.get("targets", [])]


# --- configuration and health


def test_a_loop_is_alive_until_it_has_not_ticked_for_the_allowed_time(clock: FakeClock) -> None:
    health = Health(clock, stall_seconds=30)
    health.tick()
    clock.seconds += 30
    assert health.alive()[0]
    clock.seconds += 0.1
    alive, reason = health.alive()
    assert not alive
    assert "30.1 s ago" in reason
    health.tick()
    assert health.alive()[0]


def test_a_start_that_compiles_kernels_is_alive_for_longer(clock: FakeClock) -> None:
    """A probe that killed it would do so at every start."""
    health = Health(clock, stall_seconds=30, start_seconds=600)
    clock.seconds += 600
    assert health.alive() == (True, "starting for 600.0 s, at most 600.0 s allowed")
    clock.seconds += 0.1
    assert not health.alive()[0]


OWNER = Standing(True, "owns 2 of the partitions")


def test_a_worker_is_ready_only_when_it_says_so(clock: FakeClock) -> None:
    health = Health(clock)
    assert not health.is_ready()[0]
    health.stands(OWNER)
    assert health.is_ready() == (True, OWNER.words)
    health.stands(DRAINING)
    assert not health.is_ready()[0]


# --- server


class Served:
    """A running server, its health and what it answers."""

    def __init__(self, metrics: WorkerMetrics, clock: FakeClock) -> None:
        self.health = Health(clock)
        self.config = MetricsConfig(port=_free_port())
        self.server = MetricsServer(self.config, metrics, self.health)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.config.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()


def _free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(metrics: WorkerMetrics, clock: FakeClock) -> Iterator[Served]:
    served = Served(metrics, clock)
    served.server.start()
    yield served
    served.server.close()


def test_metrics_are_served_as_prometheus_reads_them(served: Served, metrics: WorkerMetrics) -> None:
    metrics.dead_letters.labels("NotJson").inc(2)
    status, text = served.get("/metrics")
    assert status == 200
    assert 'stream_worker_dead_letters_total{error="NotJson"} 2.0' in text
    assert list(text_string_to_metric_families(text))


def test_healthz_follows_the_ticks(served: Served, clock: FakeClock) -> None:
    assert served.get("/healthz")[0] == 200
    served.health.tick()
    clock.seconds += 31
    status, reason = served.get("/healthz")
    assert status == 503
    assert "31.0 s ago" in reason


def test_readyz_follows_the_ownership(served: Served) -> None:
    assert served.get("/readyz")[0] == 503
    served.health.stands(OWNER)
    assert served.get("/readyz") == (200, OWNER.words + "\n")
    served.health.stands(DRAINING)
    assert served.get("/readyz")[0] == 503


def test_other_paths_are_not_found(served: Served) -> None:
    status, text = served.get("/secrets")
    assert status == 404
    assert "/healthz" in text


def test_a_busy_port_is_a_configuration_error_that_names_it(served: Served, metrics: WorkerMetrics) -> None:
    second = MetricsServer(served.config, metrics, served.health)
    with pytest.raises(ConfigurationError, match=rf"metrics\.port: .*127\.0\.0\.1:{served.config.port}.*in use"):
        second.start()
    second.close()


def test_an_unknown_host_is_a_configuration_error(metrics: WorkerMetrics, clock: FakeClock) -> None:
    config = MetricsConfig(host="203.0.113.7", port=_free_port())
    with pytest.raises(ConfigurationError, match=r"203\.0\.113\.7"):
        MetricsServer(config, metrics, Health(clock)).start()


def test_a_closed_server_frees_its_port(served: Served, metrics: WorkerMetrics) -> None:
    served.server.close()
    again = MetricsServer(served.config, metrics, served.health)
    again.start()
    assert served.get("/healthz")[0] == 200
    again.close()


def test_an_address_of_version_6_is_served_too(metrics: WorkerMetrics, clock: FakeClock) -> None:
    try:
        config = MetricsConfig(host="::1", port=_free_port("::1"))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    server = MetricsServer(config, metrics, Health(clock))
    server.start()
    with urllib.request.urlopen(f"http://[::1]:{config.port}/healthz", timeout=5) as response:
        assert response.status == 200
    server.close()


def test_port_0_serves_nothing(metrics: WorkerMetrics, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)  # any attempt to open one would raise
    server = MetricsServer(MetricsConfig(port=0), metrics, Health(clock))
    server.start()
    server.close()
