"""The plain manifests: valid, whole, and of one mind about names, labels and ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema
import kubernetes_validate
import pytest

from tests.integration.deploy import schemas
from tests.integration.deploy.artefacts import KUBERNETES, PORT, ROOT, Document, plain, pod_of, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = "1.37"
OBJECTS = list(plain())
FOLDERS = sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))


def check(found: Document) -> None:
    """Raise when the object is not what Kubernetes, KEDA or the Prometheus operator takes."""
    if found["kind"] in schemas.OBJECTS:
        jsonschema.validate(found, schemas.OBJECTS[found["kind"]])
    else:
        kubernetes_validate.validate(found, VERSION, strict=True)


def applied(folder: Path) -> Iterator[Document]:
    """The objects that `kubectl apply -k` brings from this folder."""
    for name in read(folder / "kustomization.yaml")["resources"]:
        place = (folder / name).resolve()
        yield from applied(place) if place.is_dir() else [read(place)]


def picked(selector: Document, found: list[Document]) -> list[str]:
    """Names of the workloads whose pods a selector finds."""
    wanted = selector["matchLabels"].items()
    return [
        one["metadata"]["name"]
        for one in found
        if pod_of(one) is not None and wanted <= one["spec"]["template"]["metadata"]["labels"].items()
    ]


@pytest.mark.parametrize(("path", "found"), OBJECTS, ids=[str(path.relative_to(KUBERNETES)) for path, _ in OBJECTS])
def test_an_object_is_valid(path: Path, found: Document) -> None:
    check(found)

    assert found["kind"] == "Namespace" or found["metadata"]["namespace"] == "elsa", path


def test_a_misspelt_field_is_found() -> None:
    worker = read(KUBERNETES / "base" / "worker.yaml")
    worker["spec"]["template"]["spec"]["terminationGracePeriod"] = 5
    scaled = read(KUBERNETES / "keda" / "scaledobject.yaml")
    del scaled["spec"]["triggers"][0]["metadata"]["topic"]

    with pytest.raises(kubernetes_validate.ValidationError):
        check(worker)
    with pytest.raises(jsonschema.ValidationError):
        check(scaled)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_names_all_of_its_files_and_no_others(folder: Path) -> None:
    kustomization = read(folder / "kustomization.yaml")
    jsonschema.validate(kustomization, schemas.OBJECTS["Kustomization"])
    here = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "adapter.yaml"}

    assert {name for name in kustomization["resources"] if not name.startswith("..")} == here
    assert [name for name in kustomization["resources"] if not (folder / name).exists()] == []
    names = {one["metadata"]["name"] for one in applied(folder)}
    assert [one["name"] for one in kustomization.get("replicas", []) if one["name"] not in names] == []


def test_every_folder_is_one_that_can_be_applied() -> None:
    assert {path.name for path in KUBERNETES.iterdir()} == {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_selectors_find_pods(folder: Path) -> None:
    found = [*applied(folder), *([] if folder.name != "operator" else applied(KUBERNETES / "base"))]
    workloads = {one["metadata"]["name"] for one in found if pod_of(one) is not None}

    for one in found:
        name = one["metadata"]["name"]
        spec = one.get("spec") or {}
        if one["kind"] in ("Deployment", "PodDisruptionBudget"):
            assert picked(spec["selector"], found) == [name]
        if one["kind"] == "NetworkPolicy":
            assert set(picked(spec["podSelector"], found)) == workloads
        if one["kind"] == "PodMonitor":
            assert set(picked(spec["selector"], found)) == workloads
        if one["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
            assert spec["scaleTargetRef"]["name"] in workloads


def test_only_one_says_how_many_workers_there_are() -> None:
    worker = read(KUBERNETES / "base" / "worker.yaml")

    assert "replicas" not in worker["spec"]
    for name in ("fixed", "keda", "keda-age", "hpa"):
        folder = KUBERNETES / name
        kinds = [one["kind"] for one in applied(folder)]
        deciders = kinds.count("ScaledObject") + kinds.count("HorizontalPodAutoscaler")
        assert deciders + len(read(folder / "kustomization.yaml").get("replicas", [])) == 1


def test_what_pods_refer_to_is_there() -> None:
    found = list(applied(KUBERNETES / "base"))
    accounts = [one["metadata"]["name"] for one in found if one["kind"] == "ServiceAccount"]
    maps = [one["metadata"]["name"] for one in found if one["kind"] == "ConfigMap"]

    for pod in filter(None, map(pod_of, found)):
        (container,) = pod["containers"]
        assert pod["serviceAccountName"] in accounts
        assert [source["configMapRef"]["name"] for source in container["envFrom"]] == maps
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_pods_keep_to_the_restricted_standard() -> None:
    assert (
        read(KUBERNETES / "base" / "namespace.yaml")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )
    for pod in filter(None, (pod_of(found) for _, found in OBJECTS)):
        assert is_restricted(pod)


def is_restricted(pod: Document) -> bool:
    """Whether no container of a pod may become root, write to its image or do what needs a capability."""
    return (
        pod["securityContext"]["runAsNonRoot"] is True
        and pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        and pod["enableServiceLinks"] is False
        and pod["automountServiceAccountToken"] is False
        and all(
            one["securityContext"]
            == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            for one in pod["containers"]
        )
    )


def test_probes_and_policies_name_the_metrics_port() -> None:
    for _, found in OBJECTS:
        pod = pod_of(found)
        for container in (pod or {"containers": []})["containers"]:
            assert {"name": "metrics", "containerPort": PORT} in container["ports"]
            probes = [container[key]["httpGet"] for key in container if key.endswith("Probe")]
            assert {probe["port"] for probe in probes} == {"metrics"}
    policy = read(KUBERNETES / "base" / "network.yaml")["spec"]
    assert policy["ingress"][0]["ports"] == [{"port": "metrics", "protocol": "TCP"}]


def test_kafka_may_be_reached_where_it_is_said_to_be() -> None:
    settings = read(KUBERNETES / "base" / "settings.yaml")["data"]
    host, _, port = settings["ELSA_BROKERS"].rpartition(":")
    policy = read(KUBERNETES / "base" / "network.yaml")["spec"]
    allowed = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], entry["port"])
        for rule in policy["egress"]
        for peer in rule["to"]
        for entry in rule["ports"]
    }

    assert (host.split(".")[1], int(port)) in allowed
    for trigger in read(KUBERNETES / "keda" / "scaledobject.yaml")["spec"]["triggers"]:
        assert trigger["metadata"]["bootstrapServers"] == settings["ELSA_BROKERS"]


def test_no_secret_lies_in_a_file() -> None:
    for path, found in OBJECTS:
        assert found["kind"] != "Secret", path.relative_to(ROOT)
