"""Which Kafka keys hold secrets, and what is shown of brokers."""

from __future__ import annotations

import pytest

from elsa.kafka.properties import COMMON, CONSUMER_ONLY, OWNED, PRODUCER_ONLY
from elsa.redaction import HIDDEN, is_secret, redact_brokers, redact_kafka


@pytest.mark.parametrize(
    "key",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.jaas.config",
        "SASL.PASSWORD",
        # misspelt, or made up
        "sasl.passwrd",
        "sasl.pssword",
        "sasl.pwd",
        "sasl.jass.config",
        "sasl_pasword",
        "saslpasword",
        "sasl.pw",
        "sasl.psw",
        "basic.auth.user.info",
        "ssl.keystor.passwort",
        "schema.registry.secrt",
        "auth.tokn",
    ],
)
def test_keys_that_hold_secrets_are_hidden(key: str) -> None:
    assert redact_kafka({key: "x"}) == {key: HIDDEN}


@pytest.mark.parametrize("key", ["sasl.username", "ssl.ca.location", "ssl.key.location", "security.protocol", "debug"])
def test_other_keys_are_shown(key: str) -> None:
    assert not is_secret(key)


def test_no_key_of_the_client_is_taken_for_a_misspelt_secret() -> None:
    known = CONSUMER_ONLY | PRODUCER_ONLY | COMMON | OWNED.keys()
    named = ("pass", "secret", "key", "token", "oauth")

    assert [key for key in sorted(known) if is_secret(key) and not any(word in key for word in named)] == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://ann:tiger@sso.example/token", "https://***@sso.example/token"),
        ("https://ann@sso.example", "https://***@sso.example"),
        ("http://ann:ti@ger/9@one:8081,two:8081", "http://***@one:8081,two:8081"),
        ("https://ann:a@one,https://ann:b@two", "https://***@two"),
        ("https://sso.example/token", "https://sso.example/token"),
        (5, 5),
    ],
)
def test_a_url_is_shown_without_user_and_password(value: object, shown: object) -> None:
    assert redact_kafka({"sasl.oauthbearer.token.endpoint.url": value, "some.proxy": value}) == {
        "sasl.oauthbearer.token.endpoint.url": shown,
        "some.proxy": shown,
    }


def test_brokers_without_credentials_are_shown_as_they_are() -> None:
    assert redact_brokers("one:9092,two:9092") == "one:9092,two:9092"


def test_every_kind_of_kafka_secret_is_hidden() -> None:
    shown = redact_kafka(
        {
            "sasl.password": "tiger",
            "ssl.key.pem": "tiger",
            "ssl.key.password": "tiger",
            "sasl.oauthbearer.config": "secret=tiger",
            "sasl.oauthbearer.client.secret": "tiger",
            "sasl.oauthbearer.assertion.private.key.passphrase": "tiger",
            "sasl.username": "ann",
            "ssl.ca.location": "ca.pem",
            "sasl.oauthbearer.token.endpoint.url": "https://sso.example",
        }
    )

    assert {HIDDEN} == {shown[name] for name in list(shown)[:6]}
    assert list(shown.values())[6:] == ["ann", "ca.pem", "https://sso.example"]
