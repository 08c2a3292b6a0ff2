"""What `elsa worker` says of its health while Kafka is away, while a thread of it hangs, and to `elsa healthcheck`."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.kafka import probe
from elsa.testing.kafka import require_embedded, unique_name

from .driver import APP, stage, until
from .health import ask, base_of, failed

if TYPE_CHECKING:
    from .conftest import SetStage
    from .driver import Stage

pytestmark = pytest.mark.broker

#: the group manager's thread hangs in an observer while a file is there
HANGING = APP.replace(
    'app = elsa.App(PLAN["app"], ',
    """
from elsa.observer import GroupObserver, Observer

HANG = os.environ["TREE_JOURNAL"] + ".hang"


class Hanging(GroupObserver):
    def polled(self, now):
        while os.path.exists(HANG):
            time.sleep(0.02)


class Watching(Observer):
    def group(self, group):
        return Hanging()


app = elsa.App(PLAN["app"], observer=Watching(), """,
)


#: mover and scheduler hang in an observer while a file is there; they may be a second later than a poll
SERVICES = (
    APP.replace(
        'app = elsa.App(PLAN["app"], ',
        """
from elsa.observer import MoverObserver, Observer, ScheduleObserver
from elsa.worker import vitals

vitals.GRACE_SECONDS = 1.0


def hang(name):
    while os.path.exists(os.environ["TREE_JOURNAL"] + "." + name):
        time.sleep(0.02)


class Moving(MoverObserver):
    def due(self, messages):
        hang("mover")


class Firing(ScheduleObserver):
    def fired(self, delays):
        hang("scheduler")


class Watching(Observer):
    def mover(self):
        return Moving()

    def schedule(self, name):
        return Firing()


app = elsa.App(PLAN["app"], observer=Watching(), """,
    )
    + """

@app.every(1, name="tick")
@app.task(topic=PLAN["topic"] + ".ticks")
def tick() -> None:
    app.send(PLAN["topic"], "", delay=3600)
"""
)


def healthcheck(on: Stage, base: str, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    port = base.rpartition(":")[2]
    command = [sys.executable, "-m", "elsa", "healthcheck", *argv]
    env = on.environment | {"ELSA_METRICS_PORT": port} | more
    return subprocess.run(command, env=env, cwd=on.folder, capture_output=True, text=True, timeout=60)


def test_without_kafka_a_worker_lives_and_is_not_ready_and_both_come_right_by_themselves(tmp_path: Path) -> None:
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        topic = unique_name("health")
        probe.create_topic(kafka.bootstrap, topic, 6)
        with stage(kafka.bootstrap, topic, tmp_path) as on:
            tree = on.start("--metrics-port", "0", "--processes", "2")
            tree.wait_ready(2)
            base = base_of(tree)
            until(lambda: ask(base, "/readyz")[0] == 200, "it is ready")
            pids = tree.workers()

            kafka.kill_node(1)
            until(lambda: ask(base, "/readyz")[0] == 503, "it is not ready")
            assert failed(base, "/readyz") == ["brokers"]
            assert ask(base, "/livez")[0] == ask(base, "/startupz")[0] == 200
            assert healthcheck(on, base).returncode == exits.OK
            refused = healthcheck(on, base, "--ready")
            assert (refused.returncode, refused.stdout) == (exits.FAILED, "not ready\n")
            assert "brokers of process 0: Kafka does not answer" in refused.stderr

            kafka.start_node(1)
            until(lambda: ask(base, "/readyz")[0] == 200, "it is ready again")
            assert ask(base, "/livez")[0] == 200
            on.produce(60)
            on.wait_all()
            assert tree.workers() == pids
            assert tree.stop() == exits.OK


def test_with_client_certificates_nobody_else_reads_anything(set_stage: SetStage, tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {name: str(tmp_path / f"{name}.pem") for name in ("server", "authority", "client")}
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(files["server"])
    authority.issue_cert("prometheus").private_key_and_cert_chain_pem.write_to_path(files["client"])
    authority.cert_pem.write_to_path(files["authority"])
    stage = set_stage(1)
    tls = ("--http-cert", files["server"], "--http-client-ca", files["authority"])
    tree = stage.start("--metrics-port", "0", "--http-host", "0.0.0.0", *tls)
    base = base_of(tree).replace("0.0.0.0", "127.0.0.1")
    assert base.startswith("https://")
    context = ssl.create_default_context(cafile=files["authority"])

    with pytest.raises(OSError), urllib.request.urlopen(f"{base}/metrics", context=context, timeout=10):
        pass
    context.load_cert_chain(files["client"])
    with urllib.request.urlopen(f"{base}/metrics", context=context, timeout=10) as answer:
        assert b"elsa_worker_processes" in answer.read()
    asking = {"ELSA_HTTP_CERT": files["server"]}
    assert healthcheck(stage, base, "--url", base, **asking).returncode == exits.NO_WORKER
    assert healthcheck(stage, base, "--url", base, "--cert", files["client"], **asking).returncode == exits.OK
    assert tree.events("http_open") == []
    assert tree.stop() == exits.OK


def test_a_poll_loop_that_hangs_is_not_alive_until_it_goes_on(set_stage: SetStage) -> None:
    stage = set_stage(max_poll_interval=6, session_timeout=6)
    stage.source = HANGING
    hang = Path(f"{stage.journal_path}.hang")
    tree = stage.start("--metrics-port", "0")
    base = base_of(tree)
    until(lambda: ask(base, "/readyz")[0] == 200, "it is ready")
    assert ask(base, "/livez")[0] == 200

    hang.touch()
    until(lambda: ask(base, "/livez")[0] == 503, "it is not alive")
    (check,) = [check for check in ask(base, "/livez")[1]["checks"] if not check["ok"]]
    assert (check["name"], check["about"], check["process"], check["limit"]) == ("poll", stage.app, 0, 6.0)
    assert check["age"] >= check["limit"]
    assert "elsa control stacks" in check["hint"]

    hang.unlink()
    until(lambda: ask(base, "/livez")[0] == 200, "it is alive again")
    assert tree.stop() == exits.OK


@pytest.mark.parametrize("name", ["mover", "scheduler"])
def test_a_thread_of_the_mover_or_the_scheduler_that_hangs_is_named(set_stage: SetStage, name: str) -> None:
    stage = set_stage(max_poll_interval=6, session_timeout=6)
    stage.source = SERVICES
    hang = Path(f"{stage.journal_path}.{name}")
    try:
        tree = stage.start("--metrics-port", "0")
        base = base_of(tree)
        until(lambda: ask(base, "/readyz")[0] == 200, "it is ready")
        assert ask(base, "/livez")[0] == 200

        hang.touch()
        until(lambda: ask(base, "/livez")[0] == 503, "it is not alive")
        (check,) = [check for check in ask(base, "/livez")[1]["checks"] if not check["ok"]]
        found = (check["name"], check["about"], check["process"], check["limit"])
        assert found == (name, f"{stage.app}.{name}", 0, 7.0)
        assert f"the thread of the {name}" in check["hint"]

        hang.unlink()
        until(lambda: ask(base, "/livez")[0] == 200, "it is alive again")
        assert tree.stop() == exits.OK
    finally:
        for each in stage.trees:
            each.end()
        for topic in stage.client.topics.list(internal=True):
            if topic.startswith((f"{stage.app}.", f"{stage.topic}.")):
                stage.client.topics.delete(topic, missing_ok=True)


def test_the_status_page_names_versions_groups_partitions_with_lag_and_checks(set_stage: SetStage) -> None:
    stage = set_stage(2)
    stage.produce(40, seconds=60, partitions=2)
    tree = stage.start("--metrics-port", "0", "--drain-timeout", "0", "--stop-timeout", "3")
    base = base_of(tree)
    until(lambda: stage.records, "a handler runs")
    until(lambda: ask(base, "/readyz")[0] == 200, "it is ready")
    status = until(
        lambda: (found := ask(base, "/statusz")[1])["groups"].get(stage.app, {}).get("lag") == 40 and found, "lag"
    )

    assert set(status["versions"]) == {"elsa", "python", "confluent_kafka", "librdkafka"}
    assert status["uptime_seconds"] > 0
    assert (status["live"], status["ready"], status["started"]) == (True, True, True)
    assert status["groups"] == {stage.app: {"partitions": 2, "lag": 40}}
    partitions = status["processes"][0]["status"]["partitions"]
    assert sum(each["lag"] for each in partitions) == 40
    assert all(each["head_attempts"] >= 0 for each in partitions)
    assert {check["name"] for check in status["checks"]["live"]} == {
        *("supervisor", "process", "poll", "join", "client", "mover")
    }
    assert "key" not in status["processes"][0]["status"]["running"][0]
    found = healthcheck(stage, base, "--ready", "--verbose", "--json")
    assert json.loads(found.stdout)["ok"]
    assert tree.stop() == exits.FORCED
