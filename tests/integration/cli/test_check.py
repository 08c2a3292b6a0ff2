"""`elsa check` on real Kafka: what would go wrong after a deploy is said before it, with an exit code for CI."""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.testing.kafka import Topics
    from tests.integration.cli.conftest import Elsa, Ran

    Write = Callable[..., str]

pytestmark = pytest.mark.broker

_NUMBERS = itertools.count(1)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """`write(topic, settings="", options="")` makes a module with an app and a handler, and returns its name."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(topic: str, settings: str = "", options: str = "") -> str:
        name = f"checked_app_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(
            f"import elsa\napp = elsa.App({name!r}, {settings})\n"
            f"@app.handler({topic!r}, {options})\ndef bill(order: dict) -> None: ...\n"
        )
        return name

    return make


def findings(ran: Ran) -> dict[str, dict[str, Any]]:
    return {finding["what"]: finding for finding in json.loads(ran.out)["findings"]}


def test_without_an_app_brokers_and_settings_are_checked(elsa: Elsa) -> None:
    ran = elsa("check", "--json")

    assert ran.code == exits.OK
    assert json.loads(ran.out)["ok"] is True
    assert {what: finding["level"] for what, finding in findings(ran).items()} == {
        "settings": "ok",
        "brokers": "ok",
        "group protocol": "ok",
        "session timeout": "ok",
    }


def test_a_sound_app_passes(elsa: Elsa, topic: Topics, write: Write) -> None:
    name = topic(partitions=2)

    ran = elsa("check", write(name))

    assert ran.code == exits.OK
    assert f"ok       topic {name}: 2 partitions for" in ran.out


def test_a_topic_that_nobody_creates_fails(elsa: Elsa, topic: Topics, write: Write) -> None:
    name = topic()

    ran = elsa("check", write(f"{name}x", "environment='production'"), "--json")

    assert ran.code == exits.CHECK_FAILED
    assert findings(ran)[f"topic {name}x"]["level"] == "error"
    assert findings(ran)[f"topic {name}x"]["hint"] == f"did you mean '{name}'?"


def test_warnings_fail_only_when_strict(elsa: Elsa, topic: Topics, write: Write) -> None:
    app = write(topic(partitions=2), "processes=3")

    assert elsa("check", app).code == exits.OK
    assert "2 partitions for 3 worker processes: 1 are idle" in elsa("check", "-A", app).out
    assert elsa("check", app, "--strict").code == exits.CHECK_FAILED


def test_a_session_timeout_that_the_broker_refuses_fails(elsa: Elsa) -> None:
    ran = elsa("check", "--json", ELSA_SESSION_TIMEOUT="2s")

    assert ran.code == exits.CHECK_FAILED
    assert findings(ran)["session timeout"]["level"] == "error"


@pytest.mark.parametrize("as_json", [True, False])
def test_contradicting_settings_fail(as_json: bool, elsa: Elsa) -> None:  # noqa: FBT001 - a parameter
    ran = elsa("check", *["--json"] * as_json, ELSA_HEARTBEAT_INTERVAL="5s")

    assert ran.code == exits.CHECK_FAILED
    assert "heartbeat_interval=5 s is more than a third of session_timeout=10 s" in ran.out


def test_the_new_group_protocol_is_offered_by_this_broker(elsa: Elsa) -> None:
    ran = elsa("check", "--json", ELSA_GROUP_PROTOCOL="consumer")

    assert ran.code == exits.OK
    assert findings(ran)["group protocol"]["text"] == "the broker offers consumer"


def test_brokers_that_do_not_answer_fail(elsa: Elsa) -> None:
    ran = elsa("check", "-b", "127.0.0.1:1", "--json")

    assert ran.code == exits.CHECK_FAILED
    assert findings(ran)["brokers"]["level"] == "error"
    assert "127.0.0.1:1" in findings(ran)["brokers"]["text"]


def test_a_wrong_kafka_key_fails(elsa: Elsa) -> None:
    ran = elsa("check", "--json", ELSA_KAFKA__NO__SUCH__KEY="1")

    assert ran.code == exits.CHECK_FAILED
    assert "no.such.key" in ran.out


def test_an_app_that_does_not_exist_has_its_own_code(elsa: Elsa) -> None:
    ran = elsa("check", "nowhere_to_be_found:app")

    assert ran.code == exits.APP_NOT_FOUND
    assert "there is no module 'nowhere_to_be_found'" in ran.err
