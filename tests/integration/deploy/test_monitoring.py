"""Prometheus, Alertmanager, the collector and Grafana: configurations that their programs take, of files that exist."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from tests.integration.deploy import schemas
from tests.integration.deploy.artefacts import DEPLOY, KUBERNETES, ROOT, VALUES, Document, manifests, read, run

if TYPE_CHECKING:
    from pathlib import Path

RULES = ROOT / "dashboards" / "alerts"


def alerts() -> list[Document]:
    """All alerts of the project."""
    return [rule for group in read(RULES / "alerts.yaml")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("name", ["prometheus.yml", "kubernetes.yml"])
def test_prometheus_takes_its_configuration_with_our_rules(name: str, tmp_path: Path) -> None:
    config = read(DEPLOY / "prometheus" / name)
    for job in config["scrape_configs"]:
        # Debian's Prometheus is built without it
        if found := job.pop("kubernetes_sd_configs", None):
            jsonschema.validate(found, schemas.POD_DISCOVERY)
    (tmp_path / name).write_text(yaml.safe_dump(config))
    shutil.copytree(RULES, tmp_path / "rules")

    done = run("promtool", "check", "config", tmp_path / name)

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob(config["rule_files"][0]))


def test_prometheus_takes_the_rules_as_the_chart_hands_them_on(tmp_path: Path) -> None:
    (rule,) = [found for found in manifests(VALUES["all"]) if found["kind"] == "PrometheusRule"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))

    done = run("promtool", "check", "rules", tmp_path / "rules.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_somebody_who_gets_it() -> None:
    config = read(DEPLOY / "prometheus" / "alertmanager.yml")
    jsonschema.validate(config, schemas.ALERTMANAGER)
    receivers = {receiver["name"] for receiver in config["receivers"]}
    asked = [config["route"], *config["route"]["routes"]]
    severities = {rule["labels"]["severity"] for rule in alerts()}

    assert {route["receiver"] for route in asked} == receivers
    assert severities == {"critical", "warning"}
    assert [route["matchers"] for route in config["route"]["routes"]] == [['severity="critical"']]


def test_alerts_that_silence_others_exist() -> None:
    rules = read(DEPLOY / "prometheus" / "alertmanager.yml")["inhibit_rules"]
    named = {
        name
        for rule in rules
        for matcher in rule["source_matchers"] + rule["target_matchers"]
        for name in matcher.partition('"')[2].rstrip('"').split("|")
    }

    assert named <= {rule["alert"] for rule in alerts()}


def test_the_collector_knows_every_part_of_its_pipelines() -> None:
    config = read(DEPLOY / "otel" / "collector.yaml")
    jsonschema.validate(config, schemas.COLLECTOR)

    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert [name for name in names if name not in config[kind]] == []
        assert pipeline["processors"][0] == "memory_limiter"


def test_spans_are_sent_to_where_the_collector_listens() -> None:
    port = read(DEPLOY / "otel" / "collector.yaml")["receivers"]["otlp"]["protocols"]["http"]["endpoint"].split(":")[1]
    compose = read(DEPLOY / "compose.yaml")["services"]

    assert compose["worker-1"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://collector:{port}"
    egress = read(KUBERNETES / "base" / "network.yaml")["spec"]["egress"]
    assert int(port) in {entry["port"] for rule in egress for entry in rule["ports"]}


def test_grafana_finds_its_prometheus_and_the_boards() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    sources = read(folder / "datasources" / "elsa.yaml")
    providers = read(folder / "dashboards" / "elsa.yaml")
    compose = read(DEPLOY / "compose.yaml")["services"]
    jsonschema.validate(sources, schemas.DATASOURCES)
    jsonschema.validate(providers, schemas.PROVIDERS)

    (source,) = sources["datasources"]
    (provider,) = providers["providers"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose
    assert (
        source["jsonData"]["timeInterval"]
        == read(DEPLOY / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    )
    assert f"../dashboards:{provider['options']['path']}:ro" in compose["grafana"]["volumes"]
    assert list((ROOT / "dashboards").glob("*.json"))
