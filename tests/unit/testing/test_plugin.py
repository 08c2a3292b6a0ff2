"""The plugin in pytest runs of its own, as a project that installed Elsa has them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_USES_KAFKA = "def test_it(elsa_kafka):\n    assert elsa_kafka.bootstrap\n"


def _run(folder: Path, test: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(test)
    inherited = {key: value for key, value in os.environ.items() if key not in {"CI", "ELSA_TEST_BROKERS"}}
    inherited |= environment
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_it.py"],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
    )


def test_a_project_that_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        "import sys\n"
        "def test_it():\n"
        "    assert 'elsa.testing.plugin' in sys.modules\n"
        "    assert not {'confluent_kafka', 'elsa.broker', 'elsa.kafka', 'msgspec'} & set(sys.modules)\n",
    )

    assert run.returncode == 0, run.stdout


def test_without_kafka_a_test_is_skipped_with_the_reason(tmp_path: Path) -> None:
    run = _run(tmp_path, _USES_KAFKA, KAFKA_HOME=str(tmp_path))

    assert run.returncode == 0, run.stdout
    assert "1 skipped" in run.stdout
    assert "no Kafka can be had: KAFKA_HOME=" in run.stdout


def test_without_kafka_the_run_fails_in_ci(tmp_path: Path) -> None:
    run = _run(tmp_path, _USES_KAFKA, KAFKA_HOME=str(tmp_path), CI="true")

    assert run.returncode == 1
    assert "CI=true, and no Kafka can be had: KAFKA_HOME=" in run.stdout


def test_a_running_cluster_is_used_where_one_is_named(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        "def test_it(elsa_kafka):\n    assert ('there:1', False) == (elsa_kafka.bootstrap, elsa_kafka.is_embedded)\n",
        ELSA_TEST_BROKERS="there:1",
        KAFKA_HOME=str(tmp_path),
    )

    assert run.returncode == 0, run.stdout


def test_the_mock_cluster_needs_neither_java_nor_jars(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        "from confluent_kafka import Producer\n"
        "def test_it(elsa_mock_kafka):\n"
        "    producer = Producer({'bootstrap.servers': elsa_mock_kafka.bootstrap})\n"
        "    producer.produce('orders', b'x')\n"
        "    assert producer.flush(10) == 0\n",
        KAFKA_HOME=str(tmp_path),
        CI="true",
    )

    assert run.returncode == 0, run.stdout


@pytest.mark.broker
def test_the_real_broker_starts_in_a_users_test(tmp_path: Path) -> None:
    """Also in a run that a test of another one has started, which has several processes: it shares nothing with it."""
    (tmp_path / "its").mkdir()
    run = _run(
        tmp_path,
        "from elsa.kafka import probe\n"
        "def test_it(elsa_kafka, tmp_path_factory):\n"
        "    assert elsa_kafka.is_embedded\n"
        "    assert probe.list_topics(elsa_kafka.bootstrap) == []\n"
        "    assert not (tmp_path_factory.getbasetemp().parent / 'elsa-kafka').exists()\n",
        PYTEST_XDIST_WORKER="gw0",
        PYTEST_ADDOPTS=f"--basetemp={tmp_path / 'its' / 'own'}",
    )

    assert run.returncode == 0, run.stdout
