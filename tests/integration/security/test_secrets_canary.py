"""A password that comes from wherever it may come is looked for wherever it must not be; it is never seen.

What is looked at: log lines of every level as text and as JSON, with the Kafka client's own debug lines among them,
`elsa config`, `elsa check`, the worker's pages, exported spans, and what clients raise that are refused.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import urllib.request
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa import exits
from elsa.broker.ports import free_ports
from tests.integration.engine.conftest import log, make_app  # noqa: F401 - fixtures
from tests.integration.engine.waiting import until
from tests.integration.tracing.collector import BIN, Collector, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.testing.kafka import Topics
    from tests.integration.engine.waiting import Log

    from .conftest import Guarded

pytestmark = pytest.mark.broker

CANARY = "tweety-0f9e8d7c6b5a"
#: all of them are secrets
KEYS = ("sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret")

APP = """
import hashlib, logging
import elsa

app = elsa.App({app!r}, brokers={brokers!r}, runtime_dir={folder!r}{kafka})
shop = logging.getLogger("shop")

@app.handler({topic!r}, retry=elsa.Retry(max_attempts=2, base=0.05))
def bill(order: int, ctx: elsa.Context) -> None:
    settings = ctx.app.settings
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        shop.log(level, "settings %s and keys %r", settings, settings.kafka, extra={{"settings": ctx.app.loaded}})
    ctx.send({topic!r} + ".out", hashlib.sha256(settings.kafka["sasl.password"].encode()).hexdigest())
    raise ValueError("no bank with", settings, settings.kafka)
"""


def given(source: str, folder: Path) -> tuple[str, dict[str, str]]:
    """How the secrets come: an argument of the App, and variables; files are written."""
    if source == "code":
        return f", kafka={dict.fromkeys(KEYS, CANARY)!r}", {}
    variables = {"ELSA_KAFKA__" + key.upper().replace(".", "__"): CANARY for key in KEYS}
    if source == "environment":
        return "", variables
    if source == "file":
        (folder / "secret").write_text(CANARY + "\n")
        return "", {f"{name}_FILE": str(folder / "secret") for name in variables}
    lines = "\n".join(f'"{key}" = "{CANARY}"' for key in KEYS)
    (folder / "elsa.toml").write_text(f"[kafka]\n{lines}\n")
    return "", {}


@pytest.mark.parametrize(
    ("source", "json_logs"), [("code", False), ("environment", True), ("file", False), ("toml", True)]
)
def test_a_secret_is_in_nothing_that_a_worker_shows(  # noqa: PLR0917 - fixtures
    source: str,
    brokers: str,
    topic: Topics,
    log: Log,  # noqa: F811 - a fixture
    make_app: Callable[..., elsa.App],  # noqa: F811 - as above
    tmp_path: Path,
    *,
    json_logs: bool,
) -> None:
    app, name = make_app(), topic(1)
    app.topics.create(f"{name}.out")
    kafka, variables = given(source, tmp_path)
    facts = {"app": app.name, "brokers": brokers, "folder": str(tmp_path), "topic": name, "kafka": kafka}
    (tmp_path / "shop.py").write_text(APP.format(**facts))
    (port,) = free_ports(1)
    # the client's own lines are among them
    environment = {**variables, "ELSA_KAFKA__DEBUG": "all", "ELSA_LOG_LEVEL": "debug"}
    arguments = ["--metrics-port", str(port), *(["--json-logs"] if json_logs else [])]
    app.produce(name, b"1")
    with Collector() as collector:
        traced = {**environment, **collector.environment, "ELSA_OTEL": "1"}
        worker = Worker(tmp_path, traced, args=arguments)
        try:
            sent = log.wait_for(f"{name}.out", 2)
            letters = log.wait_for(f"{name}.{app.name}.dlq", 1)
            until(lambda: "elsa_" in page(port, "metrics"), "metrics are served")
            pages = [page(port, path) for path in ("statusz", "metrics", "livez", "readyz")]
            assert worker.end() == exits.OK, worker.log
        finally:
            worker.kill()
    commands = [
        run(tmp_path, environment, *command, "-A", "shop:app")
        for command in (("config",), ("config", "--json"), ("check",), ("topics", "list"))
    ]

    # it was there
    assert {(message.value or b"").decode().strip('"') for message in sent} == {
        hashlib.sha256(CANARY.encode()).hexdigest()
    }
    assert all("'***'" in shown for shown in (worker.log, str(letters)))
    assert "***" in commands[0]
    assert "***" in commands[1]
    assert len(collector.spans) >= 4
    shown = [worker.log, str(letters), *pages, *commands, *(body.decode(errors="replace") for body in collector.bodies)]
    assert [CANARY in one for one in shown] == [False] * len(shown)


def page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def run(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """Everything that a command prints, with its traceback if it has one."""
    done = subprocess.run(
        [str(BIN / "elsa"), *arguments],
        cwd=folder,
        env={**os.environ, **environment, "ELSA_DEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


REFUSED = """
    import logging, sys, traceback
    import elsa
    from elsa.observe import logs

    logs.setup("debug", json_logs=True)
    brokers, topic, folder = sys.argv[1:]
    app = elsa.App("canary", brokers=brokers, runtime_dir=folder, send_timeout=2.0)

    broken = elsa.App("other", brokers=brokers, kafka={"socket.timeout.ms": "soon"})

    @app.handler(topic)
    def handle(body: int) -> None: ...

    calls = {
        "produce": lambda: app.produce(topic, b"1"),
        "send": lambda: app.send(topic, 1).result(5),
        "fetch": lambda: app.fetch(topic, limit=1, timeout=2),
        "topics": lambda: app.topics.list(),
        "groups": lambda: app.groups.list(),
        "letters": lambda: app.dead_letters(topic, group="g").summary(),
        "worker": lambda: app.start() and app.wait_ready(3) and None,
        "malformed": lambda: broken.producer.warm_up(topic),
    }
    for name, call in calls.items():
        try:
            call()
        except Exception as error:
            print("raised by", name, type(error).__name__)
            # as a debugger, or a service that collects errors, shows them
            found = traceback.TracebackException.from_exception(error, capture_locals=True)
            print("".join(found.format()), repr(error), error.__dict__)
    app.stop(2)
"""


def test_what_is_raised_by_clients_that_are_refused_holds_no_secret(guarded_kafka: Guarded, tmp_path: Path) -> None:
    environment = {
        "ELSA_KAFKA__SECURITY__PROTOCOL": "SASL_PLAINTEXT",
        "ELSA_KAFKA__SASL__MECHANISM": "PLAIN",
        "ELSA_KAFKA__SASL__USERNAME": "ann",
        "ELSA_KAFKA__SASL__PASSWORD": CANARY,
        "ELSA_KAFKA__DEBUG": "security,broker,conf",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REFUSED), guarded_kafka.guarded, guarded_kafka.topic(), str(tmp_path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    raised = [line for line in done.stdout.splitlines() if line.startswith("raised by")]
    assert {line.split()[2] for line in raised} >= {
        "produce",
        "send",
        "fetch",
        "topics",
        "groups",
        "letters",
        "malformed",
    }
    assert "AuthenticationFailed" in done.stdout
    assert "sasl.password" in done.stdout + done.stderr
    assert CANARY not in done.stdout
    assert CANARY not in done.stderr
