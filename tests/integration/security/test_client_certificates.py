"""Clients that show a certificate of their own (mutual TLS), as some brokers ask for: beside a password, or instead.

The embedded broker makes one for each of its users and takes them where they are shown. Here are listeners besides that
insist: with a good one every client of Elsa works, and of one that is missing, foreign or too old it is said which it
is, and that it is the client's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import exits
from elsa.broker.certificates import Authority
from elsa.broker.java import find_java
from elsa.config import Settings
from elsa.control.client import Caller
from elsa.errors import AuthenticationFailed, ConfigError
from elsa.fetcher import Fetcher
from elsa.groups import Groups
from elsa.kafka.config import validate_kafka
from elsa.kafka.transactions import TransactionalProducer
from elsa.monitor.look import Request
from elsa.monitor.scout import Scout
from elsa.producer import Producer
from elsa.topics import Topics

from .secure import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .secure import Secure

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]

LISTENERS = ("requested", "both", "certified")
#: what is shown instead of a good certificate -> what is said of it
BAD = {
    "missing": r"the broker asks for a client certificate, and this client shows none",
    "untrusted": r"the broker refuses this client's own certificate \(.*worker.p12\), which is not trusted",
    "expired": r"the broker refuses this client's own certificate \(.*worker.p12\), which has expired on ",
}


@pytest.fixture(scope="module")
def stores(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The `kafka` keys that show a bad certificate."""
    folder = tmp_path_factory.mktemp("clients")
    theirs, own = secure.other_authority.parent, secure.broker.root / "security"
    # certificates of the broker's own authority, made beside it
    for name in ("ca.p12", "stores.password"):
        shutil.copy(own / name, folder / name)
    expired = Authority(find_java(), folder, folder / "stores.password").issue("worker", days=1, start="-10d")
    foreign = Authority(find_java(), theirs, theirs / "stores.password").issue("worker")
    return {
        "missing": {},
        "untrusted": keys(foreign, theirs / "stores.password"),
        "expired": keys(expired, folder / "stores.password"),
    }


def keys(store: Path, password: Path) -> dict[str, Any]:
    return {"ssl.keystore.location": str(store), "ssl.keystore.password": password.read_text()}


def settings(secure: Secure, listener: str, user: str = "admin", shown: dict[str, Any] | None = None) -> Settings:
    """Of a client that shows the user's certificate, or what is given instead."""
    kafka = secure.broker.client(user, certificate=shown is None) | (shown or {})
    if listener == "certified":  # the certificate says who it is
        kafka = {key: value for key, value in kafka.items() if not key.startswith("sasl.")}
        kafka["security.protocol"] = "SSL"
    brokers = {"requested": secure.bootstrap, "both": secure.both, "certified": secure.certified}[listener]
    return Settings(name=f"it-{uuid.uuid4().hex[:10]}", brokers=brokers, kafka=kafka, send_timeout=10.0)


@pytest.mark.parametrize("listener", LISTENERS)
def test_every_client_works_with_one(secure: Secure, listener: str, tmp_path: Path) -> None:
    used = settings(secure, listener)
    handled: list[bytes] = []
    app = elsa.App(used.name, brokers=used.brokers, kafka=used.kafka, runtime_dir=str(tmp_path), default_partitions=1)
    delayed, done = f"{used.name}-delayed", threading.Event()

    @app.handler(delayed, retry=elsa.Retry(max_attempts=1))
    def handle(body: bytes) -> None:
        handled.append(body)
        done.set()

    Topics(used).create(delayed, partitions=1)
    try:
        app.start()
        app.send(delayed, b"v", delay=1).result(30)  # moved by a transaction

        assert done.wait(60)
        assert Caller(used).call("ping", timeout=10).results
        assert [message.value for message in Fetcher(used).fetch(delayed).messages] == [b"v"]
        assert Groups(used).describe(app.name).members
        with Scout(used) as scout:
            look = scout.look(Request(groups=(app.name,)))
        assert look.failures == ()
    finally:
        app.stop(10)
    assert handled == [b"v"]


@pytest.mark.parametrize("how", BAD)
@pytest.mark.parametrize("listener", ["both", "certified"])
def test_a_bad_one_is_said_to_be_the_clients(
    secure: Secure, stores: dict[str, dict[str, Any]], listener: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsa.partitions.METADATA_SECONDS", 3.0)
    used = settings(secure, listener, "worker", stores[how])
    producer, transactional = Producer(used), TransactionalProducer(used, "it-transaction")
    said = {}
    calls: dict[str, Callable[[], object]] = {
        "admin": lambda: Topics(used).list(),
        "groups": lambda: Groups(used).list(),
        "fetch": lambda: Fetcher(used).fetch("orders"),
        "producer": lambda: producer.send("orders", b"v"),
        "mover": lambda: transactional.init(5),
    }
    try:
        for name, call in calls.items():
            with pytest.raises(AuthenticationFailed) as raised:
                call()
            said[name] = str(raised.value)
        with Scout(used) as scout, pytest.raises(AuthenticationFailed) as raised:
            scout.look(Request())
        said["monitor"] = str(raised.value)
    finally:
        producer.close(0.1)
        transactional.close()

    assert {name: text for name, text in said.items() if not re.search(BAD[how], text)} == {}


def test_who_need_not_show_one_has_to_show_a_good_one(secure: Secure, stores: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        Topics(settings(secure, "requested", "worker", stores["expired"])).list()

    assert re.search(BAD["expired"], str(raised.value))


@pytest.mark.parametrize("how", BAD)
def test_a_worker_that_is_not_let_in_for_it_ends_and_says_so(
    secure: Secure, stores: dict[str, dict[str, Any]], tmp_path: Path, how: str
) -> None:
    (tmp_path / "certified_app.py").write_text(
        "import elsa\napp = elsa.App('refused')\n@app.handler('orders')\ndef handle(body: bytes) -> None: ...\n"
    )
    used = settings(secure, "both", "worker", stores[how])
    ended = command(used, "worker", "certified_app:app", "--processes", "1", folder=tmp_path)
    listed = command(used, "topics", "list")

    assert (ended.returncode, listed.returncode) == (exits.BROKER, exits.BROKER), ended.stderr
    assert re.search(BAD[how], ended.stderr)
    assert re.search(BAD[how], listed.stderr)
    assert "Traceback" not in ended.stderr + listed.stderr


def test_a_wrong_password_of_the_key_store_is_said_at_the_start(secure: Secure) -> None:
    kafka = {**secure.broker.client(certificate=True), "ssl.keystore.password": "wrong"}
    with pytest.raises(ConfigError, match=r"kafka\['ssl.keystore.location'\] is refused"):
        validate_kafka(Settings(name="it-store", brokers=secure.bootstrap, kafka=kafka))


def test_the_file_of_a_user_has_the_recipe(secure: Secure, tmp_path: Path) -> None:
    written = secure.broker.guard.env_file("monitor").read_text()
    recipe = tmp_path / "monitor.env"
    recipe.write_text(written.replace("# ELSA_", "ELSA_"))
    script = f'set -a; . "{recipe}"; set +a; ELSA_BROKERS={secure.both} exec "$0" -m elsa topics list'
    done = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, text=True, timeout=60)

    assert done.returncode == exits.OK, done.stderr
    assert "# ELSA_KAFKA__SSL__KEYSTORE__LOCATION=" in written
