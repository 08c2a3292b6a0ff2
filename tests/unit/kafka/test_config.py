"""The configuration of clients: what reaches which, what is refused, what is hidden."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from elsa.config import Settings, load
from elsa.errors import ConfigError
from elsa.kafka.config import OncePerMinute, client_config, validate_kafka
from elsa.kafka.producer import ProducerClient
from elsa.kafka.properties import OWNED

SECURITY = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "ann"}


class MovedClock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def test_security_reaches_every_client() -> None:
    settings = Settings(kafka=SECURITY)

    for config in (
        client_config(settings, "consumer"),
        client_config(settings, "producer"),
        client_config(settings, "admin"),
    ):
        assert SECURITY.items() <= config.items()


def test_each_client_gets_only_what_it_knows() -> None:
    settings = Settings(kafka={"batch.size": 5, "fetch.min.bytes": 6, "socket.timeout.ms": 7_000})
    own = {"batch.size", "fetch.min.bytes", "socket.timeout.ms"}

    assert {"fetch.min.bytes", "socket.timeout.ms"} == own & client_config(settings, "consumer").keys()
    assert {"batch.size", "socket.timeout.ms"} == own & client_config(settings, "producer").keys()
    assert {"socket.timeout.ms"} == own & client_config(settings, "admin").keys()


def test_the_caller_sets_what_elsa_owns_and_defaults_for_the_rest() -> None:
    settings = Settings(kafka={"fetch.min.bytes": 6})
    config = client_config(settings, "consumer", group_id="billing", fetch_min_bytes=1, fetch_wait_max_ms=9)

    assert config["group.id"] == "billing"
    assert config["fetch.min.bytes"] == 6
    assert config["fetch.wait.max.ms"] == 9


def test_the_client_id_names_the_app() -> None:
    assert client_config(Settings(name="shop"), "admin")["client.id"].startswith("shop-admin-")


@pytest.mark.parametrize("name", sorted(OWNED))
def test_a_key_that_elsa_owns_is_refused_with_what_to_use(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client_config(Settings(kafka={name: "x"}), "producer")

    assert f"kafka[{name!r}] is Elsa's to set\n  hint: {OWNED[name]}" == str(caught.value)


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        (
            {"fetch.min.byte": 1},
            r"kafka\['fetch.min.byte'\] is refused: No such .*\n  hint: did you mean 'fetch.min.bytes'",
        ),
        (
            {"sasl.passwrd": "tiger"},
            r"kafka\['sasl.passwrd'\] is refused: No such [^\n]*\n  hint: did you mean 'sasl.password'\?$",
        ),
        ({"security.protocol": "https://ann:tiger@one"}, r"https://\*\*\*@one"),
        ({"quite.another": 1}, r"kafka\['quite.another'\] is refused: No such .*\n  hint: see librdkafka"),
        ({"security.protocol": "tls"}, r"kafka\['security.protocol'\] is refused: Invalid value \"tls\""),
        ({"batch.size": "many"}, r"kafka\['batch.size'\] is refused: Invalid value"),
        ({"max.in.flight": 9}, r"kafka\['max.in.flight'\] is refused: .*<= 5"),
        ({"group.id": "g"}, "use `group` of the handler"),
        ({"client.rack": None}, r"kafka\['client.rack'\] has no value"),
        ({1: 2}, "no string: 1"),
    ],
)
def test_a_wrong_key_or_value_is_named(kafka: dict[Any, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        validate_kafka(Settings(kafka=kafka))


def test_the_value_of_a_secret_is_not_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        validate_kafka(Settings(kafka={"sasl.oauthbearer.client.secret": "tiger", "ssl.key.passwor": "tiger"}))

    assert "tiger" not in str(caught.value)


def test_a_right_mapping_passes() -> None:
    validate_kafka(Settings(kafka={**SECURITY, "sasl.password": "tiger", "batch.size": 5, "fetch.min.bytes": 6}))


def test_a_repeated_log_line_comes_once_a_minute() -> None:
    clock = MovedClock()
    once = OncePerMinute(clock)

    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("elsa.kafka.client", logging.ERROR, "", 0, text, (), None)

    def passes(text: str) -> bool:
        return once.filter(record(text))

    assert passes("FAIL: refused (after 0ms)")
    assert not passes("FAIL: refused (after 3ms)")
    assert passes("FAIL: something else")
    clock.time = 60.0

    again = record("FAIL: refused (after 1ms)")
    assert once.filter(again)
    assert vars(again)["repeated"] == 1, "one was left out"


def test_a_traceback_that_shows_variables_shows_no_secret() -> None:
    """As debuggers and services that collect errors make them."""
    settings = load({"kafka": {"sasl.password": "tweety", "socket.timeout.ms": "soon"}}, env={}).settings

    with pytest.raises(ConfigError) as raised:
        ProducerClient(settings)
    shown = "".join(traceback.TracebackException.from_exception(raised.value, capture_locals=True).format())

    assert "sasl.password" in shown
    assert "tweety" not in shown


def test_looking_at_the_keys_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        validate_kafka(Settings(kafka={**SECURITY, "sasl.password": "sesame"}))

    assert not caplog.records
