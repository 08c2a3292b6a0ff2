"""The table of codes: complete, and each class has its effect on whoever asks it."""

from __future__ import annotations

from collections import Counter

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from elsa import errors, exits
from elsa.kafka import codes
from elsa.kafka.codes import Class, meaning
from elsa.kafka.errors import is_fatal, translate

CODES = {
    name: value for name in dir(Code) if not name.startswith("__") and isinstance(value := getattr(Code, name), int)
}


def of(kind: Class) -> list[int]:
    return sorted(code for code, found in codes.TABLE.items() if found.name is kind)


def test_every_code_of_the_client_is_in_the_table_once_and_no_other() -> None:
    listed = Counter(
        name for reasons in codes._MEANINGS.values() for names in reasons.values() for name in names.split()
    )

    assert CODES.keys() == listed.keys()
    assert {name for name, times in listed.items() if times > 1} == set()
    assert set(CODES.values()) == codes.TABLE.keys()


def test_every_class_has_codes_and_every_code_a_reason() -> None:
    assert all(of(kind) for kind in Class)
    assert all(found.reason for found in codes.TABLE.values())


def test_names_that_this_client_lacks_are_left_out() -> None:
    assert codes.numbers("_FATAL OF_ANOTHER_VERSION", "_SSL") == {Code._FATAL, Code._SSL}


def test_a_code_that_nobody_knows_is_an_error_that_stays() -> None:
    found = meaning(Code(4_711))

    assert (found.name, found.reason) == (Class.FATAL, "Kafka refused the operation")
    assert not translate(Code(4_711)).retryable


@pytest.mark.parametrize("code", of(Class.RETRY), ids=lambda code: Code(code).name())
def test_what_may_pass_is_retryable(code: int) -> None:
    error = translate(Code(code), topic="t")

    # that a group has members does not pass by itself
    assert error.retryable is not isinstance(error, errors.GroupNotEmpty)
    assert not is_fatal(KafkaException(Code(code)))


@pytest.mark.parametrize("code", of(Class.REBUILD), ids=lambda code: Code(code).name())
def test_what_broke_the_client_is_an_error_of_the_client(code: int) -> None:
    assert is_fatal(KafkaException(Code(code)))
    assert type(translate(Code(code))) is errors.FatalClientError


@pytest.mark.parametrize("code", of(Class.FATAL), ids=lambda code: Code(code).name())
def test_what_stays_is_a_clear_error_with_an_exit_code(code: int) -> None:
    error = translate(Code(code, "the broker's words"), topic="t", partition=0, offset=1, group="g")

    assert not error.retryable
    assert not is_fatal(Code(code))
    assert "the broker's words" in str(error)
    assert exits.code_of(error) != exits.OK


@pytest.mark.parametrize("code", of(Class.IGNORE), ids=lambda code: Code(code).name())
def test_what_is_no_failure_breaks_nothing(code: int) -> None:
    assert not is_fatal(KafkaException(Code(code)))


def test_a_fatal_flag_wins_over_the_code() -> None:
    assert meaning(Code(Code.NOT_COORDINATOR, "broken", fatal=True)).name is Class.REBUILD


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (Code._TRANSPORT, exits.BROKER),
        (Code.SASL_AUTHENTICATION_FAILED, exits.BROKER),
        (Code.TOPIC_AUTHORIZATION_FAILED, exits.BROKER),
        (Code.UNKNOWN_TOPIC_OR_PART, exits.NOT_FOUND),
        (Code.GROUP_ID_NOT_FOUND, exits.NOT_FOUND),
        (Code.INVALID_CONFIG, exits.FAILED),
    ],
)
def test_commands_end_with_the_code_of_the_error(code: int, exit_code: int) -> None:
    assert exits.code_of(translate(Code(code), topic="t")) == exit_code
