"""What deploy/ says to Elsa, Elsa understands: commands and options, variables, metrics, time to stop, files."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from elsa.cli import cli
from elsa.config import load
from elsa.environment import OTHERS
from elsa.loading import load_app
from elsa.observe import guard
from elsa.observe.catalogue import CATALOGUE
from tests.integration.deploy.artefacts import (
    DEPLOY,
    KUBERNETES,
    ROOT,
    VALUES,
    Container,
    containers,
    documents,
    manifests,
    read,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALL = list(containers())
TEXTS = [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix not in (".json", ".txt")]
#: what `helm`, Kubernetes and others make of a metric's name
_METRIC = re.compile(r"\belsa_[a-z][a-z_]*[a-z]\b")


def env_of(container: Container, tmp_path: Path) -> dict[str, str]:
    """Its ELSA_* variables, files that a Secret would bring made in `tmp_path`."""
    found = {name: value for name, value in container.env.items() if name.startswith("ELSA_")}
    for name in found:
        if name.endswith("_FILE"):
            place = tmp_path / name
            place.write_text("secret")
            found[name] = str(place)
    return found


@pytest.mark.parametrize("container", ALL, ids=[one.where for one in ALL])
def test_elsa_has_the_command_with_these_options(container: Container) -> None:
    name, *args = container.args
    command = cli.get_command(click.Context(cli), name)

    assert command is not None, f"there is no `elsa {name}`"
    # raises for an option that there is not, and for a value that it does not take
    command.make_context(name, list(args))


@pytest.mark.parametrize("container", ALL, ids=[one.where for one in ALL])
def test_its_variables_are_settings(container: Container, tmp_path: Path) -> None:
    loaded = load(env=env_of(container, tmp_path), cwd=tmp_path)

    assert loaded.warnings == []
    assert loaded.settings.metrics_port == 9464
    assert loaded.settings.http_host == "0.0.0.0"


@pytest.mark.parametrize("container", ALL, ids=[one.where for one in ALL])
def test_it_has_more_time_to_stop_than_it_takes(container: Container, tmp_path: Path) -> None:
    settings = load(env=env_of(container, tmp_path), cwd=tmp_path).settings

    if container.args[0] == "worker":
        assert container.grace is not None
        assert container.grace > settings.stop_timeout >= settings.drain_timeout + 5


@pytest.mark.parametrize("container", ALL, ids=[one.where for one in ALL])
def test_its_metrics_may_be_served_beyond_its_own_loopback(container: Container, tmp_path: Path) -> None:
    settings = load(env=env_of(container, tmp_path), cwd=tmp_path).settings

    # raises where nobody has said who may read them
    guard.Guard.of(guard.settings_of(settings)).check(settings.http_host)


def test_it_runs_apps_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    apps = {one.args[1] for one in ALL if one.args[0] == "worker"}

    assert {load_app(app).settings.name for app in apps}


def test_topics_and_groups_that_are_scaled_by_are_those_of_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    known = {(topic, handler.group) for handler in load_app("workers.orders:app").registry for topic in handler.topics}
    scaled = read(KUBERNETES / "keda" / "scaledobject.yaml")["spec"]["triggers"]

    assert {(one["metadata"]["topic"], one["metadata"]["consumerGroup"]) for one in scaled} <= known


def test_topics_that_compose_makes_are_those_of_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (script,) = read(DEPLOY / "compose.yaml")["services"]["topics"]["command"]
    made = re.search(r"for topic in (.+); do", script)
    command = re.search(r"elsa topics create (.+)", script)

    assert made is not None and command is not None
    assert set(made[1].split()) == {
        topic for handler in load_app("workers.orders:app").registry for topic in handler.topics
    }
    group = cli.get_command(click.Context(cli), "topics")
    assert isinstance(group, click.Group)
    group.commands["create"].make_context("create", command[1].split())


def test_every_variable_that_a_text_names_is_one() -> None:
    settings = {f"ELSA_{name.upper()}" for name in load(env={}, cwd=DEPLOY).settings.__dataclass_fields__}
    named = {(path.name, name) for path in TEXTS for name in re.findall(r"\bELSA_[A-Z0-9_]*[A-Z0-9]", path.read_text())}
    # a link of Kubernetes that is kept out, and names that the chart puts together
    wrong = {
        (place, name)
        for place, name in named
        if name.removesuffix("_FILE") not in settings | OTHERS.keys() | {"ELSA_SERVICE_HOST", "ELSA_KAFKA"}
        and not name.startswith("ELSA_KAFKA__")
    }

    assert wrong == set()


def queries() -> Iterator[tuple[str, str]]:
    """(where, PromQL or name of a metric) of every autoscaler and rule of an adapter."""
    found = [
        (str(path.relative_to(ROOT)), one) for path in KUBERNETES.rglob("*.yaml") for one in documents(path.read_text())
    ]
    found += [(f"chart ({name})", one) for name, values in VALUES.items() for one in manifests(values)]
    for where, one in found:
        spec = one.get("spec") or {}
        for trigger in spec.get("triggers", []):
            if "query" in trigger["metadata"]:
                yield where, trigger["metadata"]["query"]
        if one.get("kind") == "HorizontalPodAutoscaler":
            for metric in spec["metrics"]:
                yield where, metric["external"]["metric"]["name"]
        for rule in one.get("rules", {}).get("external", []) if isinstance(one.get("rules"), dict) else []:
            yield where, rule["seriesQuery"]
            yield where, rule["name"]["as"]


def test_metrics_that_are_asked_for_are_in_the_catalogue() -> None:
    asked = [(where, name) for where, query in queries() for name in _METRIC.findall(query)]

    assert len(asked) >= 6
    assert [(where, name) for where, name in asked if name not in CATALOGUE] == []


def test_labels_that_are_asked_for_are_those_of_the_metric() -> None:
    for where, query in queries():
        for name, labels in re.findall(r"(elsa_\w+)\{([^}]*)\}", query):
            asked = set(re.findall(r"(\w+)\s*[=!]", labels))
            assert asked <= set(CATALOGUE[name].labels), where


def test_the_adapter_gives_the_metric_that_the_autoscaler_asks_for() -> None:
    (rule,) = read(KUBERNETES / "hpa" / "adapter.yaml")["rules"]["external"]
    (metric,) = read(KUBERNETES / "hpa" / "autoscaler.yaml")["spec"]["metrics"]

    assert rule["name"]["as"] == metric["external"]["metric"]["name"]
    kept = re.findall(r"by \((\w+)\)", rule["metricsQuery"])
    assert set(metric["external"]["metric"]["selector"]["matchLabels"]) <= set(kept)


def test_the_jobs_have_the_same_names_everywhere() -> None:
    static = {job["job_name"] for job in read(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]}
    (discovered,) = read(DEPLOY / "prometheus" / "kubernetes.yml")["scrape_configs"]
    replaced = [rule["replacement"] for rule in discovered["relabel_configs"] if rule.get("target_label") == "job"]
    (endpoint,) = read(KUBERNETES / "operator" / "podmonitor.yaml")["spec"]["podMetricsEndpoints"]

    assert static == {"elsa-worker", "elsa-monitor"}
    assert replaced == [rule["replacement"] for rule in endpoint["relabelings"]] == ["elsa-$1"]
    (podmonitor,) = documents(render(VALUES["all"])["podmonitor.yaml"])
    assert podmonitor["spec"]["podMetricsEndpoints"][0]["relabelings"] == endpoint["relabelings"]


def test_every_file_that_the_page_names_exists() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^)#]+)\)", page)) | set(re.findall(r"`deploy/([\w./-]+)`", page))

    assert named
    assert [name for name in named if "://" not in name and not (DEPLOY / name).exists()] == []


def test_elsa_has_the_commands_that_the_page_shows() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    shown = [shlex.split(line) for line in re.findall(r"`elsa ([a-z][^`]*)`", page)]

    assert len(shown) > 3
    for name, *args in shown:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        command.make_context(name, args)


def test_everything_that_lies_here_stands_on_the_page() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in DEPLOY.iterdir() if path.name not in page and path.name != "README.md"] == []
