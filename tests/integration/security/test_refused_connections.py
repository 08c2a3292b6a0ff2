"""Who cannot connect is told which of it is wrong: the password, the certificate and how, TLS, or the login.

librdkafka calls an expired certificate, one of another host and one of an unknown authority alike, and of plain text
where TLS is spoken it says that nobody answers; the broker does not tell an unknown user from a wrong password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits
from elsa.errors import AuthenticationFailed, ConfigError
from elsa.fetcher import Fetcher
from elsa.groups import Groups
from elsa.kafka.config import validate_kafka
from elsa.kafka.transactions import TransactionalProducer
from elsa.producer import Producer
from elsa.topics import Topics

from .secure import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.config import Settings

    from .secure import Secure

pytestmark = pytest.mark.broker

_NO_LOGIN: dict[str, Any] = {"sasl_mechanism": None, "sasl_username": None, "sasl_password": None}
CASES: dict[str, tuple[Callable[[Secure], Settings], str, str]] = {
    "wrong password": (
        lambda secure: secure.settings("worker", sasl_password="wrong"),
        "the broker refused the credentials of user 'worker', who is unknown or has another password",
        "check sasl.username, sasl.password and sasl.mechanism",
    ),
    "unknown user": (
        lambda secure: secure.settings("worker", sasl_username="nobody"),
        "the broker refused the credentials of user 'nobody'",
        "check sasl.username, sasl.password and sasl.mechanism",
    ),
    "mechanism": (
        lambda secure: secure.settings("worker", sasl_mechanism="OAUTHBEARER"),
        "does not offer sasl.mechanism=OAUTHBEARER, only ",
        "change sasl.mechanism",
    ),
    "untrusted": (
        lambda secure: secure.settings("worker", ssl_ca_location=str(secure.other_authority)),
        "is not trusted: self-signed certificate in certificate chain",
        "set ssl.ca.location in `kafka` to the certificate of the authority that signed it",
    ),
    "expired": (
        lambda secure: secure.settings("worker", brokers=secure.expired, ssl_ca_location=str(secure.other_authority)),
        "has expired",
        "renew it on the broker",
    ),
    "another host": (
        lambda secure: secure.settings("worker", brokers=secure.foreign, ssl_ca_location=str(secure.other_authority)),
        "is not for the name '127.0.0.1'",
        "use a name that stands in it",
    ),
    "plain text to TLS": (
        lambda secure: secure.settings("worker", security_protocol="SASL_PLAINTEXT"),
        "speaks TLS, and this client plain text (security.protocol=SASL_PLAINTEXT)",
        "set security.protocol to SASL_SSL",
    ),
    "TLS to plain text": (
        lambda secure: secure.settings("worker", brokers=secure.plain),
        "answers in plain text, and this client speaks TLS (security.protocol=SASL_SSL)",
        "set security.protocol to SASL_PLAINTEXT",
    ),
    "no login": (
        lambda secure: secure.settings("worker", security_protocol="SSL", **_NO_LOGIN),
        "asks for a login by ",
        "set security.protocol to SASL_SSL",
    ),
}


def refused(call: Callable[[], object], text: str, hint: str) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        call()

    assert text in str(raised.value)
    assert hint in str(raised.value)


@pytest.mark.parametrize("name", CASES)
def test_commands_and_producers_are_told_which_of_it_is_wrong(
    secure: Secure, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsa.partitions.METADATA_SECONDS", 2.0)
    make, text, hint = CASES[name]
    settings = make(secure)
    producer = Producer(settings)
    try:
        refused(lambda: Topics(settings).exists("orders"), text, hint)
        refused(lambda: producer.send("orders", b"v"), text, hint)
    finally:
        producer.close(0.1)


def test_every_other_client_says_it_as_well(secure: Secure) -> None:
    settings = secure.settings("worker", sasl_password="wrong")
    text = CASES["wrong password"][1]
    transactional = TransactionalProducer(settings, "it-transaction")
    try:
        refused(lambda: Groups(settings).list(), text, "")
        refused(lambda: Fetcher(settings).fetch("orders"), text, "")
        refused(lambda: transactional.init(3), text, "")
    finally:
        transactional.close()


def test_a_file_that_is_not_there_is_named(secure: Secure) -> None:
    settings = secure.settings("worker", ssl_ca_location="/nowhere/ca.pem")
    for call in (lambda: Topics(settings).list(), lambda: validate_kafka(settings)):
        with pytest.raises(
            ConfigError, match=r"kafka\['ssl.ca.location'\] names the file /nowhere/ca.pem, which is not"
        ):
            call()


@pytest.mark.parametrize("name", ["wrong password", "expired", "plain text to TLS"])
def test_a_command_says_what_to_do_and_ends_with_the_code_of_the_broker(secure: Secure, name: str) -> None:
    make, text, hint = CASES[name]
    done = command(make(secure), "topics", "list")

    assert done.returncode == exits.BROKER
    assert text in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["wrong password", "another host"])
def test_a_worker_that_is_never_let_in_ends_and_says_why(secure: Secure, tmp_path: Path, name: str) -> None:
    make, text, hint = CASES[name]
    (tmp_path / "refused_app.py").write_text(
        "import elsa\napp = elsa.App('refused')\n@app.handler('orders')\ndef handle(body: bytes) -> None: ...\n"
    )
    ended = command(make(secure), "worker", "refused_app:app", "--processes", "2", folder=tmp_path)

    assert ended.returncode == exits.BROKER, ended.stderr
    assert "Kafka does not let this worker in" in ended.stderr
    assert text in ended.stderr
    assert hint in ended.stderr
