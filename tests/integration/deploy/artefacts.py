"""What lies in deploy/, read: documents, rendered charts, containers; used by the tests beside it."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CHART = DEPLOY / "helm" / "elsa"
PORT = 9464

Document = dict[str, Any]

#: each switch of the chart at least once
VALUES: dict[str, Document] = {
    "least": {
        "brokers": "kafka:9092",
        "metrics": {"open": True},
        "workers": [{"name": "orders", "app": "workers.orders:app"}],
    },
    "workers alone": {
        "brokers": "kafka:9092",
        "metrics": {"open": True},
        "monitor": {"enabled": False},
        "serviceAccount": {"create": False},
        "workers": [{"name": "orders", "app": "workers.orders:app"}],
    },
    "all": {
        "brokers": "kafka-0:9093,kafka-1:9093",
        "image": {"repository": "registry.example/elsa", "digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "pull"}],
        "settings": {"log_level": "warning", "max_bytes": "8MB", "static_membership": True},
        "kafka": {"security.protocol": "SASL_SSL", "ssl.ca.location": "/etc/elsa/kafka/ca.crt"},
        "kafkaSecret": {"name": "kafka", "keys": {"sasl.username": "username", "sasl.password": "password"}},
        "tracing": {"enabled": True},
        "workers": [
            {
                "name": "orders",
                "app": "workers.orders:app",
                "image": {"repository": "shop", "tag": "1.0.0"},
                "topics": ["orders:3", "invoices"],
                "args": ["--group-protocol", "classic"],
                "processes": 2,
                "concurrency": 50,
                "drainTimeout": 60,
                "env": [{"name": "SHOP_REGION", "value": "eu"}],
                "envFrom": [{"secretRef": {"name": "shop"}}],
                "podAnnotations": {"team": "shop"},
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "spot", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "resources": {"limits": {"memory": "1Gi"}},
                "autoscaling": {
                    "kind": "keda",
                    "maxReplicas": 12,
                    "partitions": 12,
                    "groups": ["billing", "mailing"],
                    "age": 60,
                    "topics": [
                        {"topic": "orders", "group": "billing", "lagThreshold": 500},
                        {"topic": "invoices", "group": "mailing", "lagThreshold": 2000, "offsetResetPolicy": "latest"},
                    ],
                },
            },
            {"name": "flights", "app": "workers.flights:app", "kind": "StatefulSet", "replicas": 3},
            {
                "name": "reports",
                "app": "workers.reports:app",
                "disruptionBudget": False,
                "autoscaling": {"kind": "hpa", "groups": ["reports"], "age": 120},
            },
            {
                "name": "sessions",
                "app": "workers.sessions:app",
                "autoscaling": {"kind": "keda", "groups": ["sessions"], "age": 30},
            },
        ],
        "metrics": {"token": {"secret": "metrics"}},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True},
        "networkPolicy": {
            "enabled": True,
            "egress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}],
        },
        "keda": {"authentication": "kafka"},
    },
}


def tool(name: str) -> str:
    """The path of a program, of this environment first; skips where it is missing, and fails with CI=true."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(name: str, *args: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A program's end, with what it printed."""
    return subprocess.run([tool(name), *map(str, args)], cwd=cwd, text=True, capture_output=True, timeout=120)


def documents(text: str) -> list[Document]:
    """All documents of a YAML text that hold something; a key that is given twice is an error."""
    return [document for document in yaml.load_all(text, Loader=_Strict) if document]


def read(path: Path) -> Document:
    """The one document of a file."""
    (document,) = documents(path.read_text(encoding="utf-8"))
    return document


def helm() -> Any:
    """Helm's own engine; skips where there is none for this machine, and fails with CI=true."""
    if os.environ.get("CI") == "true":
        return importlib.import_module("helm_python")
    return pytest.importorskip("helm_python")


def render(values: Document, *, name: str = "shop") -> dict[str, str]:
    """The chart's templates by their names, filled in."""
    with helm().Chart.load(CHART) as chart:
        filled: dict[str, str] = chart.render(values, name=name, namespace="shop")
    return {path.split("/templates/")[1]: text for path, text in filled.items()}


def manifests(values: Document, *, name: str = "shop") -> list[Document]:
    """All objects that the chart makes of these values."""
    filled = render(values, name=name)
    return [found for path, text in filled.items() if path.endswith(".yaml") for found in documents(text)]


def plain() -> Iterator[tuple[Path, Document]]:
    """The objects of deploy/kubernetes with their files, without what is for other programs than Kubernetes."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name not in ("kustomization.yaml", "adapter.yaml"):
            yield path, read(path)


@dataclass(frozen=True)
class Container:
    """A container that runs `elsa`, wherever it is declared."""

    where: str
    args: tuple[str, ...]
    env: dict[str, str]
    #: seconds from TERM to the kill; None where nothing is said
    grace: int | None = None


def containers() -> Iterator[Container]:
    """All of deploy/: of the image, compose, the manifests and the chart."""
    yield from _of_compose()
    shared = read(KUBERNETES / "base" / "settings.yaml")["data"]
    for path, found in plain():
        yield from _of_object(str(path.relative_to(ROOT)), found, shared)
    for name, values in VALUES.items():
        for found in manifests(values):
            yield from _of_object(f"chart ({name})", found, {})


def image_env() -> dict[str, str]:
    """The `ELSA_*` variables of the image."""
    pairs = [word.split("=", 1) for word in (DEPLOY / "Dockerfile").read_text().split() if word.startswith("ELSA_")]
    return dict(pairs)


def _of_compose() -> Iterator[Container]:
    # as compose reads it where no variable of the caller's is set
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    (compose,) = documents(text)
    for name, service in compose["services"].items():
        if service["image"].startswith("elsa:") and "entrypoint" not in service:
            grace = service.get("stop_grace_period")
            env = {key: value or "" for key, value in service["environment"].items()}
            yield Container(
                f"compose {name}",
                tuple(service["command"]),
                image_env() | env,
                int(grace.removesuffix("s")) if grace else None,
            )


def _of_object(where: str, found: Document, shared: dict[str, str]) -> Iterator[Container]:
    pod = pod_of(found)
    if pod is None:
        return
    for container in pod["containers"]:
        own = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
        yield Container(
            f"{where} {found['kind']} {found['metadata']['name']}",
            tuple(container["args"]),
            image_env() | shared | own,
            pod.get("terminationGracePeriodSeconds"),
        )


def pod_of(found: Document) -> Document | None:
    """The pod's specification in a workload, None for other objects."""
    spec = found.get("spec") or {}
    if found["kind"] == "Pod":
        return dict(spec)
    return dict(spec["template"]["spec"]) if "template" in spec else None


class _Strict(yaml.SafeLoader):
    """Refuses what YAML allows and nobody means: the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        doubles = {key for key in keys if keys.count(key) > 1}
        if doubles:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {', '.join(doubles)}", node.start_mark)
        return super().construct_mapping(node, deep)
