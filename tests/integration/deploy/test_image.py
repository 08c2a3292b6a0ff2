"""The image: its Dockerfile is sound, starts `elsa` as no known user, and its pip steps make an `elsa` that runs.

No image is built here; what it would run is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from elsa import __version__
from tests.integration.deploy.artefacts import DEPLOY, PORT, ROOT, image_env, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> Iterator[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined, comments left out."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    for line in re.sub(r"\s*\\\n\s*", " ", lines).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def last(name: str) -> str:
    """The rest of the last instruction of this name."""
    return [rest for found, rest in instructions() if found == name][-1]


def locked(file: str) -> dict[str, str]:
    """Versions by name of a requirements file; every one has hashes."""
    text = re.sub(r"\s*\\\n\s*", " ", (DEPLOY / file).read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all("--hash=sha256:" in line for line in lines)
    return dict(line.split(" ")[0].split("==") for line in lines)


def test_hadolint_has_nothing_to_say() -> None:
    done = run("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")

    assert (done.returncode, done.stdout) == (0, "")


def test_elsa_is_process_1_of_nobody_in_particular_and_stops_by_term() -> None:
    user, _, group = last("USER").partition(":")

    assert json.loads(last("ENTRYPOINT")) == ["elsa"]
    assert last("STOPSIGNAL") == "SIGTERM"
    assert user.isdecimal() and group.isdecimal() and int(user) > 0 and int(group) > 0


def test_the_base_is_pinned_by_digest() -> None:
    (base,) = [rest for name, rest in instructions() if name == "ARG" and rest.startswith("PYTHON=")]

    assert re.fullmatch(r"PYTHON=python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert {rest.split()[0] for name, rest in instructions() if name == "FROM"} == {"${PYTHON}"}


def test_it_says_what_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last("LABEL")))
    declared = [rest for name, rest in instructions() if name == "ARG"]

    assert labels.keys() == {"title", "description", "licenses", "version", "revision"}
    assert f"VERSION={__version__}" in declared


def test_metrics_are_served_where_the_port_is_exposed() -> None:
    env = image_env()

    assert env["ELSA_METRICS_PORT"] == last("EXPOSE") == str(PORT)
    assert env["ELSA_HTTP_HOST"] == "0.0.0.0"


def test_the_builder_is_sent_what_it_copies_and_no_more() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied = {
        word
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    }

    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / word).exists() for word in copied)


def test_the_lock_holds_every_dependency_in_a_version_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    asked = [Requirement(text) for text in [*project["project"]["dependencies"], *extras["otel"], *extras["uvloop"]]]
    versions = locked("requirements.txt")
    building = locked("requirements-build.txt")

    assert [str(one) for one in asked if not one.specifier.contains(versions.get(one.name, "0"))] == []
    for text in project["build-system"]["requires"]:
        assert Requirement(text).specifier.contains(building[Requirement(text).name])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_steps_of_pip_make_an_elsa_that_runs(tmp_path: Path) -> None:
    """Run in the order of the Dockerfile, in folders of the test, with this Python."""
    places = {"/opt": tmp_path / "opt", "/wheels": tmp_path / "wheels"}
    build = tmp_path / "build"
    build.mkdir()
    for name, rest in instructions():
        if name == "FROM" and "AS build" not in rest:
            break
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                place = build / (source.rpartition("/")[2] if target.endswith("/") else target)
                place.symlink_to(ROOT / source)
        if name == "RUN":
            command = rest.replace("python -m venv", f"{sys.executable} -m venv")
            for known, place in places.items():
                command = command.replace(known, str(place))
            subprocess.run(["/bin/sh", "-ec", command], cwd=build, check=True, timeout=300)

    done = subprocess.run([tmp_path / "opt/elsa/bin/elsa", "--version"], cwd=tmp_path, text=True, capture_output=True)
    traced = subprocess.run([tmp_path / "opt/elsa/bin/python", "-c", "import opentelemetry.sdk, uvloop"], cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, f"elsa, version {__version__}\n")
    assert traced.returncode == 0


def test_the_healthcheck_asks_elsa() -> None:
    options = last("HEALTHCHECK").partition(" CMD ")

    assert json.loads(options[2]) == ["elsa", "healthcheck", "--live"]
    assert "--start-period=60s" in options[0]
