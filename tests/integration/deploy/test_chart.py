"""The chart, filled in by Helm's own engine: valid objects for every switch, and values that are refused by name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jsonschema
import pytest

from elsa import __version__
from elsa.config import Settings
from tests.integration.deploy.artefacts import (
    CHART,
    PORT,
    ROOT,
    VALUES,
    Document,
    helm,
    manifests,
    pod_of,
    read,
    render,
    run,
)
from tests.integration.deploy.test_kubernetes import check, is_restricted, picked

ORDERS = {"name": "orders", "app": "shop:app"}
#: settings that the chart sets itself, from other values
OWNED = {
    *("brokers", "kafka", "drain_timeout", "stop_timeout", "leave_on_stop", "metrics_port", "runtime_dir", "otel"),
    *("http_host", "http_open", "http_token", "http_cert", "http_key", "http_client_ca"),
}


def kinds(values: Document) -> Counter[str]:
    """How many objects of each kind the values make."""
    return Counter(found["kind"] for found in manifests(values))


def with_worker(**more: Any) -> Document:
    """The least values, with one worker that has these fields."""
    return {
        "brokers": "kafka:9092",
        "metrics": {"open": True},
        "workers": [{**ORDERS, **more}],
    }


def objects(kind: str, values: Document) -> dict[str, Document]:
    """The objects of one kind by name."""
    return {found["metadata"]["name"]: found for found in manifests(values) if found["kind"] == kind}


@pytest.mark.parametrize("name", VALUES)
def test_every_object_is_valid(name: str) -> None:
    found = manifests(VALUES[name])

    for one in found:
        check(one)
    assert all(is_restricted(pod) for pod in filter(None, map(pod_of, found)))


@pytest.mark.parametrize("name", VALUES)
def test_lint_finds_no_fault(name: str) -> None:
    report = helm().lint(CHART, VALUES[name], strict=True, kube_version="v1.33.0")

    # 1 is information: there is no icon
    assert [message for message in report["messages"] if message["severity"] > 1] == []
    assert report["errors"] == []


def test_the_schema_of_its_values_is_a_schema_and_knows_every_default() -> None:
    schema = read(CHART / "values.schema.json")
    run("check-jsonschema", "--check-metaschema", CHART / "values.schema.json").check_returncode()
    jsonschema.Draft7Validator.check_schema(schema)

    assert set(read(CHART / "values.yaml")) == set(schema["properties"]) - {"global"}


def test_what_is_made_follows_from_the_switches() -> None:
    assert kinds(VALUES["least"]) == {
        "Deployment": 2,
        "PodDisruptionBudget": 1,
        "ServiceAccount": 1,
        "Pod": 1,
    }
    assert kinds(VALUES["workers alone"]) == {"Deployment": 1, "PodDisruptionBudget": 1, "Pod": 1}
    boards = len(list((ROOT / "dashboards").glob("*.json")))
    assert kinds(VALUES["all"]) == Counter(
        Deployment=4,
        StatefulSet=1,
        PodDisruptionBudget=3,
        ServiceAccount=1,
        NetworkPolicy=1,
        PodMonitor=1,
        PrometheusRule=1,
        ScaledObject=2,
        HorizontalPodAutoscaler=1,
        Pod=4,
        ConfigMap=boards,
    )


@pytest.mark.parametrize("name", ["least", "all"])
def test_selectors_find_the_pods_that_are_meant(name: str) -> None:
    found = manifests(VALUES[name])
    workloads = {one["metadata"]["name"] for one in found if one["kind"] in ("Deployment", "StatefulSet")}
    running = [one for one in found if one["metadata"]["name"] in workloads and pod_of(one)]

    for one in found:
        if one["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert picked(one["spec"]["selector"], running) == [one["metadata"]["name"]]
        if one["kind"] in ("NetworkPolicy", "PodMonitor"):
            selector = one["spec"].get("podSelector") or one["spec"]["selector"]
            assert set(picked(selector, running)) == workloads
        if one["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
            target = one["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in {(each["kind"], each["metadata"]["name"]) for each in running}


def test_two_releases_share_no_name() -> None:
    here, there = (
        {one["metadata"]["name"] for one in manifests(VALUES["all"], name=name)} for name in ("shop", "elsa")
    )

    assert here and not here & there


def test_the_number_of_workers_is_left_to_an_autoscaler() -> None:
    of = objects("Deployment", VALUES["all"])

    assert {name for name, one in of.items() if "replicas" not in one["spec"]} == {
        "shop-elsa-orders",
        "shop-elsa-reports",
        "shop-elsa-sessions",
    }
    assert objects("Deployment", with_worker(replicas=0))["shop-elsa-orders"]["spec"]["replicas"] == 0


def test_a_worker_set_runs_what_it_says() -> None:
    orders = pod_of(objects("Deployment", VALUES["all"])["shop-elsa-orders"])
    monitor = pod_of(objects("Deployment", VALUES["all"])["shop-elsa-monitor"])

    assert orders is not None and monitor is not None
    (container,) = orders["containers"]
    assert container["args"] == [
        *("worker", "workers.orders:app", "--topics", "orders:3,invoices", "--processes", "2"),
        *("--concurrency", "50", "--group-protocol", "classic"),
    ]
    assert container["ports"] == [{"name": "metrics", "containerPort": PORT}]
    # the digest of one image is none of another
    assert monitor["containers"][0]["image"] == f"registry.example/elsa@sha256:{'0' * 64}"
    assert container["image"] == "shop:1.0.0"


def test_secrets_come_by_reference() -> None:
    text = "\n".join(render(VALUES["all"]).values())
    pod = pod_of(objects("Deployment", VALUES["all"])["shop-elsa-orders"])

    assert "kind: Secret\n" not in text
    assert pod is not None
    env = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert env["ELSA_KAFKA__SASL__PASSWORD_FILE"] == "/etc/elsa/kafka/password"
    assert {"name": "kafka", "secret": {"secretName": "kafka", "defaultMode": 0o440}} in pod["volumes"]


def test_boards_and_rules_are_those_of_the_project() -> None:
    linked = {
        folder: {path.name: path.resolve() for path in (CHART / "files" / folder).iterdir()}
        for folder in ("boards", "rules")
    }
    boards = {path.name: path for path in (ROOT / "dashboards").glob("*.json")}

    assert linked["boards"] == boards
    assert all(path.is_file() and ROOT / "dashboards/alerts" in path.parents for path in linked["rules"].values())
    for found in manifests(VALUES["all"]):
        if found["kind"] == "ConfigMap":
            ((name, text),) = found["data"].items()
            assert text == boards[name].read_text(encoding="utf-8")
        if found["kind"] == "PrometheusRule":
            groups = [group for path in sorted(linked["rules"].values()) for group in read(path)["groups"]]
            assert found["spec"]["groups"] == groups


def test_every_setting_of_elsa_may_be_set_but_those_that_the_chart_owns() -> None:
    known = read(CHART / "values.schema.json")["properties"]["settings"]

    assert known["additionalProperties"] is False
    assert set(known["properties"]) == Settings.__dataclass_fields__.keys() - OWNED


@pytest.mark.parametrize(
    ("value", "told"), [(8_000_000, "8000000"), (0.5, "0.5"), (True, "true"), ("8MB", "8MB"), (0, "0")]
)
def test_numbers_reach_the_pods_as_they_were_written(value: object, told: str) -> None:
    made = objects(
        "Deployment", {**with_worker(), "settings": {"max_bytes": value}, "kafka": {"fetch.max.bytes": value}}
    )
    pod = pod_of(made["shop-elsa-orders"])

    assert pod is not None
    env = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert (env["ELSA_MAX_BYTES"], env["ELSA_KAFKA__FETCH__MAX__BYTES"]) == (told, told)


def test_a_threshold_of_millions_is_a_number_to_keda() -> None:
    topics = [{"topic": "orders", "group": "billing", "lagThreshold": 2_000_000}]
    (made,) = objects("ScaledObject", with_worker(autoscaling={"kind": "keda", "topics": topics})).values()

    assert made["spec"]["triggers"][0]["metadata"]["lagThreshold"] == "2000000"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({**with_worker(), "brokers": ""}, "brokers"),
        ({**with_worker(), "workers": []}, "/workers.*: minItems"),
        (with_worker(replica=2), "'replica' not allowed"),
        (with_worker(app="shop"), "/workers/0/app"),
        (with_worker(kind="DaemonSet"), "/workers/0/kind"),
        ({"brokers": "k:1", "kafka": {"sasl.password": "x"}}, "sasl.password"),
        ({"brokers": "k:1", "settings": {"http_host": "::"}}, "http_host"),
        ({**with_worker(), "metrics": {}}, "read the metrics"),
        (with_worker(autoscaling={"kind": "keda", "maxReplicas": 9, "partitions": 6, "age": 5, "groups": ["a"]}), "9"),
        (with_worker(autoscaling={"kind": "keda"}), "needs topics"),
        (with_worker(autoscaling={"kind": "hpa"}), "needs groups"),
        (with_worker(autoscaling={"kind": "keda", "age": 5}), "which groups"),
        (with_worker(autoscaling={"kind": "keda", "age": 5, "groups": ["a"], "minReplicas": 0}), "told by workers"),
        (with_worker(autoscaling={"kind": "keda", "age": 5, "groups": ["a"], "minReplicas": 7}), "minReplicas is 7"),
        (with_worker(autoscaling={"kind": "hpa", "groups": ["a"], "minReplicas": 3, "maxReplicas": 2}), "axReplicas 2"),
        ({**with_worker(), "workers": [ORDERS, {**ORDERS, "kind": "StatefulSet"}]}, "two are named orders"),
        (with_worker(name="monitor"), "monitor is the name of the monitor's own Deployment.*monitor.enabled"),
        ({**with_worker(), "settings": {"sesion_timeout": "15s"}}, "'sesion_timeout' not allowed"),
        ({**with_worker(), "kafkaSecret": {"keys": {"sasl.password": "password"}}}, "/kafkaSecret/name"),
        ({**with_worker(), "brokers": "one:9092, two:9092"}, "/brokers.*'one:9092, two:9092'"),
        ({**with_worker(), "brokers": "kafka"}, "/brokers.*'kafka'"),
        ({**with_worker(), "brokers": "one:9092,"}, "/brokers.*'one:9092,'"),
        (with_worker(env=[{"name": "ELSA_METRICS_PORT", "value": "9"}]), r"workers.orders.env has ELSA_METRICS_PORT"),
        (with_worker(env=[{"name": "ELSA_HTTP_HOST", "value": "::1"}]), r"workers.orders.env has ELSA_HTTP_HOST"),
        (with_worker(args=["--metrics-port", "9"]), r"workers.orders.args has --metrics-port: .* 9464"),
        (with_worker(args=["--metrics-port=9"]), r"workers.orders.args has --metrics-port=9"),
        ({**with_worker(), "monitor": {"args": ["--http-port=9"]}}, r"monitor.args has --http-port=9"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(values: Document, says: str) -> None:
    with pytest.raises(helm().HelmError, match=says):
        render(values)


def test_what_only_looks_like_nonsense_is_taken() -> None:
    alone = {**with_worker(name="monitor"), "monitor": {"enabled": False}}

    assert "shop-elsa-monitor" in objects("Deployment", alone)
    assert kinds({**with_worker(env=[{"name": "ELSA_LOG_LEVEL", "value": "debug"}]), "brokers": "[::1]:9092,two:9"})


def test_the_chart_is_of_this_version_of_elsa() -> None:
    chart = read(CHART / "Chart.yaml")

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
