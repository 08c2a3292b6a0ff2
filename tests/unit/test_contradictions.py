"""Settings that make no sense together."""

from __future__ import annotations

import pytest

from elsa.config import Settings
from elsa.contradictions import errors, warnings


def test_the_defaults_contradict_nothing() -> None:
    assert not list(errors(Settings()))
    assert not list(warnings(Settings()))


def test_a_heartbeat_of_exactly_a_third_of_the_session_is_fine() -> None:
    assert not list(errors(Settings(heartbeat_interval=3, session_timeout=9)))


def test_an_error_says_what_to_do() -> None:
    ((what, hint),) = errors(Settings(heartbeat_interval=4, session_timeout=9))

    assert what == "heartbeat_interval=4 s is more than a third of session_timeout=9 s"
    assert hint == "two late heartbeats would cost the membership: set it to at most 3 s"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_only_the_classic_protocol_compares_group_timeouts(protocol: str) -> None:
    settings = Settings(group_protocol=protocol, session_timeout=400)  # type: ignore[arg-type]  # both are literals

    assert bool(list(errors(settings))) is (protocol == "classic")


def test_a_drain_is_cut_at_two_fifths_of_the_poll_interval() -> None:
    assert not list(warnings(Settings(max_poll_interval=50)))
    (text,) = warnings(Settings(max_poll_interval=40))

    assert text.startswith("drain_timeout=20 s is cut to 16 s at a rebalance")


def test_who_may_read_metrics_means_nothing_without_a_port() -> None:
    assert list(warnings(Settings(http_host="0.0.0.0", http_open=True))) == [
        "http_host, http_open are set without metrics_port: a worker serves neither metrics nor probes"
    ]
    assert not list(warnings(Settings(http_host="0.0.0.0", http_open=True, metrics_port=0)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("enable.ssl.certificate.verification", "false", "reads everything, passwords too"),
        ("enable.ssl.certificate.verification", False, "reads everything, passwords too"),
        ("ssl.endpoint.identification.algorithm", "none", "every certificate of the authority passes"),
    ],
)
def test_tls_that_does_not_look_whom_it_speaks_to_is_warned_of(key: str, value: object, said: str) -> None:
    (warning,) = warnings(Settings(kafka={"security.protocol": "SSL", key: value}))

    assert said in warning
