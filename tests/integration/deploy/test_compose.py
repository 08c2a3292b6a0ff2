"""Compose: valid by its own specification, with every file that it mounts, and ports and names that agree."""

from __future__ import annotations

import re

import pytest

from elsa.broker.jars import KAFKA_VERSION
from tests.integration.deploy.artefacts import DEPLOY, PORT, Document, image_env, read, run

FILE = DEPLOY / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Document]:
    return dict(read(FILE)["services"])


def test_it_is_valid_by_the_compose_specification() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_folder_and_file_that_is_mounted_exists(services: dict[str, Document]) -> None:
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    named = {source for source in mounted if not source.startswith(".")}

    assert [source for source in mounted if source.startswith(".") and not (DEPLOY / source).exists()] == []
    assert named == set(read(FILE)["volumes"])


def test_the_kafka_is_the_one_that_elsa_is_tested_with(services: dict[str, Document]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_everybody_outside_of_kafka_finds_its_listener(services: dict[str, Document]) -> None:
    advertised = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    asked = {
        env["ELSA_BROKERS"]
        for service in services.values()
        if "ELSA_BROKERS" in (env := service.get("environment", {}))
    }

    assert asked == {"kafka:9092"}
    assert "://kafka:9092" in advertised
    # who is outside of the containers is sent to the port that is published
    (outside,) = re.findall(r"://localhost:(\d+)", advertised)
    assert f"127.0.0.1:{outside}:{outside}" in services["kafka"]["ports"]


def test_what_waits_for_health_waits_for_somebody_who_tells_it(services: dict[str, Document]) -> None:
    waited = {
        name: how["condition"] for service in services.values() for name, how in service.get("depends_on", {}).items()
    }

    for name, condition in waited.items():
        service = services[name]
        if condition == "service_healthy":
            assert service["healthcheck"]["test"][0] == "CMD"
        else:
            assert service["restart"] == "no"


def test_every_long_lived_service_tells_its_health(services: dict[str, Document]) -> None:
    # those of Elsa by their image; the collector's image holds no program that could ask
    silent = {
        name
        for name, service in services.items()
        if "healthcheck" not in service and not service["image"].startswith("elsa:")
    }

    assert silent == {"collector"}


def test_each_worker_keeps_its_name_and_its_slot(services: dict[str, Document]) -> None:
    workers = {name: service for name, service in services.items() if service.get("command", [""])[0] == "worker"}
    places = [f"{name}:{image_env()['ELSA_RUNTIME_DIR']}" for name in workers]

    assert [service["hostname"] for service in workers.values()] == list(workers)
    assert [
        place for place, service in zip(places, workers.values(), strict=True) if place in service["volumes"]
    ] == places
    assert len(workers) == 2


def test_ports_are_published_on_loopback_only(services: dict[str, Document]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]

    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_prometheus_scrapes_every_worker_and_the_monitor(services: dict[str, Document]) -> None:
    jobs = read(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    targets = {target for job in jobs for config in job["static_configs"] for target in config["targets"]}
    running = {
        name
        for name, service in services.items()
        if service["image"].startswith("elsa:") and service["restart"] != "no"
    }

    assert targets == {f"{name}:{PORT}" for name in running}


def test_images_of_others_have_exact_tags(services: dict[str, Document]) -> None:
    tags = {service["image"].rpartition(":")[2] for service in services.values()}

    assert [tag for tag in tags if not re.fullmatch(r"v?\d+\.\d+\.\d+", tag)] == []


def test_without_a_profile_there_is_kafka_and_elsa(services: dict[str, Document]) -> None:
    core = {name for name, service in services.items() if "profiles" not in service}

    assert core == {"kafka", "topics", "worker-1", "worker-2", "monitor"}
    assert {name for service in services.values() for name in service.get("profiles", [])} == {"observe"}
